"""CSV files of images: a line for each, 784 numbers and perhaps a label."""

import csv
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.choose_columns import numbered_label, pixel_columns
from pipeline.sources.kinds import CSV, SUFFIXES
from pipeline.sources.labels import NUMBERS, Vocabulary, names_labels, names_rows, read_vocabulary, to_labels
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.pixels import shape_all
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import MAX_ROWS, ImageSource, Rows, join, select
from pipeline.sources.streams import Files

_DELIMITERS = ",;\t"
_SHOWN, _WIDE = 6, 20  # names of columns in a message, and characters of each
_LONGEST = 1 << 20  # bytes of a line
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_FRACTIONS = "holds fractions up to 1, but the first rows whole numbers from 0 to 255; give all rows one range"


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
        for index in range(1, len(names)):
            if self._read_head(index) != self._head:
                raise FormatError(
                    f"{place.full(names[index])} has other columns than {place.full(names[0])}; choose with a pattern"
                )
        self._pixels, self._label = _choose(self._place.full(self._names[0]), self._head, reading)
        self.labelled = self._label is not None
        if not self._head.titled and reading.labels_from is None and self._label == 0:
            self._refuse_label_last()
        self._vocabulary = self._read_words() if self.labelled else NUMBERS
        self.labels_from = f"column {self._head.names[self._label or 0]}" if self.labelled else ""
        self.classes = self._vocabulary.classes
        self._whole = False
        """Whether the first lines showed that the values are whole numbers from 0 to 255."""
        self._levels = self._choose_levels()
        self._begins: list[int] = []
        """The first row of each file that was begun."""
        self._lines, self._next = self._read_all(self._begins), 0
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
        line = next(self._lines_of(index), b"")
        if not line:
            raise DataError(f"{path} holds no line; expected {PIXELS} numbers a line, and perhaps a header and labels")
        if b"\0" in line or b"\r" in line.rstrip(b"\r\n"):
            raise FormatError(f"{path} is no text with line feeds; expected CSV, or the suffix of what it is")
        text = line.decode(errors="replace")
        delimiter = max(_DELIMITERS, key=text.count)
        delimiter = delimiter if delimiter in text else " "  # as NumPy's savetxt has it
        fields = [field.strip() for field in next(csv.reader([text], delimiter=delimiter))]
        if any(field and not _is_number(field) for field in fields[1:]) or len(fields) < 2 or _counts_up(fields[1:]):
            return _Head(tuple(fields), titled=True, delimiter=delimiter)
        names = [str(place) for place in range(len(fields))]
        return _Head((*names[:-1], "" if not fields[-1] else names[-1]), titled=False, delimiter=delimiter)

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
            start = file.peek(len(_BOM))
            if start.startswith(_UTF16):
                raise FormatError(f"{path} is UTF-16; save it as UTF-8")
            file.read(len(_BOM) if start.startswith(_BOM) else 0)
            while line := file.readline(_LONGEST):
                if len(line) == _LONGEST:
                    raise FormatError(
                        f"{path} has a line of {_LONGEST:,} bytes or more; expected {PIXELS} numbers a line"
                    )
                if not line.isspace():
                    yield line

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

    def _decoded(self, start: int, lines: list[bytes]) -> Rows:
        steps = range(0, len(lines), MAX_ROWS)
        return join(start, [self._convert(start + at, lines[at : at + MAX_ROWS]) for at in steps])

    def _convert(self, start: int, lines: list[bytes]) -> Rows:
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
        return select(start, images, reasons, labels, lambda row: self._name(start + row))

    def _name(self, row: int) -> str:
        index = bisect_right(self._begins, row) - 1
        return f"{self._place.full(self._names[index])} row {row - self._begins[index]}"

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


def _choose(path: str, head: _Head, reading: Reading) -> tuple[list[int], int | None]:
    """Which columns hold pixels, and which the label."""
    label = _choose_label(path, head, reading)
    pixels = pixel_columns(list(head.names), label)
    if not pixels and label is None and (first := numbered_label([name for name in head.names if name])) is not None:
        label = first  # as Kaggle and many others have it
        pixels = pixel_columns(list(head.names), label)
    if not pixels:
        columns = f"the columns {_show(head.names)}" if head.titled else "no header"
        raise FormatError(
            f"{path} has {len(head.names):,} columns ({columns}); expected {PIXELS} of one pixel each, "
            "and perhaps a label"
        )
    others = [name for name in head.names if name not in set(pixels) and not names_rows(name)]
    if label is None and len(others) == 1 and reading.labels_from != NONE:
        label = others[0]
    places = {name: place for place, name in enumerate(head.names)}
    unlabelled = label is None or reading.labels_from == NONE
    return [places[name] for name in pixels], None if unlabelled else places[str(label)]


def _choose_label(path: str, head: _Head, reading: Reading) -> str | None:
    if reading.labels_from not in (None, NONE):
        if reading.labels_from not in head.names:
            raise FormatError(
                f"{path} has no column {reading.labels_from!r} for --labels-from; it has {_show(head.names)}"
            )
        return reading.labels_from
    named = [name for name in head.names if names_labels(name)]
    return "label" if "label" in named else named[0] if named else None


def _show(names: Sequence[str]) -> str:
    shown = [name if len(name) <= _WIDE else f"{name[:_WIDE]}..." for name in names[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")


def _counts_up(fields: Sequence[str]) -> bool:
    """Whether these are numbers that follow each other, as pandas numbers columns: they can't be pixels."""
    numbers = [int(field) for field in fields if field.isdecimal()]
    return len(numbers) == len(fields) > 1 and all(after == before + 1 for before, after in pairwise(numbers))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
