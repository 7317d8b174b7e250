"""IDX, the format of the MNIST files: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").

2 zero bytes, type code, number of dimensions, each dimension as a big-endian uint32, the elements
"""

import io
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError

_UINT8 = 0x08
_TYPES = {_UINT8: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 4
_GZIP = b"\x1f\x8b"


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    Returns:
        uint8 array with that many `dimensions`.

    Raises:
        FormatError: anything but exactly one such array: another magic number, type or number of dimensions, too few
            or too many bytes, a damaged gzip stream.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = _gunzip(content, path)
    shape = _read_shape(path, io.BytesIO(content), dimensions)
    start = 4 + 4 * dimensions
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError:
        raise FormatError(
            f"{path} declares {math.prod(shape):,} elements {shape} and holds {len(content) - start:,}; fetch it again"
        ) from None


def read_idx_header(path: Path | str, file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the header of an IDX file, up to its first element: the type of its elements, and its shape.

    Raises:
        FormatError: another magic number, an unknown type, or the file ends.
    """
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 0 < start[3] <= _MOST_DIMENSIONS:
        raise FormatError(f"{path} starts with {start!r}, an IDX file of images starts with b'\\x00\\x00\\x08\\x03'")
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise FormatError(f"{path} ends within its header; fetch it again")
    return np.dtype(_TYPES[start[2]]), struct.unpack(f">{start[3]}I", sizes)


def _read_shape(path: Path, file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    """Read the header of an array of unsigned bytes with that many dimensions, up to its first element."""
    expected = bytes([0, 0, _UINT8, dimensions])
    start = file.read(4)
    if start != expected:
        raise FormatError(
            f"{path} starts with {start!r}, an IDX file of unsigned bytes with {dimensions} dimension(s) "
            f"starts with {expected!r}"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise FormatError(f"{path} ends within its header; fetch it again")
    return struct.unpack(f">{dimensions}I", sizes)


def _gunzip(content: bytes, path: Path) -> bytes:
    """Undo gzip, strictly: the module `gzip` passes over zero bytes after the end."""
    members: list[bytes] = []
    while content or not members:
        if not content.startswith(_GZIP):
            place = "after its end comes" if members else "it starts with"
            raise FormatError(f"{path} is not gzip: {place} {content[:16]!r}; fetch it again")
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip
        try:
            members.append(stream.decompress(content))
        except zlib.error as error:
            raise FormatError(f"{path} is damaged ({error}); fetch it again") from error
        if not stream.eof:
            raise FormatError(f"{path} is truncated; fetch it again")
        content = stream.unused_data
    return b"".join(members)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """The IDX file of a uint8 array, uncompressed."""
    return bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
