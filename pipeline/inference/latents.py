"""Where the latents to decode come from: the prior, a grid over its quantiles, or a file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.files import sha256
from pipeline.inference.parquet import PARTS, ROWS_PER_PART

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LatentSource:
    """Latents that are read, or drawn, piece by piece."""

    count: int
    read: Callable[[int, int], Floats]
    """`read(start, stop)` gives float32 `[stop - start, latent_dim]`; the two lie in one part."""
    sha256: str
    """Of the file that they come from, or of the words that define them."""
    path: Path | None = None
    """The file or folder that they come from, if any."""


def choose_latents(
    latent_dim: int,
    *,
    count: int | None = None,
    seed: int = 0,
    path: Path | None = None,
    side: int | None = None,
) -> LatentSource:
    """Latents from the file `path` (the first `count`), a manifold of `side`, or else `count` draws from the prior."""
    if path is not None:
        source = open_latents(path, latent_dim)
        if count is not None and count > source.count:
            raise DataError(f"{path} holds {source.count:,} latents, --count asks for {count:,}")
        return source if count is None else replace(source, count=count)
    if side is not None:
        return manifold(side, latent_dim)
    return prior(count or 0, seed, latent_dim)


def prior(count: int, seed: int, latent_dim: int) -> LatentSource:
    """`count` draws from N(0, I).

    Part p is drawn from `numpy.random.default_rng([seed, p])`, so that every piece can be drawn by itself.
    """

    @lru_cache(maxsize=4)
    def draw(part: int) -> Floats:
        return np.random.default_rng([seed, part]).standard_normal((ROWS_PER_PART, latent_dim), np.float32)

    def read(start: int, stop: int) -> Floats:
        part, first = divmod(start, ROWS_PER_PART)
        return draw(part)[first : first + stop - start]

    return LatentSource(count, read, _digest(f"N(0, I) seed={seed} latent_dim={latent_dim}"))


def manifold(side: int, latent_dim: int) -> LatentSource:
    """A square grid over the quantiles (i + 1/2) / side of the prior, as in Kingma & Welling (2013), figure 4.

    Latent 0 grows from left to right, latent 1 from bottom to top; further latents are 0. With one latent,
    a single row.
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    z = np.zeros((side * side if latent_dim > 1 else side, latent_dim), np.float32)
    z[:, 0] = np.tile(quantiles, len(z) // side)
    if latent_dim > 1:
        z[:, 1] = np.repeat(quantiles[::-1], side)
    return LatentSource(len(z), lambda start, stop: z[start:stop], _digest(f"quantiles of N(0, I) side={side}"))


def open_latents(path: Path, latent_dim: int) -> LatentSource:
    """Latents from an `.npy` file, a Parquet file, or a folder of Parquet parts (column `z_mean` or `z`).

    Raises:
        DataError: nothing there, or no row.
        FormatError: another type or latent size, or a value that is not finite.
    """
    if not path.exists():
        raise DataError(f"{path} was not found; expected latents as .npy, .parquet or a folder of Parquet parts")
    source = (
        _open_npy(path, latent_dim) if path.suffix == ".npy" and path.is_file() else _open_parquet(path, latent_dim)
    )
    if source.count == 0:
        raise DataError(f"{path} holds no latents")
    return source


def _open_npy(path: Path, latent_dim: int) -> LatentSource:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise FormatError(f"{path} is not an .npy array of numbers, or is damaged: {error}") from error
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != latent_dim:
        raise FormatError(f"{path} holds {array.dtype}{list(array.shape)}, expected float32[n, {latent_dim}]")
    return LatentSource(len(array), lambda start, stop: _finite(array[start:stop], start, path), sha256(path), path)


def _open_parquet(path: Path, latent_dim: int) -> LatentSource:
    files = sorted(path.glob(PARTS)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no {PARTS} file; expected the output of `vae encode` or `vae generate`")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{sha256(file)}  {file.name}\n".encode())
    try:
        names = pq.read_schema(files[0]).names
        column = next((name for name in ("z_mean", "z") if name in names), None)
        groups = [_groups(file, column, latent_dim) for file in files]
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path} is not Parquet, or is damaged: {' '.join(str(error).split())[:200]}") from error
    pieces = [
        (file, group, rows) for file, sizes in zip(files, groups, strict=True) for group, rows in enumerate(sizes)
    ]
    ends = np.cumsum([rows for _, _, rows in pieces], dtype=np.int64)

    @lru_cache(maxsize=4)
    def load(piece: int) -> Floats:
        file, group, rows = pieces[piece]
        try:
            values = pq.ParquetFile(file).read_row_group(group, [column]).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{file} is damaged: {' '.join(str(error).split())[:200]}") from error
        start = int(ends[piece]) - rows
        whole = pc.equal(pc.list_value_length(values), latent_dim).fill_null(False).to_numpy(zero_copy_only=False)
        if not whole.all():
            raise FormatError(f"{path} does not hold {latent_dim} latents in row {start + int(np.argmin(whole)):,}")
        z: Floats = values.flatten().to_numpy(zero_copy_only=False)  # a null becomes NaN
        return _finite(z.reshape(rows, latent_dim), start, path)

    def read(start: int, stop: int) -> Floats:
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        starts = [int(ends[piece]) - pieces[piece][2] for piece in range(first, last + 1)]
        return np.concatenate(
            [load(piece)[max(start - begin, 0) : stop - begin] for piece, begin in enumerate(starts, first)]
        )

    return LatentSource(int(ends[-1]) if len(ends) else 0, read, digest.hexdigest(), path)


def _groups(file: Path, column: str | None, latent_dim: int) -> list[int]:
    """Rows of each row group of a file whose latents have the expected type."""
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        if column is None or column not in schema.names:
            raise FormatError(f"{file} holds the columns {', '.join(schema.names)}, expected z_mean or z")
        type_ = schema.field(column).type
        fits = (pa.types.is_fixed_size_list(type_) and type_.list_size == latent_dim) or pa.types.is_list(type_)
        if not fits or type_.value_type != pa.float32():
            raise FormatError(f"{file} holds {column} as {type_}, expected lists of {latent_dim} float32")
        return [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]


def _finite(z: Floats, start: int, path: Path) -> Floats:
    good = np.isfinite(z).all(axis=1)
    if not good.all():
        raise FormatError(f"{path} holds a value that is not finite in row {start + int(np.argmin(good)):,}")
    return np.ascontiguousarray(z)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
