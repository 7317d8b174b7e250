"""Tar files full of pictures, one after the other."""

from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.sources.kinds import SUFFIXES, TAR
from pipeline.sources.marks import Marks, unpack_marked
from pipeline.sources.member_labels import DEDICATED, choose_labels
from pipeline.sources.members import Row, find_plain, group
from pipeline.sources.pictures import decode_all
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import LARGE, MAX_ROWS, Depot, Each, ImageSource, Rows, join, select, split
from pipeline.sources.stack import Stack
from pipeline.sources.streams import Files, is_packed
from pipeline.sources.tars import Tar

_HELD = 64 << 20  # bytes of archives that wait to be decoded; beyond them it is done at once
_FIRST = 64  # rows that show where the labels are
_FIRST_BYTES = 64 << 20


@dataclass
class _Position:
    """How far shards are read."""

    rows: Generator[Row, None, None]
    next: int
    """The row that comes next."""
    ahead: Row | None
    """That row; none at the end."""
    passed_over: Counter[str]
    """On the way, unless an index has counted it."""


class _Found(NamedTuple):
    """What an index of one file tells."""

    rows: int
    marks: Marks
    passed_over: Counter[str]
    labels_from: str


class Shards(ImageSource):
    """Tar files, one after the other; only reading to the end, or an index, tells how many rows they hold."""

    _opened: _Position | None = None

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.count = None
        self.labelled = reading.labels_from != NONE  # a later row may have one, whatever the first is like
        self._beside = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._files: Stack[Marks] | None = None  # with an index
        self._end: int | None = None
        passed_over = Counter[str]()
        rows = self._read_all(passed_over)
        head = list(_take_first(rows))
        self._labels = choose_labels(head, reading.labels_from, lambda: self._read_all(None), self.name)
        self.labels_from, self.classes = self._labels.about, self._labels.meaning.classes
        settled = self._settled(chain(head, rows), passed_over)
        self._opened = _Position(settled, 0, next(settled, None), passed_over)
        if self._opened.ahead is None:
            raise DataError(f"{self.name} holds no image; expected members like 0007.png and 0007.cls")

    @property
    def passed_over(self) -> Counter[str]:  # type: ignore[override]
        """See `ImageSource.passed_over`."""
        return self._beside if self._opened is None else self._beside + self._opened.passed_over

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._end if self.count is None else self.count

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[TAR], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        parts: list[Rows] = []
        held: list[Row] = []
        last, size, at = b"", 0, start
        for row in self._take(start, stop):
            held.append(row)
            if not row.pictures or row.pictures[0].archive is last:
                continue
            last = row.pictures[0].archive  # all of it is kept, whatever lies around the picture
            size += len(last)
            if size > _HELD:
                parts.append(self._decoded(at, held))
                held, last, size, at = [], b"", 0, at + len(held)
        return lambda: join(start, [*parts, self._decoded(at, held)])

    def close(self) -> None:
        """See `ImageSource.close`."""
        if self._opened is not None:
            self._opened.rows.close()

    def measured(self, each: Each = map) -> Self:
        """See `Divisible.measured`."""
        if self._files is None:
            found: list[_Found] = list(each(Shards._index, map(self._of_file, range(len(self._names)))))
            self._files = Stack(self._names, [one.rows for one in found], [one.marks for one in found])
            self.count = self._files.stop
            self.labels_from = next((one.labels_from for one in found if one.labels_from), self.labels_from)
            self._beside = sum((one.passed_over for one in found), self._beside)
            self.close()
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
        one._names, one._beside = self._names.cut(index, index + 1), Counter()
        return one

    def _index(self) -> _Found:
        """Find out what is in the only file."""
        name, passed_over = self._names[0], Counter[str]()
        offsets, count = array("q"), 0
        with Files() as files, reported(self._place.full(name)):
            file = files.content(self._place, name)
            tar = Tar(self._place.full(name), file, skip=self._skip)
            for row in self._settled(self._grouped(name, tar, passed_over), passed_over):
                offsets.extend(row.skipped[-count % MAX_ROWS :: MAX_ROWS])
                count += len(row.skipped)
                if count % MAX_ROWS == 0:
                    offsets.append(row.header)
                count += 1
            packed = is_packed(file)
            offsets.append(file.tell() if packed else tar.offset)  # not every stream tells, and gzip does
            return _Found(count, Marks(offsets, packed), passed_over, self.labels_from)

    def _skip(self, names: NDArray[np.uint8]) -> tuple[int, int, NDArray[np.int64]] | None:
        # Labels are skipped once it has been noted that there are any.
        return find_plain(names, self._labels.suffix if self.labels_from else "")

    def _keep(self, start: int, stop: int) -> None:
        assert self._files is not None  # noqa: S101  (its count is known)
        self._files = self._files.cut(start, stop)
        self._names = self._files.names

    def _take(self, start: int, stop: int) -> Iterator[Row]:
        at = self._position(start)
        while at.next < stop and at.ahead is not None:
            # One by one: each keeps a stretch of the archive in memory until it is decoded.
            row, at.ahead = at.ahead, next(at.rows, None)
            at.next += 1
            if at.next > start:
                yield row
        if at.ahead is None:
            self._end = at.next

    def _position(self, row: int) -> _Position:
        """Where one stands, which is not far before a row where an index shows the way there."""
        if self._opened is None or (self._files and row - self._opened.next > MAX_ROWS):
            self.close()
            self._opened = self._begin() if self._files is None else self._begin_at(self._files, row)
        return self._opened

    def _begin(self) -> _Position:
        passed_over = Counter[str]()
        rows = self._settled(self._read_all(passed_over), passed_over)
        return _Position(rows, 0, next(rows, None), passed_over)

    def _begin_at(self, files: Stack[Marks], row: int) -> _Position:
        index = files.of(row)
        rows = self._settled(self._read_from(files, row), None)
        first = files.starts[index] + files.known[index].before(row - files.starts[index])
        return _Position(rows, first, next(rows, None), Counter())

    def _decoded(self, start: int, rows: list[Row]) -> Rows:
        images, reasons = decode_all([row.picture() for row in rows], self._reading)
        labels = None
        if self.labelled:
            labels, wrong = split([self._labels.of(row) for row in rows])
            reasons = wrong | reasons
        names = [row.name for row in rows]
        return select(start, images, reasons, labels, lambda row: self._place.full(names[row]), names)

    def _read_all(self, passed_over: Counter[str] | None) -> Generator[Row, None, None]:
        """All rows, from the first on."""
        for name in self._names:
            with Files() as files, reported(self._place.full(name)):
                tar = Tar(self._place.full(name), files.content(self._place, name))
                yield from self._grouped(name, tar, passed_over)

    def _read_from(self, files: Stack[Marks], row: int) -> Generator[Row, None, None]:
        """All rows from the last mark before a row on."""
        for index in range(files.of(row), len(files)):
            name, path = files.names[index], self._place.full(files.names[index])
            with Files() as opened, reported(path):
                start, file = files.known[index].open(opened, self._place, name, max(0, row - files.starts[index]))
                yield from self._grouped(name, Tar(path, file, start, part=True), None)

    def _grouped(self, name: str, tar: Tar, passed_over: Counter[str] | None) -> Iterator[Row]:
        return group(name, tar.members(), partial(self._pass_over, passed_over, self._place.full(name)))

    def _pass_over(self, passed_over: Counter[str] | None, path: str, member: str, kind: str) -> None:
        if passed_over is None:  # it is counted, or will be
            return
        if self._reading.strict:
            raise FormatError(f"{path} holds {member}, no picture or label that is read; leave --strict out")
        passed_over[kind] += 1

    def _settled(self, rows: Iterable[Row], passed_over: Counter[str] | None) -> Generator[Row, None, None]:
        """The rows, now that the labels are chosen: a caption alone is none, a label alone is a bad one."""
        chosen = self._labels.suffix
        for row in rows:
            if self.labels_from and len(row.labels) == 1 and row.labels[0][0] == chosen and row.pictures:
                yield row  # as nearly all are
                continue
            labelled = bool(row.labels) and self._settle(row, passed_over)
            if row.pictures or labelled:
                yield row

    def _settle(self, row: Row, passed_over: Counter[str] | None) -> bool:
        """Whether a row has the label of a picture; members that might have been labels are passed over."""
        labelled = False
        for suffix, member in row.labels:
            if suffix == self._labels.suffix and (row.pictures or suffix in DEDICATED):
                labelled = True
                self.labels_from = self.labels_from or f"members {suffix}"
            elif self._reading.labels_from is None or suffix not in DEDICATED:  # else it was the user's choice
                self._pass_over(passed_over, self._place.full(row.name.partition(": ")[0]), member.name, suffix)
        return labelled


def _take_first(rows: Iterator[Row]) -> Iterator[Row]:
    """Few rows, and few bytes of them."""
    held: dict[int, int] = {}
    for row in islice(rows, _FIRST):
        yield row
        held |= {id(member.archive): len(member.archive) for member in row.pictures}
        if sum(held.values()) > _FIRST_BYTES:
            return
