"""Labels in files: arrays of numbers or words, and columns of tables."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.sources.array_files import Archive, ArrayStream, open_array
from pipeline.sources.labels import NUMBERS, Vocabulary, names_labels, read_vocabulary, to_labels
from pipeline.sources.places import Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Labels
from pipeline.sources.streams import Files

_QMNIST = 8  # columns of its extended labels, the first of which is the class
_AT_ONCE = 1 << 20  # words


class LabelStream:
    """The labels of a pile, read from front to back."""

    def __init__(self, name: str, count: int, read: Callable[[int, int], Any], vocabulary: Vocabulary) -> None:
        self.name, self._count, self._read, self._vocabulary = name, count, read, vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._vocabulary.classes

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> tuple[Labels, dict[int, str]]:
        """Labels of these rows: int16 `[stop - start]`, -1 for none; and what is wrong with some."""
        return to_labels(self._read(start, stop), self._vocabulary)

    @classmethod
    def of_array(cls, reopen: Callable[[], ArrayStream], name: str) -> Self:
        """Labels in an array `[n]`, `[n, 1]`, or int32 `[n, 8]` as QMNIST has them; words are read twice."""
        stream = reopen()
        columns = stream.shape[1:]
        extended = columns == (_QMNIST,) and stream.dtype == np.dtype(">i4")
        if (
            len(stream.shape) not in (1, 2)
            or columns not in ((), (1,), (_QMNIST,))
            or (columns == (8,) and not extended)
        ):
            one_hot = "; save array.argmax(axis=1)" if len(columns) == 1 else ""
            raise FormatError(f"{stream.name} holds labels as {stream}, expected one for each image, [n]{one_hot}")
        vocabulary = NUMBERS
        if stream.dtype.kind in "US":
            words: set[str] = set()
            for at in range(0, len(stream), _AT_ONCE):
                words |= set(_flat(stream.read(at, min(at + _AT_ONCE, len(stream)))).tolist())
            vocabulary, stream = read_vocabulary(words, stream.name), reopen()
        elif stream.dtype.kind not in "biuf":
            raise FormatError(f"{stream.name} holds labels as {stream}, expected whole numbers or words")
        return cls(name, len(stream), lambda start, stop: _flat(stream.read(start, stop)), vocabulary)

    @classmethod
    def of_values(cls, name: str, values: list[Any] | NDArray[Any], path: str) -> Self:
        """Labels in memory."""
        words = isinstance(values, list)
        vocabulary = read_vocabulary({str(value) for value in values if value is not None}, path) if words else NUMBERS
        return cls(name, len(values), lambda start, stop: values[start:stop], vocabulary)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """One label a row, words as text."""
    first = values.reshape(len(values), -1)[:, 0] if len(values) else values.reshape(0)
    return np.char.decode(first, "utf-8", "replace") if first.dtype.kind == "S" else first


def open_labels(files: Files, place: Place, reading: Reading) -> LabelStream:
    """Open a file of labels of its own: IDX, `.npy`, `.npz`, or a column of a CSV or Parquet file.

    Raises:
        DataError: it is no file, or can't be read; FormatError: it holds no labels.
    """
    if place.kind != "file":
        raise DataError(f"{place.name} is no file; expected labels as IDX, .npy, .npz, CSV or Parquet")
    (name,) = place.files(())
    path = place.full(name)
    if place.ends(name, ".npz"):
        archive = Archive(path, files.stream(place, name, seek=True))
        flat = [array for array in archive.names if len(archive.open(array).shape) == 1]
        named = [array for array in flat if names_labels(array)] or flat
        if len(named) != 1:
            raise FormatError(
                f"{path} holds the arrays {sorted(archive.names)}, expected one of labels, or one `labels`"
            )
        return LabelStream.of_array(lambda: archive.open(named[0]), path)
    if place.ends(name, (".csv", ".csv.gz", ".txt", ".parquet", ".pq")):
        from pipeline.sources.label_columns import read_column  # noqa: PLC0415  (loads pyarrow)

        with reported(path), files.stream(place, name, seek=True) as file:
            return LabelStream.of_values(path, read_column(path, file, reading), path)
    return LabelStream.of_array(lambda: open_array(files, place, name), path)
