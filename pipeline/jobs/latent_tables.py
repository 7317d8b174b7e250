"""Latents in tables: Parquet, Arrow IPC (Feather) and CSV."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np

from pipeline.errors import FormatError
from pipeline.jobs.latent_columns import choose_columns, to_latents
from pipeline.jobs.latent_readers import Reader, Whole
from pipeline.jobs.latent_rows import Loaded, join
from pipeline.sources.places import Place
from pipeline.sources.rows import MAX_ROWS
from pipeline.sources.streams import Files

_BUFFER = 1 << 20  # without one, Arrow reads the column of a whole row group at a time
_IPC_FILE = b"ARROW1"
_DELIMITERS = ",;\t "


class ParquetReader(Reader):
    """The rows of a Parquet file, a few thousand at a time."""

    def __init__(self, files: Files, place: Place, name: str, latent_dim: int) -> None:
        """Read what it says of itself.

        Raises:
            FormatError: no columns of so many latents.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415

        path, file = place.full(name), files.stream(place, name, seek=True)
        self._file = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
        self._columns = choose_columns(path, self._file.schema_arrow, latent_dim)
        groups = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self.count, self._path, self._latent_dim = self._starts[-1], path, latent_dim
        self._batches: Iterator[Loaded] | None = None
        self._at = 0
        self._held = Loaded(np.empty((0, latent_dim)))  # a batch, and its first row

    def read(self, start: int, stop: int) -> Loaded:
        """See `Reader.read`."""
        if self._batches is None:
            group = bisect_right(self._starts, start) - 1
            self._at, self._batches = self._starts[group], self._from(group)
        parts = []
        while start < stop:
            end = self._at + len(self._held.z)
            if start < end:
                parts.append(Whole(self._held).read(start - self._at, min(stop, end) - self._at))
                start = min(stop, end)
                continue
            self._at, held = end, next(self._batches, None)
            if held is None:
                raise FormatError(f"{self._path} ends at row {end:,} of {self.count:,}; write it again")
            self._held = held
        return join(parts)

    def _from(self, group: int) -> Iterator[Loaded]:
        groups = range(group, self._file.num_row_groups)
        for batch in self._file.iter_batches(MAX_ROWS, row_groups=groups, columns=self._columns, use_threads=False):
            yield to_latents([batch.column(name) for name in self._columns], self._latent_dim)


def read_ipc(files: Files, place: Place, name: str, latent_dim: int) -> Reader:
    """The rows of an Arrow IPC file (Feather 2) or stream, as a whole.

    Raises:
        FormatError: no columns of so many latents.
    """
    import pyarrow as pa  # noqa: PLC0415

    path, content = place.full(name), pa.BufferReader(files.stream(place, name).read())
    of_file = content.read(len(_IPC_FILE)) == _IPC_FILE
    content.seek(0)
    with pa.ipc.open_file(content) if of_file else pa.ipc.open_stream(content) as table:
        columns = choose_columns(path, table.schema, latent_dim)
        return Whole(_of_table(table.read_all(), columns, latent_dim))


def read_csv(files: Files, place: Place, name: str, latent_dim: int) -> Reader:
    """The rows of a CSV file, as a whole; a line of another length or with a word among its numbers is a bad row.

    The first line is a header if there is no number in it. Commas, semicolons, tabs or blanks stand between the values.

    Raises:
        FormatError: no columns of so many latents.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    path, content = place.full(name), files.stream(place, name).read().removeprefix(b"\xef\xbb\xbf")
    first = content.lstrip()[:_BUFFER].partition(b"\n")[0].decode(errors="replace").strip()
    if not first:
        return Whole(Loaded(np.empty((0, latent_dim))))
    delimiter = next((sign for sign in _DELIMITERS if sign in first), ",")
    headed = all(_number(field) is None for field in first.split(delimiter))
    ragged: dict[int, str] = {}

    def set_aside(line: Any) -> str:
        what = f"holds {line.actual_columns:,} value(s), expected {line.expected_columns:,}"
        ragged[line.number - 1 - headed] = what  # lines are counted from 1, but for empty ones
        return "skip"

    table = csv.read_csv(
        pa.BufferReader(content),
        csv.ReadOptions(use_threads=False, autogenerate_column_names=not headed),
        csv.ParseOptions(delimiter=delimiter, invalid_row_handler=set_aside),
    )
    table = pa.table([_as_numbers(column) for column in table.columns], table.schema.names)
    rows = _of_table(table, choose_columns(path, table.schema, latent_dim), latent_dim)
    if not ragged:
        return Whole(rows)
    good = np.ones(len(rows.z) + len(ragged), bool)
    good[list(ragged)] = False
    z = np.zeros((len(good), latent_dim))
    z[good] = rows.z
    return Whole(Loaded(z, ragged))


def _as_numbers(column: Any) -> Any:
    """Text among which there are numbers as numbers, null where there is none."""
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_string(column.type):
        return column
    numbers = [_number(field) for field in column.to_pylist()]
    return column if all(number is None for number in numbers) else pa.chunked_array([pa.array(numbers, pa.float64())])


def _number(field: str) -> float | None:
    try:
        return float(field.strip().strip('"'))
    except ValueError:
        return None


def _of_table(table: Any, columns: list[str], latent_dim: int) -> Loaded:
    batches = table.select(columns).to_batches()
    parts = [to_latents(batch.columns, latent_dim) for batch in batches if len(batch)]
    return join(parts) if parts else Loaded(np.empty((0, latent_dim)))
