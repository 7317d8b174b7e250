"""Arrays in IDX, `.npy` and `.npz` files: their headers, and their rows from front to back."""

import io
import math
import tokenize
import warnings
import zipfile
from contextlib import suppress
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.shared.text import one_line
from pipeline.sources.idx import read_idx_header
from pipeline.sources.places import Place, reported
from pipeline.sources.streams import Files, size_of, skip

Array = NDArray[Any]
NPY, ZIP = b"\x93NUMPY", b"PK"
_UNREADABLE = ValueError, TypeError, EOFError, RecursionError, SyntaxError, tokenize.TokenError
# What zipfile and zlib raise over damaged bytes; RuntimeError is encryption, NotImplementedError another method.
_BAD_ZIP = zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OverflowError


class ArrayStream:
    """An array in a file, whose rows are read from front to back into memory of their own."""

    def __init__(self, name: str, file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        self._file = file
        self._row = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __str__(self) -> str:
        """What it is: `uint8[9, 28, 28]`."""
        return f"{self.dtype.name if self.dtype.kind != 'U' else 'text'}{list(self.shape)}"

    def as_one_row(self) -> None:
        """Take the whole array for the only row of a pile."""
        self.shape = (1, *self.shape)

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop`, `[stop - start, ...]`, in the byte order of the machine.

        Those before `start` are passed over.

        Raises:
            DataError: the file can't be read; FormatError: it is damaged, or ends before or after the last row.
        """
        with reported(f"{self.name} (at row {self._row:,} of {len(self):,})"):
            rows = self._read(start, stop)
            self._row = stop
        return rows.astype(rows.dtype.newbyteorder("="), copy=False)

    def _read(self, start: int, stop: int) -> Array:
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        skip(self._file, (start - self._row) * self.row_bytes)
        found = self._file.readinto(rows.reshape(-1).view(np.uint8)) if rows.size else 0  # type: ignore[attr-defined]
        if found < rows.nbytes:
            row = start + found // self.row_bytes
            raise FormatError(f"{self.name} ends in row {row:,} of {len(self):,}; mend it or fetch it again")
        # Reading on makes gzip and zip compare their checksums.
        if stop == len(self) and self._file.read(1):
            raise FormatError(f"{self.name} goes on after its {len(self):,} rows; write it again as one array")
        return rows


class _ColumnStream(ArrayStream):
    """The same of an array in Fortran order, in which the rows of each pixel follow each other.

    Where one can't go back in the file, the array is held in memory.
    """

    def __init__(self, name: str, file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        super().__init__(name, file, dtype, shape)
        self._start = 0
        if file.seekable() and not isinstance(file, zipfile.ZipExtFile):
            self._start = file.tell()
        else:
            with reported(name):
                self._file = io.BytesIO(file.read())

    def _read(self, start: int, stop: int) -> Array:
        pixels, rows = math.prod(self.shape[1:]), stop - start
        columns = np.empty((pixels, rows), self.dtype)
        for pixel in range(pixels):
            self._file.seek(self._start + (pixel * len(self) + start) * self.dtype.itemsize)
            content = self._file.read(rows * self.dtype.itemsize)
            if len(content) < columns[pixel].nbytes:
                raise FormatError(f"{self.name} ends before its last row; mend it or fetch it again")
            columns[pixel] = np.frombuffer(content, self.dtype)
        return np.ascontiguousarray(columns.reshape(*reversed(self.shape[1:]), rows).T)


class Archive:
    """The arrays of an `.npz` file."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        try:
            self._zip = zipfile.ZipFile(file)
            self.names = [entry.removesuffix(".npy") for entry in self._zip.namelist() if entry.endswith(".npy")]
        except _BAD_ZIP as error:
            raise _unreadable(name, ".npz", error) from error

    def open(self, array: str) -> ArrayStream:
        """One of the arrays."""
        return _open_npy(self.name, self._member(array), ".npz")

    def about(self, array: str) -> tuple[tuple[int, ...], str]:
        """The shape of one of the arrays, and its type in words: `text`, `pickled`, or NumPy's."""
        shape, _, dtype = _read_header(self.name, self._member(array), ".npz")
        return tuple(shape), "pickled" if dtype.hasobject else "text" if dtype.kind in "US" else str(dtype)

    def _member(self, array: str) -> IO[bytes]:
        try:
            return self._zip.open(f"{array}.npy")
        except _BAD_ZIP as error:
            raise _unreadable(self.name, ".npz", error) from error


def open_array(files: Files, place: Place, name: str) -> ArrayStream:
    """Open an IDX or `.npy` file, `.gz` or not, told apart by the first bytes.

    Raises:
        FormatError: it is neither, or holds more or less than its header declares.
    """
    path = place.full(name)
    file = files.content(place, name)
    with reported(path):
        if file.peek(len(NPY)).startswith(NPY) or place.ends(name, (".npy", ".npy.gz")):
            return read_npy(path, file)
        size = size_of(file)
        stream = ArrayStream(path, file, *read_idx_header(path, file))
        _check_size(stream, file, size)
        return stream


def read_npy(name: str, file: BinaryIO) -> ArrayStream:
    """The array of an `.npy` file at whose start one stands.

    Raises:
        FormatError: it is none, or holds more or less than its header declares.
    """
    size = size_of(file)
    stream = _open_npy(name, file, ".npy")
    _check_size(stream, file, size)
    return stream


def _check_size(stream: ArrayStream, file: BinaryIO, size: int | None) -> None:
    """Hold a file whose size is known to what its header, which was read, declares."""
    if size is None:
        return
    count, found = math.prod(stream.shape), (size - file.tell()) / max(1, stream.dtype.itemsize)
    if count != found:
        raise FormatError(
            f"{stream.name} declares {count:,} elements {stream.shape} and holds {found:,.0f}; fetch it again"
        )


def _open_npy(name: str, file: IO[bytes], suffix: str) -> ArrayStream:
    """Read the header of an array of numbers or text, strictly."""
    shape, fortran, dtype = _read_header(name, file, suffix)
    if dtype.hasobject:
        raise _unreadable(name, suffix, ValueError("pickled objects: for words, say dtype=str"))
    with suppress(OverflowError):
        np.intp(math.prod(shape) * max(1, dtype.itemsize))
        return (_ColumnStream if fortran and len(shape) > 1 else ArrayStream)(name, file, dtype, tuple(shape))
    raise FormatError(f"{name} declares {dtype}{list(shape)}, more than fits in memory; write it again")


def _read_header(name: str, file: IO[bytes], suffix: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of an array, whether it is in Fortran order, and its type."""
    try:
        version = npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version}")
        with warnings.catch_warnings(action="ignore"):  # over headers of Python 2
            shape, fortran, dtype = readers[version](file)
        if any(size < 0 for size in shape):
            raise ValueError(f"shape {shape}")
    except (*_UNREADABLE, *_BAD_ZIP) as error:
        raise _unreadable(name, suffix, error) from error
    return shape, fortran, dtype


def _unreadable(name: str, suffix: str, error: Exception) -> FormatError:
    return FormatError(
        f"{name} is not a readable {suffix} file of plain arrays ({one_line(error)}); write it again with "
        f"numpy.{'save' if suffix == '.npy' else 'savez'}"
    )
