"""Tables full of images, Parquet or Arrow: the output of this pipeline, or anybody's."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import accumulate
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
from pipeline.sources.table_files import TableFile, open_table

_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; beyond them it is done at once


class Table(ImageSource):
    """Parquet or Arrow files, one after the other."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._chosen: Chosen | None = None
        counts, by_numbers = [], False
        for index in range(len(names)):
            with self._opened(index) as file:
                chosen = choose_columns(file.path, file.schema, reading)
                if self._chosen is not None and chosen != self._chosen:
                    if chosen[:2] == self._chosen[:2]:
                        raise FormatError(f"{file.path} names other classes than the file before it; use numbers")
                    raise FormatError(
                        f"{file.path} keeps images in {chosen.images[0]} and labels in {chosen.labels}, the file "
                        f"before it in {self._chosen.images[0]} and {self._chosen.labels}; choose with a pattern"
                    )
                self._chosen = chosen
                by_numbers |= file.needs_levels(chosen)
                counts.append(file.rows)
        assert self._chosen is not None  # noqa: S101  (there is a file)
        self._columns = list(self._chosen.images)
        self._starts = [0, *accumulate(counts)]
        self.count = self._starts[-1]
        self.labelled = self._chosen.labels is not None
        if self.labelled:
            self.labels_from = f"column {self._chosen.labels}"
            self._vocabulary = vocabulary_of(self.name, self._chosen, self._label_batches)
            self.classes = self._vocabulary.classes
            self._columns.append(str(self._chosen.labels))
        by_numbers |= reading.value_range is not None
        self._levels = self._find_levels() if by_numbers and self.count else BYTES
        self._batches = self._read_from(0, self._columns)
        self._held, self._held_start = None, 0  # a batch, and its first row

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
        self._held = None
        self._batches.close()  # type: ignore[attr-defined]

    def _part(self, start: int, batch: Any) -> Callable[[], Rows]:
        return lambda: self._decoded(start, batch)

    def _take(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """The batches that make up these rows, each with its first row."""
        end = self._held_start + (len(self._held) if self._held is not None else 0)
        if self._file_of(start) > self._file_of(end) or start - end > MAX_ROWS:
            self._batches.close()  # type: ignore[attr-defined]
            self._batches, self._held, self._held_start = self._read_from(start, self._columns), None, start
        while start < stop:
            if self._held is None or start >= self._held_start + len(self._held):
                self._held_start, self._held = next(self._batches)
                continue
            first = start - self._held_start
            batch = self._held.slice(first, stop - start)
            yield start, batch
            start += len(batch)

    def _file_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _opened(self, index: int) -> TableFile:
        return open_table(self._place, self._names[index])

    def _read_from(self, row: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """All batches from the group of rows in which a row lies, each with its first row."""
        for index in range(self._file_of(row), len(self._names)):
            first = self._starts[index]
            with self._opened(index) as file:
                if file.rows != self._starts[index + 1] - first:
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
                if at != self._starts[index + 1]:
                    raise FormatError(f"{file.path} ends at row {at - first:,}; fetch it again")

    def _label_batches(self) -> Iterator[Any]:
        assert self._chosen is not None and self._chosen.labels is not None  # noqa: S101
        return (batch.column(0) for _, batch in self._read_from(0, [self._chosen.labels]))

    def _find_levels(self) -> Levels:
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)
        images = self._columns[: len(self._columns) - self.labelled]

        def pieces() -> Iterator[tuple[str, Any]]:
            for at, batch in self._read_from(0, images):
                yield self._place.full(self._names[self._file_of(at)]), read_numbers(batch.columns).values

        return find_levels(self.name, pieces())

    def _decoded(self, start: int, batch: Any) -> Rows:
        index = self._file_of(start)
        offset, path = self._starts[index], self._place.full(self._names[index])
        columns = batch.columns
        labels, wrong = read_labels(columns.pop(), self._vocabulary) if self.labelled else (None, {})
        images, reasons = read_images(columns, self._reading, self._levels)
        return select(start, images, wrong | reasons, labels, lambda row: f"{path} row {start + row - offset}")


def _constant(rows: Rows) -> Callable[[], Rows]:
    return lambda: rows
