"""Parquet and Arrow files: their schema, their number of rows, and their rows in batches from any row on."""

import collections
import itertools
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

from pipeline.errors import FormatError
from pipeline.sources.choose_columns import Chosen
from pipeline.sources.columns import is_bytes
from pipeline.sources.kinds import ARROW, PARQUET, START, kind_of_content, kind_of_name
from pipeline.sources.places import Place, reported
from pipeline.sources.rows import MAX_ROWS
from pipeline.sources.stack import Known, Plain
from pipeline.sources.streams import Files

_BATCH_BYTES = 16 << 20  # of what Arrow gives at a time
_BUFFERS, _BUFFER = 16 << 20, 1 << 16  # of all columns and at least of each: without one, Arrow reads a whole group
_ARROW_FILE = b"ARROW1"


@dataclass(frozen=True)
class Batches:
    """How many rows the batches of an Arrow file have, which it doesn't say elsewhere."""

    rows: int
    """Of the file."""
    sizes: list[int]
    first: int = 0
    """The batch of which the first size is."""
    start: int = 0
    """Its first row."""

    def cut(self, start: int, stop: int) -> "Batches":
        """See `Known.cut`."""
        edges = [*accumulate(self.sizes, initial=self.start)]
        first, last = bisect_right(edges, start) - 1, bisect_left(edges, stop)
        return Batches(self.rows, self.sizes[first:last], self.first + first, edges[first])


class TableFile(ABC):
    """A file that is open within a `with` block."""

    def __init__(self, place: Place, name: str, known: Known | None = None) -> None:
        self.path = place.full(name)
        self._known = known
        with reported(self.path):
            self._stream = place.open(name, seek=True)
        try:
            with reported(self.path):
                self._open()
        except BaseException as error:
            self._stream.close()
            if isinstance(error, MemoryError):
                raise FormatError(
                    f"{self.path} declares a batch that doesn't fit in memory; fetch it again, or write smaller ones"
                ) from error
            raise

    schema: Any
    rows: int

    @property
    def known(self) -> Known:
        """What need not be found out again to read it."""
        return self._known or Plain()

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def batches(self, row: int, columns: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
        """Record batches of these columns with their first rows, from the group on in which a row lies."""

    def needs_levels(self, chosen: Chosen) -> bool:
        """Whether the images are numbers that are not bytes."""
        import pyarrow as pa  # noqa: PLC0415

        def wide(name: str) -> bool:
            kind = self.schema.field(name).type
            kind = getattr(kind, "storage_type", kind)
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if pa.types.is_struct(kind) or is_bytes(kind) or kind in (pa.binary_view(), pa.string_view()):
                return False
            while hasattr(kind, "value_type"):
                kind = kind.value_type
            return bool(kind != pa.uint8())

        return any(wide(name) for name in chosen.images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _Parquet(TableFile):
    def _open(self) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        about = pq.read_metadata(self._stream)
        self._file = pq.ParquetFile(
            self._stream,
            metadata=about,
            buffer_size=max(_BUFFER, _BUFFERS // max(16, about.num_columns)),
            pre_buffer=False,
            page_checksum_verification=True,
        )
        self.schema = self._file.schema_arrow
        self._groups = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self.rows = about.num_rows
        if self.rows < 0 or min(self._groups, default=0) < 0 or sum(self._groups) != self.rows:
            raise FormatError(
                f"{self.path} declares {self.rows:,} rows in row groups of {sum(self._groups):,}; write it again"
            )

    def batches(self, row: int, columns: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
        starts = [*accumulate(self._groups, initial=0)]
        groups = [group for group in range(len(self._groups)) if starts[group + 1] > row]
        at = starts[groups[0]] if groups else self.rows
        size = sum(self._file.metadata.row_group(group).total_byte_size for group in groups)
        rows = max(1, min(MAX_ROWS, _BATCH_BYTES // max(1, size // max(1, self.rows - at))))
        for batch in self._file.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False):
            yield at, batch.select(list(columns))
            at += len(batch)


class _Arrow(TableFile):
    """Arrow's own format, with an index at its end (Feather) or as a stream (Hugging Face)."""

    def _open(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        indexed = self._stream.read(len(_ARROW_FILE)) == _ARROW_FILE
        self._stream.seek(0)
        file = pa.ipc.open_file(self._stream) if indexed else None
        reader = file or pa.ipc.open_stream(self._stream)
        self._file, self.schema = file, reader.schema
        if not isinstance(self._known, Batches):
            batches = map(file.get_batch, range(file.num_record_batches)) if file is not None else reader
            sizes = [batch.num_rows for batch in batches]
            self._known = Batches(sum(sizes), sizes)
        self._batches, self.rows = self._known, self._known.rows

    def batches(self, row: int, columns: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
        import pyarrow as pa  # noqa: PLC0415

        self._stream.seek(0)
        stream = None if self._file is not None else iter(pa.ipc.open_stream(self._stream))
        known = self._batches
        starts = [*accumulate(known.sizes, initial=known.start)]
        if stream is not None:
            collections.deque(itertools.islice(stream, known.first), 0)  # has to be read to its next batch
        for index, rows in enumerate(known.sizes):
            batch = next(stream, None) if stream is not None else None
            if starts[index + 1] <= row:
                continue
            # Of a file with an index, the rest can be left alone.
            batch = batch if self._file is None else self._file.get_batch(known.first + index)
            if batch is None or batch.num_rows != rows:
                raise FormatError(f"{self.path} holds another number of rows than at the start; leave it unchanged")
            batch = batch.select(list(columns))
            batch.validate(full=True)  # Arrow ends the process over offsets that lead out of a buffer
            for at in range(0, rows, MAX_ROWS):
                yield starts[index] + at, batch.slice(at, MAX_ROWS)


def open_table(place: Place, name: str, known: Known | None = None) -> TableFile:
    """Open a Parquet or Arrow file, of which something may be known from the last time.

    Raises:
        DataError: it can't be read; FormatError: it contradicts itself.
    """
    kind = kind_of_name(place.bare(name))
    if kind not in (ARROW, PARQUET):
        with Files() as files, reported(place.full(name)):
            kind = kind_of_content(files.stream(place, name).read(START))
    return (_Arrow if kind == ARROW else _Parquet)(place, name, known)
