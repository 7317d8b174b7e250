"""Parquet files full of images: the output of this pipeline, or anybody's."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import numpy as np

from pipeline.errors import FormatError
from pipeline.sources.columns import choose_columns, read_images, read_labels
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import MAX_ROWS, BadRow, ImageSource, Rows, join

SUFFIXES = (".parquet",)
_BATCH_BYTES = 16 << 20  # of what Arrow gives at a time
_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; beyond them it is done at once
_BUFFER = 1 << 20  # without one, Arrow reads the column of a whole row group at a time


class Table(ImageSource):
    """Parquet files, one after the other."""

    def __init__(self, place: Place, names: Names, reading: Reading, *, carry_labels: bool) -> None:
        self.name = place.name
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._columns: list[str] = []
        counts = []
        for index in range(len(names)):
            path = place.full(names[index])
            with self._opened(path, names[index]) as file:
                columns = choose_columns(path, file.schema_arrow, labels=carry_labels)
                if self._columns and columns != self._columns:
                    raise FormatError(f"{path} has the columns {columns}, the file before it {self._columns}")
                self._columns = columns
                counts.append(file.metadata.num_rows)
        self._starts = [0, *accumulate(counts)]
        self.count = self._starts[-1]
        self.labelled = len(self._columns) > 1
        self._batches = self._read_from(0)
        self._held, self._held_start = None, 0  # a batch, and its first row

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES, self._reading)

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
        return lambda: join([part() for part in parts])

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
            self._batches, self._held, self._held_start = self._read_from(start), None, start
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

    def _read_from(self, row: int) -> Iterator[tuple[int, Any]]:
        """All batches from the row group in which a row lies."""
        for index in range(self._file_of(row), len(self._names)):
            name = self._names[index]
            path = self._place.full(name)
            with self._opened(path, name) as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                starts = [self._starts[index], *accumulate(sizes, initial=self._starts[index])][1:]
                if starts[-1] != self._starts[index + 1]:
                    raise FormatError(f"{path} holds another number of rows than at the start; leave it unchanged")
                groups = [group for group in range(len(sizes)) if starts[group + 1] > row]
                at = starts[groups[0]] if groups else starts[-1]
                each = sum(file.metadata.row_group(group).total_byte_size for group in groups) // max(
                    1, starts[-1] - at
                )
                size = max(1, min(MAX_ROWS, _BATCH_BYTES // max(1, each)))
                batches = file.iter_batches(size, row_groups=groups, columns=self._columns, use_threads=False)
                while True:
                    with reported(f"{path} (at row {at - self._starts[index]:,})"):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    yield at, batch
                    at += len(batch)
                if at != starts[-1]:
                    raise FormatError(f"{path} ends at row {at - self._starts[index]:,}; fetch it again")

    def _opened(self, path: str, name: str) -> "_Parquet":
        return _Parquet(self._place, path, name)

    def _decoded(self, start: int, batch: Any) -> Rows:
        index = self._file_of(start)
        offset, path = self._starts[index], self._place.full(self._names[index])
        images, reasons = read_images(batch.column(0), self._reading)
        labels = None
        if self.labelled:
            labels, wrong = read_labels(batch.column(1))
            reasons = wrong | reasons
        good = np.ones(len(batch), bool)
        good[list(reasons)] = False
        if reasons:
            images, labels = images[good], None if labels is None else labels[good]
        bad = tuple(
            BadRow(start + row, f"{path} row {start + row - offset:,}".replace(",", ""), reasons[row])
            for row in sorted(reasons)
        )
        return Rows(start, start + len(batch), np.ascontiguousarray(images), labels, bad)


class _Parquet:
    """A Parquet file that is open within a `with` block."""

    def __init__(self, place: Place, path: str, name: str) -> None:
        self._path = path
        with reported(path):
            self._stream = place.open(name, seek=True)

    def __enter__(self) -> Any:
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            with reported(self._path):
                return pq.ParquetFile(
                    self._stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
                )
        except BaseException:
            self._stream.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _constant(rows: Rows) -> Callable[[], Rows]:
    return lambda: rows
