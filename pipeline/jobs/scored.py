"""What `vae score` wrote, read by whoever compares it: of a large result evenly spaced rows, in bounded memory."""

import contextlib
import fnmatch
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
from pipeline.sources.places import Place, reported
from pipeline.sources.remote import find_place
from pipeline.sources.rows import Refused

MOST_ROWS = 2**20
_SCORE, _LATENTS = "score", "z_mean"
_RESULT = "the scores that `vae score` wrote"
_WANTED = f"expected {_RESULT}"


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


def read_scores(path: str | Path, most: int = MOST_ROWS) -> Scores:
    """Read the Parquet output of `vae score`; of more than `most` rows every k-th.

    Args:
        path: a file or the folder of a whole result, or its address.
        most: how many rows are held in memory.

    Raises:
        DataError: nothing there, the result of another job, no row, or a value that is not finite.
        FormatError: not Parquet, damaged, or with other columns; or the files of more than one result.
    """
    place = find_place(str(path), _RESULT)
    files = _files(place)
    abouts = [_read_about(place, file) for file in files]
    rows, origin = sum(count for count, _ in abouts), abouts[0][1]
    for file, (_, other) in zip(files, abouts, strict=True):
        if other != origin:
            one, first = place.full(file), place.full(files[0])
            raise FormatError(f"{one} was not scored as {first} was; expected one result: run `vae score` again")
    if rows < 1:
        raise DataError(f"{path} holds no rows; {_WANTED} for at least one image")
    every = -(-rows // most)
    start = 0
    score, z_mean = [], []
    for file in files:
        for batch in _batches(place, file, origin.latent_dim):
            chosen = slice(-start % every, None, every)
            score.append(_values(batch[_SCORE], place.full(file))[chosen].copy())  # so that the rest can go
            if origin.latent_dim:
                z_mean.append(_values(batch[_LATENTS], place.full(file)).reshape(-1, origin.latent_dim)[chosen].copy())
            start += batch.num_rows
    if start != rows:
        raise FormatError(f"{path} holds {start:,} rows and says {rows:,}; {_WANTED}: run it again")
    return Scores(np.concatenate(score), np.concatenate(z_mean) if z_mean else None, rows, every, origin)


def _files(place: Place) -> list[str]:
    """The names of the files of a result."""
    with reported(place.name):
        names = list(place.files((".parquet",)))
        if place.kind != "folder":
            return names
        (content,) = place.fetch([f"_{MANIFEST}"])
    job = None if isinstance(content, Refused) else job_of(content)
    if job != "score":
        found = f"the result of `vae {job}`" if job else f"no _{MANIFEST}, with which each complete result ends"
        raise DataError(f"{place.name} holds {found}; {_WANTED}")
    parts = [name for name in names if fnmatch.fnmatch(name, PART_GLOB)]
    if not parts:
        raise DataError(f"{place.name} holds no Parquet files; {_WANTED}: run it again")
    return parts


@contextlib.contextmanager
def _opened(place: Place, name: str) -> Iterator[pq.ParquetFile]:
    with reported(place.full(name)), place.open(name, seek=True) as content:
        try:
            yield pq.ParquetFile(content)
        except (pa.ArrowException, ValueError) as error:  # the last one where a name is not UTF-8
            raise FormatError(
                f"{place.full(name)} is not Parquet, or is damaged: {one_line(error)}; {_WANTED}"
            ) from error


def _read_about(place: Place, name: str) -> tuple[int, Origin]:
    """How many rows a file has, and what scored them."""
    with _opened(place, name) as parquet:
        rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    file = place.full(name)
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


def _batches(place: Place, name: str, latent_dim: int) -> Iterator[Any]:
    with _opened(place, name) as parquet:
        yield from parquet.iter_batches(ROWS_PER_PART, columns=[_SCORE, *([_LATENTS] if latent_dim else [])])


def _values(column: Any, file: str) -> Floats:
    """The numbers of a column, all of them; from its buffer, since pyarrow's own conversion imports pandas."""
    flat = column if column.type == pa.float32() else column.flatten()
    if not (column.null_count or flat.null_count):
        values: Floats = np.frombuffer(flat.buffers()[1], np.float32, len(flat), flat.offset * 4)
        if np.isfinite(values).all():
            return values
    raise DataError(f"{file} holds a score that is missing or not finite; run `vae score` again")
