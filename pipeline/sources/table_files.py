"""Parquet and Arrow files: their schema, their number of rows, and their rows in batches from any row on."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from itertools import accumulate
from typing import Any, Self

from pipeline.errors import FormatError
from pipeline.sources.choose_columns import Chosen
from pipeline.sources.columns import is_bytes
from pipeline.sources.kinds import ARROW, PARQUET, START, kind_of_content, kind_of_name
from pipeline.sources.places import Place, reported
from pipeline.sources.rows import MAX_ROWS
from pipeline.sources.streams import Files

_BATCH_BYTES = 16 << 20  # of what Arrow gives at a time
_BUFFERS, _BUFFER = 16 << 20, 1 << 16  # of all columns and at least of each: without one, Arrow reads a whole group
_ARROW_FILE = b"ARROW1"


class TableFile(ABC):
    """A file that is open within a `with` block."""

    def __init__(self, place: Place, name: str) -> None:
        self.path = place.full(name)
        with reported(self.path):
            self._stream = place.open(name, seek=True)
        try:
            with reported(self.path):
                self._open()
        except BaseException:
            self._stream.close()
            raise

    schema: Any
    rows: int

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
        self._file = pa.ipc.open_file(self._stream) if indexed else None
        if self._file is not None:
            self.schema = self._file.schema
            self._groups = [self._file.get_batch(index).num_rows for index in range(self._file.num_record_batches)]
        else:
            reader = pa.ipc.open_stream(self._stream)
            self.schema, self._groups = reader.schema, [batch.num_rows for batch in reader]
        self.rows = sum(self._groups)

    def batches(self, row: int, columns: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
        import pyarrow as pa  # noqa: PLC0415

        self._stream.seek(0)
        stream = None if self._file is not None else iter(pa.ipc.open_stream(self._stream))
        starts = [*accumulate(self._groups, initial=0)]
        for index, rows in enumerate(self._groups):
            # A stream has to be read to its next batch; of a file with an index, the rest can be left alone.
            batch = next(stream) if stream is not None else None
            if starts[index + 1] <= row:
                continue
            batch = batch if batch is not None else self._file.get_batch(index)  # type: ignore[union-attr]
            batch = batch.select(list(columns))
            for at in range(0, rows, MAX_ROWS):
                yield starts[index] + at, batch.slice(at, MAX_ROWS)


def open_table(place: Place, name: str) -> TableFile:
    """Open a Parquet or Arrow file.

    Raises:
        DataError: it can't be read; FormatError: it contradicts itself.
    """
    kind = kind_of_name(place.bare(name))
    if kind not in (ARROW, PARQUET):
        with Files() as files, reported(place.full(name)):
            kind = kind_of_content(files.stream(place, name).read(START))
    return (_Arrow if kind == ARROW else _Parquet)(place, name)
