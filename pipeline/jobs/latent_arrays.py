"""Latents in NumPy's files: arrays of numbers in `.npy` and `.npz`."""

from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import FormatError
from pipeline.jobs.latent_columns import NAMES, OTHERS
from pipeline.jobs.latent_readers import Reader
from pipeline.jobs.latent_rows import Loaded
from pipeline.sources.array_files import Archive, ArrayStream
from pipeline.sources.array_files import read_npy as open_npy


class ArrayReader(Reader):
    """The rows of an array, numbers `[n, latent_dim]`, or `[latent_dim]` for a single one."""

    def __init__(self, stream: ArrayStream, latent_dim: int) -> None:
        self.count = rows_of(stream, latent_dim) or 0
        self._stream, self._latent_dim = stream, latent_dim
        if stream.shape == (latent_dim,) and latent_dim != 1:
            stream.as_one_row()

    def read(self, start: int, stop: int) -> Loaded:
        """See `Reader.read`."""
        z: Any = self._stream.read(start, stop).reshape(-1, self._latent_dim)
        return Loaded(z if z.dtype.kind == "f" else z.astype(np.float64))


def rows_of(stream: ArrayStream, latent_dim: int) -> int | None:
    """How many rows of so many latents an array holds; None if it is none of latents."""
    shape = stream.shape
    if stream.dtype.kind not in "fiu":
        return None
    if len(shape) == 2 and shape[1] == latent_dim:
        return shape[0]
    if len(shape) == 1 and latent_dim in (1, shape[0]):
        return shape[0] // latent_dim
    return None


def read_npy(path: str, file: BinaryIO, latent_dim: int) -> Reader:
    """The rows of an `.npy` file, numbers `[n, latent_dim]` or `[latent_dim]`, stretch by stretch.

    Raises:
        FormatError: another type or shape, or another size than its header says.
    """
    stream = open_npy(path, file)
    if rows_of(stream, latent_dim) is None:
        raise FormatError(f"{path} holds {stream}, expected numbers as [n, {latent_dim}]")
    return ArrayReader(stream, latent_dim)


def read_npz(path: str, file: BinaryIO, latent_dim: int) -> Reader:
    """The rows of the array `z_mean`, `z` or `latents` of an `.npz` file, or else of the only `[n, latent_dim]`.

    Raises:
        FormatError: no such array, or several.
    """
    archive = Archive(path, file)
    streams = {name: archive.open(name) for name in archive.names}
    named = [name for name in NAMES if name in streams][:1]
    fitting = [name for name in streams if name not in OTHERS and len(streams[name].shape) == 2]
    chosen = [name for name in named or fitting if rows_of(streams[name], latent_dim) is not None]
    if len(chosen) != 1:
        found = ", ".join(f"{name} {stream}" for name, stream in streams.items()) or "none"
        raise FormatError(
            f"{path} holds the arrays {found}; expected numbers as [n, {latent_dim}] named {', '.join(NAMES[:-1])} or "
            f"{NAMES[-1]}, or one such array"
        )
    return ArrayReader(streams[chosen[0]], latent_dim)
