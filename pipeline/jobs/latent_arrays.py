"""Latents in NumPy's files: arrays of numbers in `.npy` and `.npz`."""

import contextlib
import io
import math
import warnings
import zipfile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from pipeline.errors import FormatError
from pipeline.jobs.latent_columns import NAMES, OTHERS
from pipeline.jobs.latent_readers import Reader, Whole
from pipeline.jobs.latent_rows import Loaded


class _Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    def rows(self, latent_dim: int) -> int | None:
        """How many rows of so many latents it holds, a single one or a single latent without an axis of its own."""
        if self.dtype.kind not in "fiu":
            return None
        if len(self.shape) == 2 and self.shape[1] == latent_dim:
            return self.shape[0]
        if len(self.shape) == 1 and latent_dim in (1, self.shape[0]):
            return self.shape[0] // latent_dim
        return None


def read_npy(path: str, file: IO[bytes], latent_dim: int) -> Reader:
    """The rows of an `.npy` file, numbers `[n, latent_dim]` or `[latent_dim]`, stretch by stretch.

    Raises:
        FormatError: another type or shape, or another size than its header says.
    """
    header = _read_header(file)
    if header.rows(latent_dim) is None:
        raise FormatError(f"{path} holds {header}, expected numbers as [n, {latent_dim}]")
    return _array(path, file, header, latent_dim, _rest(file))


def read_npz(path: str, file: IO[bytes], latent_dim: int) -> Reader:
    """The rows of the array `z_mean`, `z` or `latents` of an `.npz` file, or else of the only `[n, latent_dim]`.

    Raises:
        FormatError: no such array, or several.
    """
    archive = zipfile.ZipFile(file)
    headers = {}
    for name in (entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")):
        with archive.open(f"{name}.npy") as member:
            headers[name] = _read_header(member)
    named = [name for name in NAMES if name in headers][:1]
    fitting = [name for name in headers if name not in OTHERS and len(headers[name].shape) == 2]
    chosen = [name for name in named or fitting if headers[name].rows(latent_dim) is not None]
    if len(chosen) != 1:
        found = ", ".join(f"{name} {header}" for name, header in headers.items()) or "none"
        raise FormatError(
            f"{path} holds the arrays {found}; expected numbers as [n, {latent_dim}] named {', '.join(NAMES[:-1])} or "
            f"{NAMES[-1]}, or one such array"
        )
    member, size = archive.open(f"{chosen[0]}.npy"), archive.getinfo(f"{chosen[0]}.npy").file_size
    header = _read_header(member)
    return _array(f"{path}: {chosen[0]}", member, header, latent_dim, size - member.tell())


def _read_header(file: IO[bytes]) -> _Header:
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of .npy")
    with warnings.catch_warnings(action="ignore"):  # over headers of Python 2
        return _Header(*readers[version](file))


def _rest(file: IO[bytes]) -> int | None:
    """The bytes behind the header, None where only reading tells."""
    try:
        at = file.tell()
        size = file.seek(0, io.SEEK_END) - at
    except (ValueError, OSError):  # a stream
        return None
    file.seek(at)
    return size


def _array(path: str, file: IO[bytes], header: _Header, latent_dim: int, size: int | None) -> Reader:
    declared = math.prod(header.shape) * header.dtype.itemsize
    if size is not None and size != declared:
        raise FormatError(f"{path} declares {header}, {declared:,} bytes, and holds {size:,}; write it again")
    rows = _Rows(path, file, header, latent_dim)
    if not header.fortran:
        return rows
    # Its rows lie scattered over the file.
    return Whole(Loaded(rows.take(rows.count).z.reshape(latent_dim, -1).T))


class _Rows(Reader):
    """The rows of an array that lie one after the other in a file."""

    def __init__(self, path: str, file: IO[bytes], header: _Header, latent_dim: int) -> None:
        self.count = header.rows(latent_dim) or 0
        self._path, self._file, self._dtype, self._latent_dim = path, file, header.dtype, latent_dim
        self._row_bytes = latent_dim * header.dtype.itemsize
        self._at = 0

    def read(self, start: int, stop: int) -> Loaded:
        """See `Reader.read`."""
        self._skip((start - self._at) * self._row_bytes)
        self._at = start
        return self.take(stop - start)

    def take(self, rows: int) -> Loaded:
        """The next rows."""
        self._at += rows
        content = _read(self._file, rows * self._row_bytes)
        if len(content) < rows * self._row_bytes:
            raise FormatError(f"{self._path} became shorter while it was read: it ends before row {self._at:,}")
        z = np.frombuffer(content, self._dtype).reshape(-1, self._latent_dim)
        return Loaded(z if z.dtype.kind == "f" else z.astype(np.float64))

    def _skip(self, size: int) -> None:
        if size:
            with contextlib.suppress(ValueError, OSError):  # a stream
                self._file.seek(size, io.SEEK_CUR)
                return
        while size > 0 and (found := len(self._file.read(min(size, 1 << 20)))):
            size -= found


def _read(file: IO[bytes], size: int) -> bytes:
    """So many bytes unless the file ends; drivers may give less at a time."""
    content = file.read(size)
    while len(content) < size and (more := file.read(size - len(content))):
        content += more
    return content
