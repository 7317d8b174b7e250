"""Arrays of bytes in IDX, `.npy` and `.npz` files, read from front to back."""

import gzip
import io
import math
import tokenize
import warnings
import zipfile
from contextlib import ExitStack, suppress
from typing import IO, Any, BinaryIO, Self

import numpy as np
from numpy.lib import format as npy

from pipeline.errors import FormatError
from pipeline.shared.text import one_line
from pipeline.sources.idx import read_idx_shape
from pipeline.sources.places import Place, reported
from pipeline.sources.rows import Pixels

_GZIP = b"\x1f\x8b"
_UNREADABLE = ValueError, TypeError, EOFError, RecursionError, SyntaxError, tokenize.TokenError
# What zipfile and zlib raise over damaged bytes; RuntimeError is encryption, NotImplementedError another method.
_BAD_ZIP = zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OverflowError


class ArrayStream:
    """A uint8 array in a file, whose rows are read from front to back into memory of their own."""

    def __init__(self, name: str, file: IO[bytes], shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape
        self._file = file
        self._row = 0

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return math.prod(self.shape[1:])

    def read(self, start: int, stop: int) -> Pixels:
        """Rows `start` to `stop`, uint8 `[stop - start, ...]`; those before `start` are passed over.

        Raises:
            DataError: the file can't be read; FormatError: it is damaged, or ends before or after the last row.
        """
        rows = np.empty((stop - start, *self.shape[1:]), np.uint8)
        with reported(f"{self.name} (at row {self._row:,} of {len(self):,})"):
            skip(self._file, (start - self._row) * self.row_bytes)
            found = self._file.readinto(rows.reshape(-1)) if rows.size else 0  # type: ignore[attr-defined]
            if found < rows.size:
                row = start + found // self.row_bytes
                raise FormatError(f"{self.name} ends in row {row:,} of {len(self):,}; mend it or fetch it again")
            self._row = stop
            # Reading on makes gzip and zip compare their checksums.
            if stop == len(self) and self._file.read(1):
                raise FormatError(f"{self.name} goes on after its {len(self):,} rows; write it again as one array")
        return rows


class Archive:
    """The arrays of an `.npz` file."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        try:
            self._zip = zipfile.ZipFile(file)
            self.names = [entry.removesuffix(".npy") for entry in self._zip.namelist() if entry.endswith(".npy")]
        except _BAD_ZIP as error:
            raise _unreadable(name, ".npz", error) from error

    def open(self, array: str, dimensions: int) -> ArrayStream:
        """One of the arrays, in which `dimensions` are expected."""
        try:
            member = self._zip.open(f"{array}.npy")
        except _BAD_ZIP as error:
            raise _unreadable(self._name, ".npz", error) from error
        return ArrayStream(self._name, member, _npy_shape(self._name, member, ".npz", dimensions))


class Files(ExitStack):
    """Open files that are closed together."""

    def __enter__(self) -> Self:
        return self

    def stream(self, place: Place, name: str, *, seek: bool = False) -> io.BufferedReader:
        """Open a file; its `readinto` fills what it is given unless the file ends."""
        with reported(place.full(name)):
            file = self.enter_context(place.open(name, seek=seek))
        return file if isinstance(file, io.BufferedReader) else io.BufferedReader(_Raw(file), 1 << 20)

    def array(self, place: Place, name: str, dimensions: int) -> ArrayStream:
        """Open an IDX file of so many dimensions, `.gz` or not, or an `.npy` file of any."""
        path = place.full(name)
        file: Any = self.stream(place, name)
        with reported(path):
            size = size_of(file)
            if place.ends(name, ".npy"):
                shape = _npy_shape(path, file, ".npy", dimensions)
            else:
                if place.ends(name, ".gz") or file.peek(2)[:2] == _GZIP:
                    file, size = gunzip(path, file), None
                shape = read_idx_shape(path, file, dimensions)
            if size is not None and size - file.tell() != math.prod(shape):
                raise FormatError(
                    f"{path} declares {math.prod(shape):,} elements {shape} and holds {size - file.tell():,}; "
                    "fetch it again"
                )
        return ArrayStream(path, file, shape)


class _Raw(io.RawIOBase):
    """Any object with a `read` that may give less than asked for, as fsspec's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        # A streaming file of fsspec says that it can and refuses when it is tried.
        return not type(self._file).__name__.startswith("HTTPStream") and self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def gunzip(name: str, file: io.BufferedReader) -> gzip.GzipFile:
    """The stream inside a gzip stream."""
    start = file.peek(16)[:16]
    if not start.startswith(_GZIP):
        raise FormatError(f"{name} is not gzip: it starts with {start!r}; fetch it again")
    return gzip.GzipFile(fileobj=file)


def skip(file: IO[bytes], size: int) -> None:
    """Pass over bytes: by seeking if that is possible, else by reading."""
    if size > 0 and file.seekable():
        file.seek(size, 1)
        return
    while size > 0 and (found := len(file.read(min(size, 1 << 20)))):
        size -= found


def size_of(file: io.BufferedReader) -> int | None:
    """The size of a file at whose start one stands, None where only reading tells."""
    if not file.seekable():
        return None
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _npy_shape(name: str, file: IO[bytes], suffix: str, dimensions: int) -> tuple[int, ...]:
    """Read the header of an array of bytes, strictly."""
    try:
        version = npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version}")
        with warnings.catch_warnings(action="ignore"):  # over headers of Python 2
            shape, fortran, dtype = readers[version](file)
        if any(size < 0 for size in shape) or dtype.hasobject:
            raise ValueError("pickled objects" if dtype.hasobject else f"shape {shape}")
    except (*_UNREADABLE, *_BAD_ZIP) as error:
        raise _unreadable(name, suffix, error) from error
    found = f"{dtype}{list(shape)}"
    if dtype != np.uint8 or not shape:
        expected = "images as uint8[n, 28, 28], 255 = ink" if dimensions == 3 else "labels as uint8[n]"
        raise FormatError(f"{name} holds {found}, expected {expected}; save array.astype('uint8')")
    if fortran:
        raise FormatError(f"{name} holds {found} in Fortran order; save numpy.ascontiguousarray(array)")
    with suppress(OverflowError):
        np.intp(math.prod(shape))
        return tuple(shape)
    raise FormatError(f"{name} declares {found}, more than fits in memory; write it again")


def _unreadable(name: str, suffix: str, error: Exception) -> FormatError:
    return FormatError(
        f"{name} is not a readable {suffix} file of plain arrays ({one_line(error)}); write it again with "
        f"numpy.{'save' if suffix == '.npy' else 'savez'}"
    )
