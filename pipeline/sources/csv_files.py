"""CSV files of images: a line for each, 784 numbers and perhaps a label."""

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.choose_columns import pixel_columns
from pipeline.sources.kinds import CSV, SUFFIXES
from pipeline.sources.labels import NUMBERS, Vocabulary, names_labels, number_of, read_vocabulary, to_labels
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.pixels import shape_all
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import MAX_ROWS, ImageSource, Rows, join, select
from pipeline.sources.streams import Files

_DELIMITERS = ",;\t"
_SHOWN = 6  # names of columns in a message


class _Head(NamedTuple):
    """What the first line of a file says."""

    names: tuple[str, ...]
    """Of the columns: numbers from 0 on where there is no header."""
    titled: bool
    """Whether the first line is a header."""
    delimiter: str


class Lines(ImageSource):
    """The lines of CSV files, one file after the other; only reading to the end tells how many there are."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name, self.count = place.name, None
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._head = self._read_head(0)
        self._pixels, self._label = _choose(self._place.full(self._names[0]), self._head, reading)
        self.labelled = self._label is not None
        self._vocabulary = self._read_words() if self.labelled else NUMBERS
        self.labels_from = f"column {self._head.names[self._label or 0]}" if self.labelled else ""
        self.classes = self._vocabulary.classes
        self._levels = self._choose_levels()
        self._lines, self._next = self._read_all(), 0
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._end

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[CSV], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        while self._next < start and (passed := list(islice(self._lines, min(start - self._next, MAX_ROWS)))):
            self._next += len(passed)
        lines = list(islice(self._lines, stop - start))
        self._next += len(lines)
        if len(lines) < stop - start:
            self._end = self._next
        return lambda: self._decoded(start, lines)

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._lines.close()

    def _read_head(self, index: int) -> _Head:
        path = self._place.full(self._names[index])
        with Files() as files, reported(path):
            line = files.content(self._place, self._names[index]).readline()
        text = line.decode("utf-8-sig", "replace")
        delimiter = max(_DELIMITERS, key=text.count)
        fields = [field.strip() for field in next(csv.reader([text], delimiter=delimiter), [])]
        titled = not all(_is_number(field) for field in fields[1:]) or len(fields) < 2
        return _Head(tuple(fields) if titled else tuple(map(str, range(len(fields)))), titled, delimiter)

    def _read_all(self) -> Any:
        """The lines of data, without those that are blank."""
        for index in range(len(self._names)):
            path = self._place.full(self._names[index])
            head = self._head if index == 0 else self._read_head(index)
            if head != self._head:
                raise FormatError(f"{path} has other columns than the file before it; choose with a pattern")
            with Files() as files, reported(path):
                file = files.content(self._place, self._names[index])
                if head.titled:
                    file.readline()
                yield from (line for line in file if not line.isspace())

    def _stretches(self) -> Iterator[list[bytes]]:
        lines = self._read_all()
        while some := list(islice(lines, MAX_ROWS)):
            yield some

    def _read_words(self) -> Vocabulary:
        """All words that occur as labels, unless the first is a number."""
        assert self._label is not None  # noqa: S101
        first = next(self._read_all(), None)
        if first is None or number_of(self._field(first, self._label)) >= 0:
            return NUMBERS
        return read_vocabulary({self._field(line, self._label) for line in self._read_all()}, self.name)

    def _choose_levels(self) -> Levels:
        """Whole numbers from 0 to 255 are grey levels, as the first lines show; of others, all lines tell the range."""
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)
        first = next(self._stretches(), None)
        if first is None:
            raise DataError(f"{self.name} holds no image")
        if self._parse(first, "uint8") is not None or not (self._parse_each(first)[0] % 1).any():
            return BYTES

        def pieces() -> Iterator[NDArray[Any]]:
            for lines in self._stretches():
                values = self._parse(lines, "float64")
                yield self._parse_each(lines)[0] if values is None else values

        return find_levels(self.name, pieces())

    def _decoded(self, start: int, lines: list[bytes]) -> Rows:
        steps = range(0, len(lines), MAX_ROWS)
        return join(start, [self._convert(start + at, lines[at : at + MAX_ROWS]) for at in steps])

    def _convert(self, start: int, lines: list[bytes]) -> Rows:
        reasons: dict[int, str] = {}
        values = self._parse(lines, "uint8" if self._levels is BYTES else "float64")
        if values is None:
            values, reasons = self._parse_each(lines)
        pixels, outside = self._levels(values)
        labels, unknown = None, dict[int, str]()
        if self.labelled:
            assert self._label is not None  # noqa: S101
            labels, unknown = to_labels([self._field(line, self._label) for line in lines], self._vocabulary)
        wrong = dict.fromkeys(np.flatnonzero(outside).tolist(), self._levels.reason)
        images, blank = shape_all(pixels.reshape(-1, *IMAGE_SHAPE), self._reading)
        return select(
            start, images, unknown | blank | wrong | reasons, labels, lambda row: f"{self.name} row {start + row}"
        )

    def _parse(self, lines: Sequence[bytes], kind: str) -> NDArray[Any] | None:
        """The pixels of all lines, `[m, 784]`; None if one of them holds anything else."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.csv as arrow  # noqa: PLC0415

        content = b"".join(lines)
        pixels = [self._head.names[column] for column in self._pixels]
        try:
            table = arrow.read_csv(
                pa.BufferReader(content),
                arrow.ReadOptions(
                    column_names=list(self._head.names), use_threads=False, block_size=max(1, len(content))
                ),
                arrow.ParseOptions(delimiter=self._head.delimiter),
                arrow.ConvertOptions(
                    include_columns=pixels, column_types=dict.fromkeys(pixels, pa.type_for_alias(kind)), null_values=[]
                ),
            )
        except pa.ArrowInvalid:
            return None
        if len(table) != len(lines):
            return None
        values = np.empty((len(table), PIXELS), kind)
        for place, column in enumerate(table.columns):
            values[:, place] = column.to_numpy()
        return values

    def _parse_each(self, lines: Sequence[bytes]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """The pixels of each line, and what is wrong with lines that are not so."""
        values = np.zeros((len(lines), PIXELS))
        reasons = {}
        for row, line in enumerate(lines):
            fields = self._fields(line)
            if len(fields) != len(self._head.names):
                reasons[row] = f"has {len(fields):,} fields, expected {len(self._head.names):,}"
                continue
            try:
                values[row] = [float(fields[column]) for column in self._pixels]
            except ValueError:
                wrong = next(fields[column] for column in self._pixels if not _is_number(fields[column]))
                reasons[row] = f"holds {wrong[:20]!r}, expected a number"
        return values, reasons

    def _fields(self, line: bytes) -> list[str]:
        return next(csv.reader([line.decode(errors="replace")], delimiter=self._head.delimiter))

    def _field(self, line: bytes, column: int) -> str:
        if column == 0 and not line.startswith(b'"'):
            return line.split(self._head.delimiter.encode(), 1)[0].decode(errors="replace").strip()
        fields = self._fields(line)
        return fields[column].strip() if column < len(fields) else ""


def _choose(path: str, head: _Head, reading: Reading) -> tuple[list[int], int | None]:
    """Which columns hold pixels, and which the label."""
    label = _choose_label(path, head, reading)
    pixels = pixel_columns(list(head.names), label)
    if not pixels and not head.titled and label is None and len(head.names) == PIXELS + 1:
        label, pixels = head.names[0], head.names[1:]  # as Kaggle and many others have it
    if not pixels:
        shown = ", ".join(head.names[:_SHOWN]) + (", ..." if len(head.names) > _SHOWN else "")
        columns = f"the columns {shown}" if head.titled else "no header"
        raise FormatError(
            f"{path} has {len(head.names):,} columns ({columns}); expected {PIXELS} of one pixel each, "
            "and perhaps a label"
        )
    others = [name for name in head.names if name not in set(pixels)]
    if label is None and len(others) == 1 and reading.labels_from != NONE:
        label = others[0]
    places = {name: place for place, name in enumerate(head.names)}
    unlabelled = label is None or reading.labels_from == NONE
    return [places[name] for name in pixels], None if unlabelled else places[str(label)]


def _choose_label(path: str, head: _Head, reading: Reading) -> str | None:
    if reading.labels_from not in (None, NONE):
        if reading.labels_from not in head.names:
            shown = ", ".join(head.names[:_SHOWN])
            raise FormatError(f"{path} has no column {reading.labels_from!r} for --labels-from; it has {shown}, ...")
        return reading.labels_from
    named = [name for name in head.names if names_labels(name)]
    return "label" if "label" in named else named[0] if named else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
