"""CSV files of images: a line for each, 784 numbers and perhaps a label."""

import csv
import io
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.csv_columns import Head, choose_pixels, is_number, read_head
from pipeline.sources.kinds import CSV, SUFFIXES
from pipeline.sources.labels import NUMBERS, Vocabulary, read_vocabulary, to_labels
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.marks import Marks, unpack_marked
from pipeline.sources.pixels import shape_all
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import LARGE, MAX_ROWS, Depot, Each, ImageSource, Rows, join, select
from pipeline.sources.stack import Stack
from pipeline.sources.streams import Files, is_packed

_LONGEST = 1 << 20  # bytes of a line
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_FRACTIONS = "holds fractions up to 1, but the first rows whole numbers from 0 to 255; give all rows one range"


@dataclass
class _Position:
    """How far files are read."""

    lines: Generator[bytes, None, None]
    next: int
    """The row of the line that comes next."""
    begins: list[int]
    """The first row of each file that was begun."""


class Lines(ImageSource):
    """The lines of CSV files, one after the other; only reading to the end, or an index, tells how many there are."""

    _opened: _Position | None = None

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name, self.count = place.name, None
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._head = self._read_head(0)
        for index in range(1, len(names)):
            if self._read_head(index) != self._head:
                raise FormatError(
                    f"{place.full(names[index])} has other columns than {place.full(names[0])}; choose with a pattern"
                )
        self._pixels, self._label = choose_pixels(self._place.full(self._names[0]), self._head, reading)
        self.labelled = self._label is not None
        if not self._head.titled and reading.labels_from is None and self._label == 0:
            self._refuse_label_last()
        self._vocabulary = self._read_words() if self.labelled else NUMBERS
        self.labels_from = f"column {self._head.names[self._label or 0]}" if self.labelled else ""
        self.classes = self._vocabulary.classes
        self._whole = False
        """Whether the first lines showed that the values are whole numbers from 0 to 255."""
        self._levels = self._choose_levels()
        self._files: Stack[Marks] | None = None  # with an index
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._end if self.count is None else self.count

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[CSV], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        at = self._position(start)
        while at.next < start and (passed := list(islice(at.lines, min(start - at.next, MAX_ROWS)))):
            at.next += len(passed)
        lines = list(islice(at.lines, stop - start))
        at.next += len(lines)
        if len(lines) < stop - start:
            self._end = at.next
        return lambda: self._decoded(start, lines, at.begins)

    def close(self) -> None:
        """See `ImageSource.close`."""
        if self._opened is not None:
            self._opened.lines.close()

    def measured(self, each: Each = map) -> Self:
        """See `Divisible.measured`."""
        if self._files is None:
            found: list[tuple[int, Marks]] = list(each(Lines._index, map(self._of_file, range(len(self._names)))))
            self._files = Stack(self._names, [rows for rows, _ in found], [marks for _, marks in found])
            self.count = self._files.stop
            self._opened = None
        return self

    def unpacked(self, depot: Depot, each: Each = map, least: int = LARGE) -> Self:
        """See `Divisible.unpacked`."""
        assert self._files is not None  # noqa: S101  (its count is known)
        self._files = unpack_marked(self._files, self._place, depot, each, least)
        self.close()
        self._opened = None
        return self

    def _of_file(self, index: int) -> Self:
        """One of the files by itself."""
        one = self.reopen()
        one._names = self._names.cut(index, index + 1)
        return one

    def _index(self) -> tuple[int, Marks]:
        """How many lines of data the only file has, and where they begin."""
        offsets, count = array("q"), 0
        with Files() as files, reported(self._place.full(self._names[0])):
            file = files.content(self._place, self._names[0])
            for offset, _ in islice(self._numbered(self._place.full(self._names[0]), file), self._head.titled, None):
                if count % MAX_ROWS == 0:
                    offsets.append(offset)
                count += 1
            offsets.append(file.tell())
            return count, Marks(offsets, is_packed(file))

    def _keep(self, start: int, stop: int) -> None:
        assert self._files is not None  # noqa: S101  (its count is known)
        self._files = self._files.cut(start, stop)
        self._names = self._files.names

    def _position(self, row: int) -> _Position:
        """Where one stands, which is not far before a row where an index shows the way there."""
        if self._opened is None or (self._files and row - self._opened.next > MAX_ROWS):
            self.close()
            if self._files is None:
                begins: list[int] = []
                self._opened = _Position(self._read_all(begins), 0, begins)
            else:
                index = self._files.of(row)
                first = self._files.starts[index] + self._files.known[index].before(row - self._files.starts[index])
                self._opened = _Position(self._read_from(self._files, row), first, self._files.starts)
        return self._opened

    def _read_from(self, files: Stack[Marks], row: int) -> Generator[bytes, None, None]:
        """All lines from the last mark before a row on."""
        for index in range(files.of(row), len(files)):
            name, path = files.names[index], self._place.full(files.names[index])
            with Files() as opened, reported(path):
                _, file = files.known[index].open(opened, self._place, name, max(0, row - files.starts[index]))
                for _, line in _lines(path, file):
                    yield line

    def _read_head(self, index: int) -> Head:
        path = self._place.full(self._names[index])
        line = next(self._lines_of(index), b"")
        if not line:
            raise DataError(f"{path} holds no line; expected {PIXELS} numbers a line, and perhaps a header and labels")
        if b"\0" in line or b"\r" in line.rstrip(b"\r\n"):
            raise FormatError(f"{path} is no text with line feeds; expected CSV, or the suffix of what it is")
        return read_head(line)

    def _refuse_label_last(self) -> None:
        """Without a header the first column is the label, unless it looks like a pixel and the last doesn't."""
        lines = list(islice(self._read_all(), MAX_ROWS))
        last = PIXELS
        if {self._field(line, 0) for line in lines} == {"0"} and len({self._field(line, last) for line in lines}) > 1:
            raise FormatError(
                f"{self.name} has no header, and of its {PIXELS + 1} columns the first is 0 in the first rows and the "
                f"last is not: say which is the label: --labels-from 0 or --labels-from {last}"
            )

    def _lines_of(self, index: int) -> Generator[bytes, None, None]:
        """The lines of a file, without those that are blank, without a byte order mark."""
        path = self._place.full(self._names[index])
        with Files() as files, reported(path):
            file = files.content(self._place, self._names[index])
            for _, line in self._numbered(path, file):
                yield line

    def _numbered(self, path: str, file: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
        start = file.peek(len(_BOM))
        if start.startswith(_UTF16):
            raise FormatError(f"{path} is UTF-16; save it as UTF-8")
        mark = file.read(len(_BOM) if start.startswith(_BOM) else 0)
        return _lines(path, file, len(mark))

    def _read_data(self, index: int) -> Iterator[bytes]:
        return islice(self._lines_of(index), int(self._head.titled), None)

    def _read_all(self, begins: list[int] | None = None) -> Generator[bytes, None, None]:
        """The lines of data; enters in `begins` with which one each file begins."""
        row = 0
        for index in range(len(self._names)):
            if begins is not None:
                begins.append(row)
            for line in self._read_data(index):
                row += 1
                yield line

    def _read_words(self) -> Vocabulary:
        """What all the words mean that occur as labels; those of broken lines are none."""
        assert self._label is not None  # noqa: S101
        words = (self._field(line, self._label) for line in self._read_all())
        return read_vocabulary({word for word in words if word is not None}, self.name)

    def _choose_levels(self) -> Levels:
        """Whole numbers from 0 to 255 are grey levels, as the first lines show; of others, all lines tell the range."""
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)
        first = list(islice(self._read_all(), MAX_ROWS))
        if not first:
            raise DataError(f"{self.name} holds no image")
        self._whole = self._parse(first, "uint8") is not None or self._are_whole(first)
        if self._whole:
            return BYTES

        def pieces() -> Iterator[tuple[str, NDArray[Any]]]:
            for index in range(len(self._names)):
                data = self._read_data(index)
                while lines := list(islice(data, MAX_ROWS)):
                    values = self._parse(lines, "float64")
                    yield self._place.full(self._names[index]), self._parse_each(lines)[0] if values is None else values

        return find_levels(self.name, pieces())

    def _are_whole(self, lines: list[bytes]) -> bool:
        """Whether the values are whole numbers, and the largest of most lines a byte and no share."""
        values, reasons = self._parse_each(lines)
        values = np.delete(values, list(reasons), axis=0)
        return bool(len(values) and not (values % 1).any() and 1 < np.median(values.max(axis=1)) <= 255)

    def _decoded(self, start: int, lines: list[bytes], begins: list[int]) -> Rows:
        steps = range(0, len(lines), MAX_ROWS)
        return join(start, [self._convert(start + at, lines[at : at + MAX_ROWS], begins) for at in steps])

    def _convert(self, start: int, lines: list[bytes], begins: list[int]) -> Rows:
        reasons: dict[int, str] = {}
        values = self._parse(lines, "uint8" if self._levels is BYTES else "float64")
        if values is None:
            values, reasons = self._parse_each(lines)
            if self._whole:
                shares = (values.max(axis=1) <= 1) & (values % 1 > 0).any(axis=1)
                reasons = dict.fromkeys(np.flatnonzero(shares).tolist(), _FRACTIONS) | reasons
        pixels, outside = self._levels(values)
        labels, unknown = None, dict[int, str]()
        if self.labelled:
            assert self._label is not None  # noqa: S101
            labels, unknown = to_labels([self._field(line, self._label) for line in lines], self._vocabulary)
        wrong = dict.fromkeys(np.flatnonzero(outside).tolist(), self._levels.reason)
        images, blank = shape_all(pixels.reshape(-1, *IMAGE_SHAPE), self._reading)
        reasons = unknown | blank | wrong | reasons
        return select(start, images, reasons, labels, lambda row: self._name(start + row, begins))

    def _name(self, row: int, begins: list[int]) -> str:
        index = bisect_right(begins, row) - 1
        return f"{self._place.full(self._names[index])} row {row - begins[index]}"

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
                wrong = next(fields[column] for column in self._pixels if not is_number(fields[column]))
                reasons[row] = f"holds {wrong[:20]!r}, expected a number"
        return values, reasons

    def _fields(self, line: bytes) -> list[str]:
        try:
            return next(csv.reader([line.decode(errors="replace")], delimiter=self._head.delimiter))
        except csv.Error:
            return []

    def _field(self, line: bytes, column: int) -> str | None:
        """One field; None where the line has another number of them."""
        delimiter, count = self._head.delimiter.encode(), len(self._head.names)
        if b'"' in line:
            fields = self._fields(line)
            return fields[column].strip() if len(fields) == count else None
        if line.count(delimiter) != count - 1:
            return None
        found = line.rsplit(delimiter, 1)[1] if column == count - 1 else line.split(delimiter, column + 1)[column]
        return found.decode(errors="replace").strip()


def _lines(path: str, file: IO[bytes], offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, each with where it begins."""
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise FormatError(f"{path} has a line of {_LONGEST:,} bytes or more; expected {PIXELS} numbers a line")
        if not line.isspace():
            yield offset, line
        offset += len(line)
