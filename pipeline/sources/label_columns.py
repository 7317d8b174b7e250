"""Labels in Arrow columns: numbers, words or dictionaries of words."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.sources.choose_columns import Chosen, choose_label, class_names, is_label
from pipeline.sources.columns import numbers_of, valid_rows
from pipeline.sources.labels import NUMBERS, Vocabulary, read_vocabulary, to_labels
from pipeline.sources.places import Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Labels
from pipeline.sources.table_files import open_table


def read_labels(column: Any, vocabulary: Vocabulary) -> tuple[Labels, dict[int, str]]:
    """The labels in an Arrow array: int16 `[n]`, -1 where it is null; and what is wrong with some."""
    return to_labels(_values(column), vocabulary)


def vocabulary_of(name: str, chosen: Chosen, batches: Callable[[], Iterator[Any]]) -> Vocabulary:
    """What labels mean: the names that the table gives to numbers, or all the words that occur."""
    if chosen.classes:
        return Vocabulary({word: label for label, word in enumerate(chosen.classes)}, chosen.classes)
    words: set[str] = set()
    for column in batches():
        if not _is_words(column.type):
            return NUMBERS
        words |= {str(word) for word in column.unique().to_pylist() if word is not None}
    return read_vocabulary(words, name)


def read_column(place: Place, name: str, reading: Reading) -> tuple[list[Any] | NDArray[Any], tuple[str, ...]]:
    """The labels in a Parquet or Arrow file of labels, and the names of classes that it gives."""
    with open_table(place, name) as file:
        column = choose_label(file.path, file.schema.names, reading)
        kind = file.schema.field(column).type
        if not is_label(kind):
            raise FormatError(
                f"{file.path} has labels of type {kind} in column {column}, expected whole numbers or words"
            )
        with reported(file.path):
            found = [_values(batch.column(0)) for _, batch in file.batches(0, [column])]
        classes = class_names(file.schema, column)
    if found and isinstance(found[0], list):
        return [word for words in found for word in words], classes
    return np.concatenate(found) if found else np.empty(0, np.int64), classes


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
