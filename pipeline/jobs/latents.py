"""Where the latents to decode come from: the prior, a mixture, a grid over the prior's quantiles, or a file."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError, ModelError
from pipeline.inference.mixture import Mixture
from pipeline.jobs.target import MANIFEST
from pipeline.sources.rows import BadRow

Floats = NDArray[np.float32]

_ROWS_PER_DRAW = 4096  # from one generator


@dataclass(frozen=True)
class LatentRows:
    """Rows `start` to `stop` of a source: the good ones float32 `[m, latent_dim]`, and what is wrong with others."""

    start: int
    stop: int
    z: Floats
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class LatentSource:
    """Latents that are read, or drawn, stretch by stretch, in order."""

    name: str
    count: int
    load: Callable[[int, int], Callable[[], Floats]]
    """`load(start, stop)` reads what is to be read; called, its result gives float32 `[stop - start, latent_dim]`."""
    state: Callable[[], str]
    """The words that define them, or a digest of the names, sizes and times of their files."""
    path: Path | None = None
    """The file or folder that they come from, if any."""
    set_aside: int = 0
    """Rows of the images that are missing here."""

    def read(self, start: int, stop: int) -> Callable[[], LatentRows]:
        """Rows of latents; those with a value that is not finite are bad."""
        rows = self.load(start, stop)

        def check() -> LatentRows:
            z = rows()
            good = np.isfinite(z).all(axis=1)
            if good.all():
                return LatentRows(start, stop, z)
            bad = (int(row) + start for row in np.flatnonzero(~good))
            reason = "a latent is not finite, expected numbers"
            return LatentRows(start, stop, z[good], tuple(BadRow(i, f"{self.name} row {i:,}", reason) for i in bad))

        return check


def choose_latents(
    latent_dim: int,
    *,
    count: int | None = None,
    seed: int = 0,
    path: Path | None = None,
    side: int | None = None,
    fitted: Path | None = None,
) -> LatentSource:
    """Latents from the file `path` (the first `count`), a manifold of `side`, or else `count` draws.

    These are from the mixture `fitted`, or without one from the prior.
    """
    if path is not None:
        source = open_latents(path, latent_dim)
        if count is not None and count > source.count:
            raise DataError(f"{path} holds {source.count:,} latents, --count asks for {count:,}")
        return source if count is None else replace(source, count=count)
    if side is not None:
        return manifold(side, latent_dim)
    if fitted is not None:
        return mixture(fitted, count or 0, seed, latent_dim)
    return prior(count or 0, seed, latent_dim)


def prior(count: int, seed: int, latent_dim: int) -> LatentSource:
    """`count` draws from N(0, I).

    Rows 4,096 k and on are drawn from `numpy.random.default_rng([seed, k])`, so that each stretch can be drawn by
    itself, and more draws begin with the same.
    """
    words = f"N(0, I) seed={seed} latent_dim={latent_dim}"
    return _drawn(words, count, lambda block, rows: _noise(seed, block, rows, latent_dim))


def mixture(path: Path, count: int, seed: int, latent_dim: int) -> LatentSource:
    """`count` draws from the Gaussian mixture at `path`, an ONNX file or a folder with `model.onnx`.

    The noise is what `prior` draws with the same seed; what picks the Gaussians of rows 4,096 k and on is drawn from
    `numpy.random.default_rng([seed, k, 1])`.

    Raises:
        ModelError: no such file, not a mixture, or one of another latent size.
    """
    model = Mixture(path)
    if model.latent_dim != latent_dim:
        raise ModelError(f"{model.path} gives {model.latent_dim} latent(s), the decoder takes {latent_dim}")

    def draw(block: int, rows: int) -> Floats:
        uniform = np.random.default_rng([seed, block, 1]).random(rows, np.float32)
        (z,) = model.run(uniform, _noise(seed, block, rows, latent_dim))
        return z

    return _drawn(f"mixture {model.sha256} seed={seed} latent_dim={latent_dim}", count, draw)


def _noise(seed: int, block: int, rows: int, latent_dim: int) -> Floats:
    return np.random.default_rng([seed, block]).standard_normal((rows, latent_dim), np.float32)


def _drawn(words: str, count: int, draw: Callable[[int, int], Floats]) -> LatentSource:
    """Latents that `words` define; `draw(block, rows)` gives the first rows of a block of 4,096."""

    def rows_of(start: int, stop: int) -> Floats:
        blocks = range(start // _ROWS_PER_DRAW, -(-stop // _ROWS_PER_DRAW))
        drawn = [draw(block, min(_ROWS_PER_DRAW, stop - block * _ROWS_PER_DRAW)) for block in blocks]
        return np.concatenate(drawn)[start - blocks.start * _ROWS_PER_DRAW :]

    return LatentSource(words, count, lambda start, stop: lambda: rows_of(start, stop), lambda: words)


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
    words = f"quantiles of N(0, I) side={side} latent_dim={latent_dim}"
    return LatentSource(words, len(z), lambda start, stop: lambda: z[start:stop], lambda: words)


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
        array = np.lib.format.open_memmap(path, mode="r")  # for its header; reading a file that shrinks would kill us
    except ValueError as error:
        raise FormatError(f"{path} is not an .npy array of numbers, or is damaged: {error}") from error
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != latent_dim:
        raise FormatError(f"{path} holds {array.dtype}{list(array.shape)}, expected float32[n, {latent_dim}]")
    if not array.flags.c_contiguous:
        raise FormatError(f"{path} is in Fortran order; save numpy.ascontiguousarray(array)")
    row_bytes = latent_dim * array.itemsize
    offset = path.stat().st_size - array.nbytes

    def load(start: int, stop: int) -> Callable[[], Floats]:
        z = np.fromfile(path, np.float32, (stop - start) * latent_dim, offset=offset + start * row_bytes)
        if z.size < (stop - start) * latent_dim:
            raise DataError(f"{path} became shorter while it was read: it ends before row {stop:,}")
        return lambda: z.reshape(-1, latent_dim)

    set_aside = _check_manifest(path, Path(f"{path}.{MANIFEST}"), len(array))
    return LatentSource(str(path), len(array), load, lambda: _state([path]), path, set_aside)


def _open_parquet(path: Path, latent_dim: int) -> LatentSource:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    files = _parts(path) if path.is_dir() else [path]
    try:
        names = pq.read_schema(files[0]).names
        column = next((name for name in ("z_mean", "z") if name in names), None)
        groups = [_groups(file, column, latent_dim) for file in files]
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{path} is neither .npy nor Parquet, or is damaged: {' '.join(str(error).split())[:200]}"
        ) from error
    pieces = [
        (file, group, rows) for file, sizes in zip(files, groups, strict=True) for group, rows in enumerate(sizes)
    ]
    ends = np.cumsum([rows for _, _, rows in pieces], dtype=np.int64)

    @lru_cache(maxsize=2)
    def read_group(piece: int) -> Floats:
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
        return z.reshape(rows, latent_dim)

    def load(start: int, stop: int) -> Callable[[], Floats]:
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        starts = [int(ends[piece]) - pieces[piece][2] for piece in range(first, last + 1)]
        z = np.concatenate(
            [read_group(piece)[max(start - begin, 0) : stop - begin] for piece, begin in enumerate(starts, first)]
        )
        return lambda: z

    count = int(ends[-1]) if len(ends) else 0
    set_aside = _check_manifest(path, path / f"_{MANIFEST}", count)
    return LatentSource(str(path), count, load, lambda: _state(files), path, set_aside)


def _parts(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no .parquet file; expected the output of `vae encode` or `vae generate`")
    return files


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


def _state(files: list[Path]) -> str:
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
