"""Results as numbered Parquet parts: equal inputs give equal bytes."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import OutputError
from pipeline.interface import PIXELS

ROWS_PER_PART = 65_536
PARTS = "part-*.parquet"  # what a result folder holds
SCHEMA_VERSION = 1
_COMPRESSION = {"image": "zstd"}  # mostly background; floats hardly shrink


@dataclass(frozen=True)
class Metadata:
    """What a part says of its origin. No time stamps: they would change the bytes."""

    model_sha256: str
    source_sha256: str
    latent_dim: int

    def encoded(self) -> dict[str, str]:
        """As Parquet file metadata."""
        return {
            **{name: str(value) for name, value in vars(self).items()},
            "schema_version": str(SCHEMA_VERSION),
        }


@dataclass(frozen=True)
class Written:
    """What a job left in its output folder."""

    output: str
    rows: int
    parts: int


def vectors(values: NDArray[np.float32]) -> pa.Array:
    """float32 `[n, d]` as fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def pixels(images: NDArray[np.uint8]) -> pa.Array:
    """uint8 `[n, 28, 28]` as binaries of 784 bytes, row by row."""
    data = pa.py_buffer(np.ascontiguousarray(images))
    return pa.Array.from_buffers(pa.binary(PIXELS), len(images), [None, data])


def batches(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Consecutive `(start, stop)` of at most `size` rows over `count` rows, none of which crosses a part."""
    for part in range(0, count, ROWS_PER_PART):
        end = min(part + ROWS_PER_PART, count)
        for start in range(part, end, size):
            yield start, min(start + size, end)


def refuse_others(folder: Path, columns: Collection[str]) -> None:
    """Raise `OutputError` unless every part in `folder`, if any, is an earlier result with these columns."""
    for part in sorted(folder.glob(PARTS)):
        try:
            schema = pq.read_schema(part)
        except (pa.ArrowException, OSError):
            schema = pa.schema([])
        if b"model_sha256" not in (schema.metadata or {}) or set(schema.names) != set(columns):
            raise OutputError(f"{part} is not an earlier result of this command; choose another output")


def write_parts(folder: Path, tables: Iterable[pa.Table], metadata: Metadata, advance: Callable[[int], object]) -> int:
    """Write tables cut as by `batches`, in order, as `part-00000.parquet` and on; returns how many parts.

    `advance` is told of each table's rows.
    """
    rows, parts, pending = 0, 0, []
    for table in tables:
        pending.append(table)
        rows += len(table)
        advance(len(table))
        if rows % ROWS_PER_PART == 0:
            _write_part(folder, parts, pending, metadata)
            parts, pending = parts + 1, []
    if pending:
        _write_part(folder, parts, pending, metadata)
        parts += 1
    return parts


def _write_part(folder: Path, number: int, tables: list[pa.Table], metadata: Metadata) -> None:
    table = pa.concat_tables(tables).combine_chunks().replace_schema_metadata(metadata.encoded())
    pq.write_table(
        table,
        folder / f"part-{number:05d}.parquet",
        compression={name: _COMPRESSION.get(name, "none") for name in table.column_names},
        use_dictionary=False,  # nearly every float and every image is unique
        row_group_size=ROWS_PER_PART,
    )
