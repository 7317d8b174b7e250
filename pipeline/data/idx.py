"""IDX, the format of the MNIST files: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").

2 zero bytes, type code, number of dimensions, each dimension as a big-endian uint32, the elements
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError

_UINT8 = 0x08
_MAX_ELEMENTS = 2**40


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    Returns:
        uint8 array with that many `dimensions`.

    Raises:
        FormatError: anything but exactly one such array: another magic number, type or number of dimensions, too few
            or too many bytes, a damaged gzip stream.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix != ".gz":
                return _decode(raw, path, dimensions)
            start = raw.read(16)
            raw.seek(0)
            if not start.startswith(b"\x1f\x8b"):
                raise FormatError(f"{path} is not gzip: it starts with {start!r}; fetch it again")
            with gzip.open(raw) as stream:
                return _decode(cast("BinaryIO", stream), path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path} is damaged or truncated ({error}); fetch it again") from error


def _decode(stream: BinaryIO, path: Path, dimensions: int) -> NDArray[np.uint8]:
    header = stream.read(4)
    expected = bytes([0, 0, _UINT8, dimensions])
    if header != expected:
        raise FormatError(
            f"{path} starts with {header!r}, an IDX file of unsigned bytes with {dimensions} dimension(s) "
            f"starts with {expected!r}"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise FormatError(f"{path} ends within its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", sizes)
    count = math.prod(shape)
    if count > _MAX_ELEMENTS:
        raise FormatError(f"{path} declares the shape {shape}, more than any file holds")
    content = stream.read(count)
    if len(content) < count:
        raise FormatError(f"{path} declares {count:,} elements {shape} and holds {len(content):,}; fetch it again")
    if stream.read(1):
        raise FormatError(f"{path} holds more than the {count:,} elements {shape} that it declares")
    return np.frombuffer(content, np.uint8).reshape(shape)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """The IDX file of a uint8 array, uncompressed."""
    return bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
