"""Labels in Arrow columns: numbers, words or dictionaries of words."""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.sources.choose_columns import Chosen, describe_columns
from pipeline.sources.columns import numbers_of, valid_rows
from pipeline.sources.labels import NUMBERS, Vocabulary, names_labels, read_vocabulary, to_labels
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Labels


def read_labels(column: Any, vocabulary: Vocabulary) -> tuple[Labels, dict[int, str]]:
    """The labels in an Arrow array: int16 `[n]`, -1 where it is null; and what is wrong with some."""
    return to_labels(_values(column), vocabulary)


def vocabulary_of(name: str, chosen: Chosen, batches: Callable[[], Iterator[Any]]) -> Vocabulary:
    """What labels mean: the names that the table gives to numbers, or all the words that occur."""
    if chosen.classes:
        return Vocabulary({}, chosen.classes)
    words: set[str] = set()
    for column in batches():
        if not _is_words(column.type):
            return NUMBERS
        words |= {word for word in column.unique().to_pylist() if word is not None}
    return read_vocabulary(words, name)


def read_column(path: str, file: BinaryIO, reading: Reading) -> list[Any] | NDArray[Any]:
    """The labels in a CSV or Parquet file that holds nothing else, or a column that says so."""
    import pyarrow.parquet as pq  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    if path.split("?", maxsplit=1)[0].lower().endswith((".parquet", ".pq")):
        table = pq.read_table(file)
    else:
        head = file.read(1 << 16)
        file.seek(0)
        first = head.split(b"\n")[0].strip().strip(b'"')
        names = (
            None
            if any(names_labels(word.strip().strip('"')) for word in first.decode(errors="replace").split(","))
            else ["label"]
        )
        table = csv.read_csv(file, csv.ReadOptions(column_names=names))
    named = [column for column in table.column_names if names_labels(column)] or table.column_names
    wanted = reading.labels_from if reading.labels_from in table.column_names else named[0] if len(named) == 1 else None
    if wanted is None:
        raise FormatError(
            f"{path} has the columns {describe_columns(table.schema)}; --labels-from names that of labels"
        )
    return _values(table[wanted].combine_chunks())


def _values(column: Any) -> list[Any] | NDArray[Any]:
    """Words as a list with None for null, numbers as an array with -1 for it."""
    if _is_words(column.type):
        found: list[Any] = column.to_pylist()
        return found
    numbers = numbers_of(column)
    valid = valid_rows(column)
    return numbers if valid.all() else np.where(valid, numbers, np.array(-1, np.result_type(numbers.dtype, np.int8)))


def _is_words(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(
        pa.types.is_dictionary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
