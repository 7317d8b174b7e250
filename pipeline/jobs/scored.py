"""What `vae score` wrote, read by whoever compares it: of a large result evenly spaced rows, in bounded memory."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError, FormatError
from pipeline.jobs.latent_rows import Floats
from pipeline.jobs.parts import PART_GLOB, ROWS_PER_PART
from pipeline.jobs.target import MANIFEST, job_of
from pipeline.shared.text import one_line

MOST_ROWS = 2**20
_SCORE, _LATENTS = "score", "z_mean"
_WANTED = "expected the scores that `vae score` wrote"


@dataclass(frozen=True)
class Origin:
    """What scored the rows, as the metadata of each file say."""

    model_sha256: str
    precision: str
    encoder_sha256: str | None
    """Of the encoder that gave the latents."""
    latent_dim: int
    """0 where there are no latents."""


@dataclass(frozen=True)
class Scores:
    """Rows of a result of `vae score`."""

    score: Floats
    """`[n]`"""
    z_mean: Floats | None
    """`[n, latent_dim]`, where the result has them."""
    rows: int
    """Of the result."""
    every: int
    """One row in so many was taken."""
    origin: Origin


def read_scores(path: Path, most: int = MOST_ROWS) -> Scores:
    """Read the Parquet output of `vae score`; of more than `most` rows every k-th.

    Args:
        path: a file or the folder of a whole result.
        most: how many rows are held in memory.

    Raises:
        DataError: nothing there, the result of another job, no row, or a value that is not finite.
        FormatError: not Parquet, damaged, or with other columns; or the files of more than one result.
    """
    files = _files(path)
    abouts = [_read_about(file) for file in files]
    rows, origin = sum(count for count, _ in abouts), abouts[0][1]
    for file, (_, other) in zip(files, abouts, strict=True):
        if other != origin:
            raise FormatError(f"{file} was not scored as {files[0]} was; expected one result: run `vae score` again")
    if rows < 1:
        raise DataError(f"{path} holds no rows; {_WANTED} for at least one image")
    every = -(-rows // most)
    start = 0
    score, z_mean = [], []
    for file in files:
        for batch in _batches(file, origin.latent_dim):
            chosen = slice(-start % every, None, every)
            score.append(_values(batch[_SCORE], file)[chosen].copy())  # so that the rest can go
            if origin.latent_dim:
                z_mean.append(_values(batch[_LATENTS], file).reshape(-1, origin.latent_dim)[chosen].copy())
            start += batch.num_rows
    if start != rows:
        raise FormatError(f"{path} holds {start:,} rows and says {rows:,}; {_WANTED}: run it again")
    return Scores(np.concatenate(score), np.concatenate(z_mean) if z_mean else None, rows, every, origin)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path} was not found; {_WANTED}")
    if not path.is_dir():
        return [path]
    job = job_of(path / f"_{MANIFEST}")
    if job != "score":
        found = f"the result of `vae {job}`" if job else f"no _{MANIFEST}, with which each complete result ends"
        raise DataError(f"{path} holds {found}; {_WANTED}")
    files = sorted(path.glob(f"{PART_GLOB}.parquet"))
    if not files:
        raise DataError(f"{path} holds no Parquet files; {_WANTED}: run it again")
    return files


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with file.open("rb") as content:  # pyarrow takes no path that is not text, as the name of a file need not be
            yield pq.ParquetFile(content)
    except (pa.ArrowException, OSError, ValueError) as error:  # the last one where a name is not UTF-8
        raise FormatError(f"{file} is not Parquet, or is damaged: {one_line(error)}; {_WANTED}") from error


def _read_about(file: Path) -> tuple[int, Origin]:
    """How many rows a file has, and what scored them."""
    with _opened(file) as parquet:
        rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    types = {field.name: field.type for field in schema}
    if types.get(_SCORE) != pa.float32():
        found = f"{_SCORE} as {types[_SCORE]}" if _SCORE in types else f"no column {_SCORE}"
        raise FormatError(f"{file} has {found}; {_WANTED}, with {_SCORE} as float")
    metadata = {
        key.decode(errors="replace"): text.decode(errors="replace") for key, text in (schema.metadata or {}).items()
    }
    if "model_sha256" not in metadata:
        raise FormatError(f"{file} doesn't say which model scored it (model_sha256 in its metadata); {_WANTED}")
    latents, size = types.get(_LATENTS), 0
    if latents is not None:
        size = getattr(latents, "list_size", 0)
        if size < 1 or latents != pa.list_(pa.float32(), size):
            raise FormatError(f"{file} has {_LATENTS} as {latents}; {_WANTED}, with fixed-size lists of float")
    encoder = metadata.get("encoder_sha256")
    return rows, Origin(metadata["model_sha256"], metadata.get("precision", ""), encoder, size)


def _batches(file: Path, latent_dim: int) -> Iterator[Any]:
    with _opened(file) as parquet:
        yield from parquet.iter_batches(ROWS_PER_PART, columns=[_SCORE, *([_LATENTS] if latent_dim else [])])


def _values(column: Any, file: Path) -> Floats:
    """The numbers of a column, all of them; from its buffer, since pyarrow's own conversion imports pandas."""
    flat = column if column.type == pa.float32() else column.flatten()
    if not (column.null_count or flat.null_count):
        values: Floats = np.frombuffer(flat.buffers()[1], np.float32, len(flat), flat.offset * 4)
        if np.isfinite(values).all():
            return values
    raise DataError(f"{file} holds a score that is missing or not finite; run `vae score` again")
