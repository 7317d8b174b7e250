"""Latents in NumPy's files: arrays of numbers in `.npy` and `.npz`."""

from typing import Any

import numpy as np

from pipeline.errors import FormatError
from pipeline.jobs.latent_columns import NAMES, OTHERS
from pipeline.jobs.latent_readers import Reader
from pipeline.jobs.latent_rows import Loaded
from pipeline.sources.array_files import Archive, ArrayStream, open_array
from pipeline.sources.places import Place
from pipeline.sources.streams import Files


class ArrayReader(Reader):
    """The rows of an array, numbers `[n, latent_dim]`, or `[latent_dim]` for a single one."""

    def __init__(self, files: Files, stream: ArrayStream, latent_dim: int) -> None:
        files.callback(self._close)
        self.count = rows_of(stream, latent_dim) or 0
        self._stream, self._latent_dim = stream, latent_dim
        if stream.shape == (latent_dim,) and latent_dim != 1:
            stream.as_one_row()

    def end(self, stop: int) -> None:
        """See `Reader.end`."""
        self._stream = self._stream.cut(0, stop)

    def read(self, start: int, stop: int) -> Loaded:
        """See `Reader.read`."""
        z: Any = self._stream.read(start, stop).reshape(-1, self._latent_dim)
        return Loaded(z if z.dtype.kind == "f" else z.astype(np.float64))

    def _close(self) -> None:
        self._stream.close()


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


def read_npy(files: Files, place: Place, name: str, latent_dim: int) -> Reader:
    """The rows of an `.npy` file, numbers `[n, latent_dim]` or `[latent_dim]`, stretch by stretch.

    Raises:
        FormatError: another type or shape, or another size than its header says.
    """
    stream = open_array(place, name)
    if rows_of(stream, latent_dim) is None:
        raise FormatError(f"{stream.name} holds {stream}, expected numbers as [n, {latent_dim}]")
    return ArrayReader(files, stream, latent_dim)


def read_npz(files: Files, place: Place, name: str, latent_dim: int) -> Reader:
    """The rows of the array `z_mean`, `z` or `latents` of an `.npz` file, or else of the only `[n, latent_dim]`.

    Raises:
        FormatError: no such array, or several.
    """
    with Files() as once:
        archive = Archive(once, place, name)
        streams = {array: archive.open(array) for array in archive.names}
    named = [array for array in NAMES if array in streams][:1]
    fitting = [array for array in streams if array not in OTHERS and len(streams[array].shape) == 2]
    chosen = [array for array in named or fitting if rows_of(streams[array], latent_dim) is not None]
    if len(chosen) != 1:
        found = ", ".join(f"{array} {stream}" for array, stream in streams.items()) or "none"
        raise FormatError(
            f"{archive.name} holds the arrays {found}; expected numbers as [n, {latent_dim}] named "
            f"{', '.join(NAMES[:-1])} or {NAMES[-1]}, or one such array"
        )
    return ArrayReader(files, streams[chosen[0]], latent_dim)
