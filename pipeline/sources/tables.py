"""Tables full of images, Parquet or Arrow: the output of this pipeline, or anybody's."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pipeline.errors import FormatError
from pipeline.sources.choose_columns import Chosen, choose_columns
from pipeline.sources.columns import read_images, read_numbers
from pipeline.sources.kinds import ARROW, PARQUET, SUFFIXES
from pipeline.sources.label_columns import read_labels, vocabulary_of
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import MAX_ROWS, ImageSource, Rows, join, select
from pipeline.sources.stack import Stack
from pipeline.sources.table_files import open_table

_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; beyond them it is done at once


@dataclass
class _Position:
    """How far a table is read."""

    batches: Generator[tuple[int, Any], None, None]
    """Those to come, each with its first row."""
    start: int
    """The first row of the batch that is held, or that comes next."""
    held: Any = ()


class Table(ImageSource):
    """Parquet or Arrow files, one after the other."""

    _opened: _Position | None = None

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.passed_over = names.passed_over
        self._place, self._reading = place, reading
        chosen: Chosen | None = None
        counts, known, by_numbers = [], [], False
        for index in range(len(names)):
            with open_table(place, names[index]) as file:
                before, chosen = chosen, choose_columns(file.path, file.schema, reading)
                if before is not None and chosen != before:
                    if chosen[:2] == before[:2]:
                        raise FormatError(f"{file.path} names other classes than the file before it; use numbers")
                    raise FormatError(
                        f"{file.path} keeps images in {chosen.images[0]} and labels in {chosen.labels}, the file "
                        f"before it in {before.images[0]} and {before.labels}; choose with a pattern"
                    )
                by_numbers |= file.needs_levels(chosen)
                counts.append(file.rows)
                known.append(file.known)
        assert chosen is not None  # noqa: S101  (there is a file)
        self._files = Stack(names, counts, known)
        self.count = self._files.stop
        self._columns = [*chosen.images, *([] if chosen.labels is None else [chosen.labels])]
        self.labelled = chosen.labels is not None
        if self.labelled:
            self.labels_from = f"column {chosen.labels}"
            self._vocabulary = vocabulary_of(self.name, chosen, self._label_batches)
            self.classes = self._vocabulary.classes
        by_numbers |= reading.value_range is not None
        self._levels = self._find_levels() if by_numbers and self.count else BYTES

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[PARQUET] + SUFFIXES[ARROW], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        parts: list[Callable[[], Rows]] = []
        size = 0
        for at, batch in self._take(start, stop):
            part = self._part(at, batch)
            size += batch.nbytes
            if size > _HELD:
                rows = part()
                part = _constant(rows)
            parts.append(part)
        return lambda: join(start, [part() for part in parts])

    def close(self) -> None:
        """See `ImageSource.close`."""
        if self._opened is not None:
            self._opened.batches.close()
            self._opened = None

    def _keep(self, start: int, stop: int) -> None:
        self._files = self._files.cut(start, stop)

    def _part(self, start: int, batch: Any) -> Callable[[], Rows]:
        return lambda: self._decoded(start, batch)

    def _take(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """The batches that make up these rows, each with its first row."""
        at = self._position(start)
        while start < stop:
            if start >= at.start + len(at.held):
                at.start, at.held = next(at.batches)
                continue
            batch = at.held.slice(start - at.start, stop - start)
            yield start, batch
            start += len(batch)

    def _position(self, row: int) -> _Position:
        """Where one stands, from which a row is not far."""
        if self._opened is not None:
            end = self._opened.start + len(self._opened.held)
            if self._files.of(row) == self._files.of(end) and row - end <= MAX_ROWS:
                return self._opened
            self.close()
        self._opened = _Position(self._read_from(row, self._columns), row)
        return self._opened

    def _read_from(self, row: int, columns: list[str]) -> Generator[tuple[int, Any], None, None]:
        """All batches from the group of rows in which a row lies, each with its first row."""
        for index in range(self._files.of(row), len(self._files)):
            first, end = self._files.starts[index : index + 2]
            with open_table(self._place, self._files.names[index], self._files.known[index]) as file:
                if file.rows != end - first:
                    raise FormatError(f"{file.path} holds another number of rows than at the start; leave it unchanged")
                at = first
                with closing(file.batches(max(0, row - first), columns)) as batches:
                    while True:
                        with reported(f"{file.path} (at row {at - first:,})"):
                            found = next(batches, None)
                        if found is None:
                            break
                        at = first + found[0]
                        yield at, found[1]
                        at += len(found[1])
                if at != end:
                    raise FormatError(f"{file.path} ends at row {at - first:,}; fetch it again")

    def _label_batches(self) -> Iterator[Any]:
        return (batch.column(0) for _, batch in self._read_from(0, self._columns[-1:]))

    def _find_levels(self) -> Levels:
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)
        images = self._columns[: len(self._columns) - self.labelled]

        def pieces() -> Iterator[tuple[str, Any]]:
            for at, batch in self._read_from(0, images):
                yield self._place.full(self._files.names[self._files.of(at)]), read_numbers(batch.columns).values

        return find_levels(self.name, pieces())

    def _decoded(self, start: int, batch: Any) -> Rows:
        index = self._files.of(start)
        offset, path = self._files.starts[index], self._place.full(self._files.names[index])
        columns = batch.columns
        labels, wrong = read_labels(columns.pop(), self._vocabulary) if self.labelled else (None, {})
        images, reasons = read_images(columns, self._reading, self._levels)
        return select(start, images, wrong | reasons, labels, lambda row: f"{path} row {start + row - offset}")


def _constant(rows: Rows) -> Callable[[], Rows]:
    return lambda: rows
