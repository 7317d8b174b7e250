"""Tar files full of pictures, one after the other."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import chain, islice

from pipeline.errors import DataError, FormatError
from pipeline.sources.kinds import SUFFIXES, TAR
from pipeline.sources.member_labels import DEDICATED, choose_labels
from pipeline.sources.members import Row, group
from pipeline.sources.pictures import decode_all
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import ImageSource, Rows, join, select, split
from pipeline.sources.streams import Files
from pipeline.sources.tars import read_members

_HELD = 64 << 20  # bytes of archives that wait to be decoded; beyond them it is done at once
_FIRST = 64  # rows that show where the labels are
_FIRST_BYTES = 64 << 20


class Shards(ImageSource):
    """Tar files, one after the other; only reading to the end tells how many rows they hold."""

    passed_over: Counter[str]

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.count = None
        self.labelled = reading.labels_from != NONE  # a later row may have one, whatever the first is like
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        rows = self._read_all(self._pass_over)
        head = list(_take_first(rows))
        self._labels = choose_labels(head, reading.labels_from, lambda: self._read_all(lambda *_: None), self.name)
        self.labels_from, self.classes = self._labels.about, self._labels.meaning.classes
        self._unread, self._rows = rows, self._settled(chain(head, rows))
        self._ahead = next(self._rows, None)
        if self._ahead is None:
            raise DataError(f"{self.name} holds no image; expected members like 0007.png and 0007.cls")
        self._next = 0
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._end

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
        self._rows.close()
        self._unread.close()

    def _take(self, start: int, stop: int) -> Iterator[Row]:
        while self._next < stop and self._ahead is not None:
            # One by one: each keeps a stretch of the archive in memory until it is decoded.
            row, self._ahead = self._ahead, next(self._rows, None)
            self._next += 1
            if self._next > start:
                yield row
        if self._ahead is None:
            self._end = self._next

    def _decoded(self, start: int, rows: list[Row]) -> Rows:
        images, reasons = decode_all([row.picture() for row in rows], self._reading)
        labels = None
        if self.labelled:
            labels, wrong = split([self._labels.of(row) for row in rows])
            reasons = wrong | reasons
        names = [row.name for row in rows]
        return select(start, images, reasons, labels, lambda row: self._place.full(names[row]), names)

    def _read_all(self, pass_over: Callable[[str, str, str], None]) -> Generator[Row, None, None]:
        for index in range(len(self._names)):
            name = self._names[index]
            path = self._place.full(name)
            with Files() as files, reported(path):
                file = files.content(self._place, name)
                yield from group(name, read_members(path, file), partial(pass_over, path))

    def _pass_over(self, path: str, member: str, kind: str) -> None:
        if self._reading.strict:
            raise FormatError(f"{path} holds {member}, no picture or label that is read; leave --strict out")
        self.passed_over[kind] += 1

    def _settled(self, rows: Iterable[Row]) -> Generator[Row, None, None]:
        """The rows, now that the labels are chosen: a caption alone is none, a label alone is a bad one."""
        chosen = self._labels.suffix
        for row in rows:
            if self.labels_from and len(row.labels) == 1 and row.labels[0][0] == chosen and row.pictures:
                yield row  # as nearly all are
                continue
            labelled = bool(row.labels) and self._settle(row)
            if row.pictures or labelled:
                yield row

    def _settle(self, row: Row) -> bool:
        """Whether a row has the label of a picture; members that might have been labels are passed over."""
        labelled = False
        for suffix, member in row.labels:
            if suffix == self._labels.suffix and (row.pictures or suffix in DEDICATED):
                labelled = True
                self.labels_from = self.labels_from or f"members {suffix}"
            elif self._reading.labels_from is None or suffix not in DEDICATED:  # else it was the user's choice
                self._pass_over(self._place.full(row.name.partition(": ")[0]), member.name, suffix)
        return labelled


def _take_first(rows: Iterator[Row]) -> Iterator[Row]:
    """Few rows, and few bytes of them."""
    held: dict[int, int] = {}
    for row in islice(rows, _FIRST):
        yield row
        held |= {id(member.archive): len(member.archive) for member in row.pictures}
        if sum(held.values()) > _FIRST_BYTES:
            return
