"""Latents in files: `.npy`, and Parquet as the batch jobs write it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.jobs.latent_rows import Floats, LatentSource
from pipeline.jobs.target import MANIFEST
from pipeline.shared.text import one_line


def open_latents(path: Path, latent_dim: int, count: int | None = None) -> LatentSource:
    """Latents from an `.npy` file, a Parquet file, or a folder of Parquet parts (column `z_mean` or `z`).

    Args:
        path: the file or folder.
        latent_dim: how many latents are expected.
        count: how many rows to take from the start; all, if it is not given.

    Raises:
        DataError: nothing there, no row, or fewer than `count`.
        FormatError: another type or latent size, or a damaged file.
    """
    if not path.exists():
        raise DataError(f"{path} was not found; expected latents as .npy, .parquet or a folder of Parquet parts")
    source: NpyLatents | ParquetLatents = (
        NpyLatents(path, latent_dim) if path.suffix == ".npy" and path.is_file() else ParquetLatents(path, latent_dim)
    )
    if source.count == 0:
        raise DataError(f"{path} holds no latents")
    if count is not None:
        if count > source.count:
            raise DataError(f"{path} holds {source.count:,} latents, --count asks for {count:,}")
        source.count = count
    return source


class _Latents(LatentSource):
    """Rows of a file or a folder; pickled, they are opened again where they arrive."""

    path: Path

    def __init__(self, path: Path, latent_dim: int) -> None:
        self.path, self.name, self.latent_dim = path, str(path), latent_dim

    def __reduce__(self) -> tuple[Callable[..., LatentSource], tuple[Path, int, int]]:
        return open_latents, (self.path, self.latent_dim, self.count)

    def state(self) -> str:
        """See `LatentSource.state`."""
        facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files()]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def _files(self) -> list[Path]:
        return [self.path]


class NpyLatents(_Latents):
    """The rows of an `.npy` file, float32 `[n, latent_dim]`."""

    def __init__(self, path: Path, latent_dim: int) -> None:
        super().__init__(path, latent_dim)
        try:
            array = np.lib.format.open_memmap(path, mode="r")  # its header; reading a file that shrinks would kill us
        except ValueError as error:
            raise FormatError(f"{path} is not an .npy array of numbers, or is damaged: {error}") from error
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != latent_dim:
            raise FormatError(f"{path} holds {array.dtype}{list(array.shape)}, expected float32[n, {latent_dim}]")
        if not array.flags.c_contiguous:
            raise FormatError(f"{path} is in Fortran order; save numpy.ascontiguousarray(array)")
        self._offset = path.stat().st_size - array.nbytes
        self.count = len(array)
        self.set_aside = _check_manifest(path, Path(f"{path}.{MANIFEST}"), len(array))

    def load(self, start: int, stop: int) -> Callable[[], Floats]:
        """See `LatentSource.load`."""
        size = (stop - start) * self.latent_dim
        offset = self._offset + start * self.latent_dim * np.dtype(np.float32).itemsize
        z = np.fromfile(self.path, np.float32, size, offset=offset)
        if z.size < size:
            raise DataError(f"{self.path} became shorter while it was read: it ends before row {stop:,}")
        return lambda: z.reshape(-1, self.latent_dim)


class ParquetLatents(_Latents):
    """The rows of a Parquet file, or of all parts in a folder, one row group at a time."""

    def __init__(self, path: Path, latent_dim: int) -> None:
        super().__init__(path, latent_dim)
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        files = self._files()
        try:
            names = pq.read_schema(files[0]).names
            self._column = next((name for name in ("z_mean", "z") if name in names), None)
            groups = [_groups(file, self._column, latent_dim) for file in files]
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{path} is neither .npy nor Parquet, or is damaged: {one_line(error)}") from error
        self._pieces = [
            (file, group, rows) for file, sizes in zip(files, groups, strict=True) for group, rows in enumerate(sizes)
        ]
        self._ends = np.cumsum([rows for _, _, rows in self._pieces], dtype=np.int64)
        self._read_group = lru_cache(maxsize=2)(self._read_piece)
        self.count = int(self._ends[-1]) if len(self._ends) else 0
        self.set_aside = _check_manifest(path, path / f"_{MANIFEST}", self.count)

    def load(self, start: int, stop: int) -> Callable[[], Floats]:
        """See `LatentSource.load`."""
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        starts = [int(self._ends[piece]) - self._pieces[piece][2] for piece in range(first, last + 1)]
        z = np.concatenate(
            [self._read_group(piece)[max(start - begin, 0) : stop - begin] for piece, begin in enumerate(starts, first)]
        )
        return lambda: z

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        files = sorted(self.path.glob("*.parquet"))
        if not files:
            raise DataError(
                f"{self.path} holds no .parquet file; expected the output of `vae encode` or `vae generate`"
            )
        return files

    def _read_piece(self, piece: int) -> Floats:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        file, group, rows = self._pieces[piece]
        try:
            values = pq.ParquetFile(file).read_row_group(group, [self._column]).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{file} is damaged: {one_line(error)}") from error
        start = int(self._ends[piece]) - rows
        whole = pc.equal(pc.list_value_length(values), self.latent_dim).fill_null(False)
        whole = whole.to_numpy(zero_copy_only=False)
        if not whole.all():
            row = start + int(np.argmin(whole))
            raise FormatError(f"{self.path} does not hold {self.latent_dim} latents in row {row:,}")
        z: Floats = values.flatten().to_numpy(zero_copy_only=False)  # a null becomes NaN
        return z.reshape(rows, self.latent_dim)


def _groups(file: Path, column: str | None, latent_dim: int) -> list[int]:
    """Rows of each row group of a file whose latents have the expected type."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        if column is None or column not in schema.names:
            raise FormatError(f"{file} holds the columns {', '.join(schema.names)}, expected z_mean or z")
        type_ = schema.field(column).type
        fits = (pa.types.is_fixed_size_list(type_) and type_.list_size == latent_dim) or pa.types.is_list(type_)
        if not fits or type_.value_type != pa.float32():
            raise FormatError(f"{file} holds {column} as {type_}, expected lists of {latent_dim} float32")
        return [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]


def _check_manifest(path: Path, about: Path, count: int) -> int:
    """How many rows the job that wrote the latents set aside; a part may be missing, which only its manifest tells."""
    try:
        manifest = json.loads(about.read_bytes())
        rows, quarantined = int(manifest["rows"]), int(manifest["quarantined"])
    except OSError:
        return 0
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{about} is damaged; run the job that wrote it again") from error
    if rows != count:
        raise FormatError(f"{path} holds {count:,} rows, its manifest lists {rows:,}; run the job that wrote it again")
    return quarantined


@dataclass(frozen=True)
class EncodedRows:
    """What `vae encode` wrote: all rows of its columns, and the SHA-256 of the encoder that made them."""

    index: NDArray[np.int64]
    """Rows in the source, `[n]`."""
    label: NDArray[Any]
    """uint8 `[n]`, or what was asked for where there is none."""
    z_mean: Floats
    """`[n, latent_dim]`"""
    z_log_var: Floats
    """`[n, latent_dim]`"""
    model_sha256: str


def read_encoded(path: Path, latent_dim: int, no_label: int) -> EncodedRows:
    """Read the Parquet output of `vae encode` as a whole.

    Args:
        path: a file or a folder of parts.
        latent_dim: how many latents are expected.
        no_label: the label of rows that have none.

    Raises:
        DataError: nothing there, no row, or a latent that is not finite.
        FormatError: not Parquet, damaged, or of another latent size.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.exists():
        raise DataError(f"{path} was not found; expected latents as Parquet: run `vae encode` (or `dvc repro`) first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path} is not Parquet, or is damaged: {one_line(error)}") from error
    wanted = pa.list_(pa.float32(), latent_dim)
    for name in ("z_mean", "z_log_var"):
        found = table.schema.field(name).type if name in table.schema.names else None
        if found != wanted:
            raise FormatError(f"{path} has {name} as {found}, expected {wanted}; run `vae encode` with this bundle")
    if missing := [name for name in ("index", "label") if name not in table.schema.names]:
        raise FormatError(f"{path} has no column {missing[0]}; expected the output of `vae encode`")
    if table.num_rows == 0:
        raise DataError(f"{path} holds no latents")
    flat = {name: table[name].combine_chunks().flatten().to_numpy() for name in ("z_mean", "z_log_var")}
    if not all(np.isfinite(values).all() for values in flat.values()):
        raise DataError(f"{path} holds a latent that is not finite; run `vae encode` again")
    return EncodedRows(
        table["index"].to_numpy(),
        table["label"].fill_null(no_label).to_numpy(),
        flat["z_mean"].reshape(-1, latent_dim),
        flat["z_log_var"].reshape(-1, latent_dim),
        (table.schema.metadata or {}).get(b"model_sha256", b"").decode(errors="replace"),
    )
