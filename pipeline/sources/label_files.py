"""Labels in files: arrays of numbers or words, and columns of tables."""

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.sources import kinds
from pipeline.sources.array_files import ZIP, Archive, ArrayStream, move_packed, open_array
from pipeline.sources.choose_columns import choose_label
from pipeline.sources.labels import (
    NUMBERS,
    Vocabulary,
    is_number,
    names_labels,
    names_rows,
    read_vocabulary,
    to_labels,
)
from pipeline.sources.places import Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import LARGE, Depot, Divisible, Each, Labels
from pipeline.sources.streams import Files

_QMNIST = 8  # columns of its extended labels, the first of which is the class
_AT_ONCE = 1 << 20  # words
_DELIMITERS, _LONGEST = ",;\t", 1 << 20
EXPECTED = "labels as IDX, .npy, .npz, CSV, Parquet or Arrow"


class LabelStream(Divisible):
    """The labels of a pile, read from front to back."""

    _opened: ArrayStream | None = None

    def __init__(self, name: str, values: ArrayStream | Sequence[Any] | NDArray[Any], vocabulary: Vocabulary) -> None:
        self.name, self._values, self._vocabulary = name, values, vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._vocabulary.classes

    def __len__(self) -> int:
        return len(self._values)

    @property
    def stream(self) -> ArrayStream | None:
        """The array that they are read from, if it is not in memory."""
        return self._values if isinstance(self._values, ArrayStream) else None

    def unpacked(self, depot: Depot, each: Each = map, least: int = LARGE) -> Self:
        """See `Divisible.unpacked`."""
        if self.stream is not None:
            move_packed([self.stream], depot, each, least)
            self.close()
            self._opened = None
        return self

    def read(self, start: int, stop: int) -> tuple[Labels, dict[int, str]]:
        """Labels of these rows: int16 `[stop - start]`, -1 for none; and what is wrong with some."""
        if isinstance(self._values, ArrayStream):
            self._opened = self._opened or self._values.reopen()
            return to_labels(_flat(self._opened.read(start, stop)), self._vocabulary)
        return to_labels(self._values[start:stop], self._vocabulary)

    def _keep(self, start: int, stop: int) -> None:
        if isinstance(self._values, ArrayStream):
            self._values = self._values.cut(start, stop)

    def taken(self, start: int, stop: int) -> "LabelStream":
        """Those of the rows from `start` up to `stop`, already read."""
        return _Taken(self, start, stop)

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()

    @classmethod
    def of_array(cls, stream: ArrayStream, name: str) -> Self:
        """Labels in an array `[n]`, `[n, 1]`, or int32 `[n, 8]` as QMNIST has them; words are read twice."""
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
            vocabulary = read_vocabulary(words, stream.name)
            stream.close()
        elif stream.dtype.kind not in "biuf":
            raise FormatError(f"{stream.name} holds labels as {stream}, expected whole numbers or words")
        return cls(name, stream, vocabulary)

    @classmethod
    def of_values(cls, path: str, values: Sequence[Any] | NDArray[Any], classes: tuple[str, ...] = ()) -> Self:
        """Labels in memory, the names of whose classes may be known: numbers, or words with None for none."""
        vocabulary = NUMBERS
        if classes:
            vocabulary = Vocabulary({word: label for label, word in enumerate(classes)}, classes)
        elif not isinstance(values, np.ndarray):
            known = values.words if isinstance(values, _Words) else set(values)
            vocabulary = read_vocabulary({str(value) for value in known if value is not None}, path)
        return cls(path, values, vocabulary)


class _Taken(LabelStream):
    """Some of the labels of a pile, in memory."""

    def __init__(self, labels: LabelStream, start: int, stop: int) -> None:
        self._found, self._reasons = labels.read(start, stop)
        super().__init__(labels.name, (), NUMBERS)
        self._count, self._start = len(labels), start

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> tuple[Labels, dict[int, str]]:
        """See `LabelStream.read`."""
        first, last = start - self._start, stop - self._start
        reasons = {row - first: reason for row, reason in self._reasons.items() if first <= row < last}
        return self._found[first:last], reasons


class _Words(Sequence[str]):
    """Many words of which few differ."""

    def __init__(self, words: Iterable[str]) -> None:
        numbers: dict[str, int] = {}
        self._numbers = array("i", (numbers.setdefault(word, len(numbers)) for word in words))
        self.words = list(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, rows: Any) -> Any:
        return [self.words[number] for number in self._numbers[rows]]


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """One label a row, words as text."""
    first = values.reshape(len(values), -1)[:, 0] if len(values) else values.reshape(0)
    return np.char.decode(first, "utf-8", "replace") if first.dtype.kind == "S" else first


def open_labels(place: Place, reading: Reading) -> LabelStream:
    """Open a file of labels of its own: IDX, `.npy`, `.npz`, or a column of a CSV, Parquet or Arrow file.

    Raises:
        DataError: it is no file, or can't be read; FormatError: it holds no labels.
    """
    if place.kind != "file":
        raise DataError(f"{place.name} is no file; expected {EXPECTED}")
    (name,) = place.files(())
    path = place.full(name)
    match _kind_of(place, name):
        case kinds.PARQUET | kinds.ARROW:
            from pipeline.sources.label_columns import read_column  # noqa: PLC0415  (loads pyarrow)

            return LabelStream.of_values(path, *read_column(place, name, reading))
        case kinds.CSV:
            with Files() as lines, reported(path):
                return LabelStream.of_values(path, _Words(_read_lines(path, lines.content(place, name), reading)))
    with Files() as files:
        if files.stream(place, name).peek(len(ZIP)).startswith(ZIP):
            archive = Archive(files, place, name)
            return LabelStream.of_array(archive.open(_choose_array(archive, reading)), path)
    if reading.labels_from is not None:
        raise FormatError(f"{path} holds one array, without a name; leave --labels-from out")
    return LabelStream.of_array(open_array(place, name), path)


def _kind_of(place: Place, name: str) -> str:
    """The kind of a file of labels, by its name or else by its first bytes."""
    kind = kinds.CSV if place.ends(name, (".txt", ".txt.gz")) else kinds.kind_of_name(place.bare(name))
    if kind is None:
        with reported(place.full(name)), Files() as some:
            start = some.stream(place, name).read(kinds.START)
        text = "".join(start.decode(errors="ignore").split())
        kind = kinds.kind_of_content(start) or (kinds.CSV if text.isprintable() else None)
        kind = None if text.startswith(("{", "[", "<")) else kind  # JSON, or a web page
    if kind not in (kinds.PARQUET, kinds.ARROW, kinds.CSV, kinds.ARRAYS):
        raise FormatError(f"{place.full(name)} is no file of labels; expected {EXPECTED}")
    return kind


def _choose_array(archive: Archive, reading: Reading) -> str:
    about = {name: archive.about(name) for name in archive.names}
    listed = ", ".join(f"{name} {kind}{list(shape)}" for name, (shape, kind) in about.items()) or "no array"
    if reading.labels_from is not None:
        if reading.labels_from not in about:
            raise FormatError(
                f"{archive.name} has no array {reading.labels_from!r} for --labels-from; it holds {listed}"
            )
        return reading.labels_from
    flat = [name for name, (shape, _) in about.items() if len(shape) == 1 or shape[1:] == (1,)]
    named = [name for name in flat if names_labels(name)] or [name for name in flat if not names_rows(name)]
    if len(named) != 1:
        raise FormatError(f"{archive.name} holds {listed}, expected one array of labels; --labels-from names it")
    return named[0]


def _read_lines(path: str, file: io.BufferedReader, reading: Reading) -> Iterator[str]:
    """The labels in a CSV file: its only column, or the one that is asked for or called so."""
    with io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:
        yield from _read_column(path, text, reading)


def _read_column(path: str, text: io.TextIOWrapper, reading: Reading) -> Iterator[str]:
    start = [text.readline(_LONGEST), text.readline(_LONGEST)]
    delimiter = max(_DELIMITERS, key=start[0].count)
    rows = csv.reader(chain(start, text), delimiter=delimiter)
    first, second = (next(csv.reader([line], delimiter=delimiter), []) for line in start)
    if not first:
        raise DataError(f"{path} holds no line; expected a label for each image")
    names = [name.strip() for name in first]
    numbers = [any(map(is_number, fields)) for fields in (names, second)]
    said = any(name == reading.labels_from or names_labels(name) for name in names)
    titled = (not numbers[0] and (said or numbers[1])) or (len(names) > 1 and not names[0])
    names = names if titled else [str(place) for place in range(len(names))]
    column = names.index(choose_label(path, names, reading))
    if titled:
        next(rows)
    blank = 0
    for line, fields in enumerate(rows, 1 + titled):
        if not fields or (fields == [""] and len(names) == 1):
            blank += 1  # no label if others follow, else the end
            continue
        if len(fields) != len(names):
            raise FormatError(f"{path} line {line:,} has {len(fields):,} fields, expected {len(names):,}; mend it")
        yield from repeat("", blank)
        blank = 0
        yield fields[column].strip()
