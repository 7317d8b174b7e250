"""Arrays in IDX, `.npy` and `.npz` files: their headers, and their rows from front to back."""

import io
import math
import struct
import tokenize
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.shared.text import one_line
from pipeline.sources.idx import read_idx_header
from pipeline.sources.places import Place, reported
from pipeline.sources.rows import Depot, Divisible, Each
from pipeline.sources.streams import Content, Files, size_of, skip
from pipeline.sources.unpacking import unpack

Array = NDArray[Any]
NPY, ZIP = b"\x93NUMPY", b"PK"
_UNREADABLE = ValueError, TypeError, EOFError, RecursionError, SyntaxError, tokenize.TokenError
# What zipfile and zlib raise over damaged bytes; RuntimeError is encryption, NotImplementedError another method.
_AT_ONCE = 1 << 20
_BAD_ZIP = zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OverflowError


@dataclass(frozen=True)
class Origin(Content):
    """Where the bytes of an array lie: in a file, or in a member of an archive, behind a header."""

    member: str = ""
    """Of an archive."""
    header: int = 0
    """Bytes before the first element."""
    offset: int | None = None
    """Of the header in the file; None where only reading or unpacking leads there."""

    @property
    def identity(self) -> str:
        """See `Content.identity`."""
        return f"{self.path}\0{self.member}"

    def open(self, files: Files) -> IO[bytes]:
        """From the header on."""
        return Archive(files, self.place, self.file).member(self.member) if self.member else super().open(files)


def check_member(origin: Origin) -> None:
    """Read a member of an archive to its end, where its checksum is compared.

    Raises:
        DataError: it is damaged.
    """
    with Files() as files, reported(origin.path):
        member = origin.open(files)
        while member.read(_AT_ONCE):
            pass


class ArrayStream(Divisible):
    """An array in a file, whose rows are read from front to back into memory of their own; who goes back reopens it."""

    _opened: tuple[Files, IO[bytes]] | None = None
    _last: int | None = None
    """The row after the last of a cut."""

    def __init__(self, origin: Origin, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = origin.path, dtype, shape
        self.origin = origin
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

    @property
    def packed(self) -> tuple[Content, int] | None:
        """Where it lies if it is compressed, and its bytes, with the header, if it is not."""
        size = self.origin.header + len(self) * self.row_bytes
        return (self.origin, size) if self.origin.offset is None else None

    def move(self, content: Content) -> None:
        """Read it elsewhere from now on, where it is not compressed; its name stays."""
        self.close()
        self.origin = Origin(content.place, content.file, header=self.origin.header, offset=0)

    def read(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop`, `[stop - start, ...]`, in the byte order of the machine.

        Those before `start` are passed over.

        Raises:
            DataError: the file can't be read; FormatError: it is damaged, or ends before or after the last row.
        """
        if self._opened is None or start < self._row:
            self.close()
            self._open(start)
        with reported(f"{self.name} (at row {self._row:,} of {len(self):,})"):
            rows = self._read(start, stop)
            self._row = stop
        return rows.astype(rows.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _keep(self, start: int, stop: int) -> None:  # noqa: ARG002
        self._last = stop

    def _open(self, row: int) -> None:
        files, origin = Files(), self.origin
        try:
            with reported(self.name):
                if self._last is not None and origin.offset is not None:
                    first = origin.offset + origin.header
                    span = origin.place.span(
                        origin.file, first + row * self.row_bytes, first + self._last * self.row_bytes
                    )
                    self._opened, self._row = (files, files.enter_context(span)), row
                else:
                    self._opened, self._row = (files, origin.open(files)), 0
                    skip(self._opened[1], origin.header)
        except BaseException:
            files.close()
            raise

    def _read(self, start: int, stop: int) -> Array:
        assert self._opened is not None  # noqa: S101
        file = self._opened[1]
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        skip(file, (start - self._row) * self.row_bytes)
        found = file.readinto(rows.reshape(-1).view(np.uint8)) if rows.size else 0  # type: ignore[attr-defined]
        if found < rows.nbytes:
            row = start + found // self.row_bytes
            raise FormatError(f"{self.name} ends in row {row:,} of {len(self):,}; mend it or fetch it again")
        # Reading on makes gzip and zip compare their checksums.
        if stop == len(self) and file.read(1):
            raise FormatError(f"{self.name} goes on after its {len(self):,} rows; write it again as one array")
        return rows


class _ColumnStream(ArrayStream):
    """The same of an array in Fortran order, in which the rows of each pixel follow each other.

    Where one can't go back in the file, the array is held in memory.
    """

    _start = 0

    def _open(self, row: int) -> None:  # noqa: ARG002
        files = Files()
        try:
            file = self.origin.open(files)
            self._start = self.origin.header
            if not file.seekable() or isinstance(file, zipfile.ZipExtFile):
                with reported(self.name):
                    file, self._start = io.BytesIO(file.read()[self._start :]), 0
        except BaseException:
            files.close()
            raise
        self._opened, self._row = (files, file), 0

    def _read(self, start: int, stop: int) -> Array:
        assert self._opened is not None  # noqa: S101
        file = self._opened[1]
        pixels, rows = math.prod(self.shape[1:]), stop - start
        columns = np.empty((pixels, rows), self.dtype)
        for pixel in range(pixels):
            file.seek(self._start + (pixel * len(self) + start) * self.dtype.itemsize)
            content = file.read(rows * self.dtype.itemsize)
            if len(content) < columns[pixel].nbytes:
                raise FormatError(f"{self.name} ends before its last row; mend it or fetch it again")
            columns[pixel] = np.frombuffer(content, self.dtype)
        return np.ascontiguousarray(columns.reshape(*reversed(self.shape[1:]), rows).T)


class Archive:
    """The arrays of an `.npz` file, which is open as long as `files` are."""

    def __init__(self, files: Files, place: Place, file: str) -> None:
        self.name = place.full(file)
        self._place, self._file = place, file
        self._stream = files.stream(place, file, seek=True)
        try:
            self._zip = zipfile.ZipFile(self._stream)
            self.names = [entry.removesuffix(".npy") for entry in self._zip.namelist() if entry.endswith(".npy")]
        except _BAD_ZIP as error:
            raise _unreadable(self.name, ".npz", error) from error

    def open(self, array: str) -> ArrayStream:
        """One of the arrays."""
        stream = self.member(array)
        return _open_npy(Origin(self._place, self._file, array, offset=self._offset(array)), stream, ".npz")

    def about(self, array: str) -> tuple[tuple[int, ...], str]:
        """The shape of one of the arrays, and its type in words: `text`, `pickled`, or NumPy's."""
        shape, _, dtype, _ = _read_header(self.name, self.member(array), ".npz")
        return tuple(shape), "pickled" if dtype.hasobject else "text" if dtype.kind in "US" else str(dtype)

    def member(self, array: str) -> IO[bytes]:
        """The bytes of one of the arrays, header and all."""
        try:
            return self._zip.open(f"{array}.npy")
        except _BAD_ZIP as error:
            raise _unreadable(self.name, ".npz", error) from error

    def _offset(self, array: str) -> int | None:
        """Where in the file the bytes of an array lie, after a header with two fields of any length; None if packed."""
        about = self._zip.getinfo(f"{array}.npy")
        if about.compress_type != zipfile.ZIP_STORED:
            return None
        self._stream.seek(about.header_offset + 26)
        lengths = struct.unpack("<HH", self._stream.read(4))
        return int(about.header_offset + 30 + sum(lengths))


def open_array(place: Place, name: str) -> ArrayStream:
    """The array in an IDX or `.npy` file, `.gz` or not, told apart by the first bytes.

    Raises:
        FormatError: it is neither, or holds more or less than its header declares.
    """
    path = place.full(name)
    with Files() as files:
        file = files.content(place, name)
        with reported(path):
            size = size_of(file)
            origin = Origin(place, name, offset=None if size is None else 0)
            if file.peek(len(NPY)).startswith(NPY) or place.ends(name, (".npy", ".npy.gz")):
                stream = _open_npy(origin, file, ".npy")
            else:
                dtype, shape = read_idx_header(path, file)
                stream = ArrayStream(replace(origin, header=4 + 4 * len(shape)), dtype, shape)
            _check_size(stream, size)
            return stream


def move_packed(streams: Sequence[ArrayStream], depot: Depot, each: Each, least: int) -> None:
    """Unpack large compressed arrays into a depot, and have them read from there; see `Divisible.unpacked`."""
    for stream, content in zip(streams, unpack(depot, each, [one.packed for one in streams], least), strict=True):
        if content is not None:
            stream.move(content)


def _check_size(stream: ArrayStream, size: int | None) -> None:
    """Hold a file whose size is known to what its header declares."""
    if size is None:
        return
    count, found = math.prod(stream.shape), (size - stream.origin.header) / max(1, stream.dtype.itemsize)
    if count != found:
        raise FormatError(
            f"{stream.name} declares {count:,} elements {stream.shape} and holds {found:,.0f}; fetch it again"
        )


def _open_npy(origin: Origin, file: IO[bytes], suffix: str) -> ArrayStream:
    """Read the header of an array of numbers or text, strictly."""
    name = origin.path
    shape, fortran, dtype, header = _read_header(name, file, suffix)
    if dtype.hasobject:
        raise _unreadable(name, suffix, ValueError("pickled objects: for words, say dtype=str"))
    with suppress(OverflowError):
        np.intp(math.prod(shape) * max(1, dtype.itemsize))
        kind = _ColumnStream if fortran and len(shape) > 1 else ArrayStream
        return kind(replace(origin, header=header), dtype, tuple(shape))
    raise FormatError(f"{name} declares {dtype}{list(shape)}, more than fits in memory; write it again")


def _read_header(name: str, file: IO[bytes], suffix: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """The shape of an array, whether it is in Fortran order, its type, and the size of the header in bytes."""
    readers = {(1, 0): (npy.read_array_header_1_0, "<H"), (2, 0): (npy.read_array_header_2_0, "<I")}
    try:
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version}")
        read, size = readers[version]
        start = file.read(struct.calcsize(size))
        text = file.read(*struct.unpack(size, start)) if len(start) == struct.calcsize(size) else b""
        with warnings.catch_warnings(action="ignore"):  # over headers of Python 2
            shape, fortran, dtype = read(io.BytesIO(start + text))
        if any(length < 0 for length in shape):
            raise ValueError(f"shape {shape}")
    except (*_UNREADABLE, *_BAD_ZIP) as error:
        raise _unreadable(name, suffix, error) from error
    return shape, fortran, dtype, npy.MAGIC_LEN + len(start) + len(text)


def _unreadable(name: str, suffix: str, error: Exception) -> FormatError:
    return FormatError(
        f"{name} is not a readable {suffix} file of plain arrays ({one_line(error)}); write it again with "
        f"numpy.{'save' if suffix == '.npy' else 'savez'}"
    )
