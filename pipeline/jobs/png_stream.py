"""A grey PNG of any size, strip by strip: each is compressed by itself, on any core, and may come from another run.

The pixels of a PNG are one zlib stream. Deflate lets it be put together from pieces that end in a full flush, at a
whole byte and with nothing remembered, and Adler-32 of the whole follows from that of the pieces (RFC 1950, 1951). No
library writes it so: pypng streams its rows but compresses on one thread and can't resume, Pillow and OpenCV want
the whole picture. Compressed by igzip (`isal`), since Python's zlib is slower than the renderer that it would wait
for. Each row holds its difference from the row above, but for the first of a strip.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.files import flush

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_FILTER, _UP = 0, 2  # what precedes a row
_GREY_8_BITS = bytes([8, 0, 0, 0, 0])  # depth, colour, compression, filter, interlace
_ZLIB_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"
_LEVEL = 1
_ADLER = 65_521
_TRAILER = struct.Struct(">III")
_CHUNK = 1 << 20
_CACHED = 1 << 17  # bytes that are compressed at once


class Strip(NamedTuple):
    """Rows of pixels, compressed."""

    deflated: bytes
    adler32: int
    """Of what was compressed: for each row a byte that names its filter, and its pixels."""
    width: int
    height: int


def compress(pixels: NDArray[np.uint8]) -> Strip:
    """Compress rows of grey levels, uint8 `[height, width]`."""
    from isal import isal_zlib  # noqa: PLC0415  (for posters alone)

    height, width = pixels.shape
    few = np.empty((max(1, _CACHED // (width + 1)), width + 1), np.uint8)
    compressor = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated, adler = [], 1
    for top in range(0, height, len(few)):
        rows = few[: height - top]
        rows[:, 0] = _UP
        if top == 0:
            rows[0, 0], rows[0, 1:] = _NO_FILTER, pixels[0]
        first = 1 if top == 0 else 0
        below = slice(top + first, top + len(rows))
        np.subtract(pixels[below], pixels[below.start - 1 : below.stop - 1], out=rows[first:, 1:])
        deflated.append(compressor.compress(rows))
        adler = isal_zlib.adler32(rows, adler)
    deflated.append(compressor.flush(zlib.Z_FULL_FLUSH))
    return Strip(b"".join(deflated), adler, width, height)


def join_adler32(first: int, second: int, length: int) -> int:
    """Adler-32 of two pieces, the second of which has `length` bytes, from theirs.

    The low half is 1 + the sum of the bytes, the high half the sum of the low halves after each byte, both modulo
    65,521: in the second piece each of these is larger by the low half of the first, less the 1 that both begin with.
    """
    low, high = first & 0xFFFF, first >> 16
    low_2, high_2 = second & 0xFFFF, second >> 16
    return (high + high_2 + length * (low - 1)) % _ADLER << 16 | (low + low_2 - 1) % _ADLER


def write_strips(path: Path, strips: Sequence[Strip]) -> None:
    """Write strips that follow each other as one piece for `write_png`: deflated data, and a trailer about them."""
    adler, height = 1, 0
    with path.open("wb") as file:
        for strip in strips:
            file.write(strip.deflated)
            adler = join_adler32(adler, strip.adler32, strip.height * (strip.width + 1))
            height += strip.height
        file.write(_TRAILER.pack(adler, strips[0].width, height))


def write_png(path: Path, pieces: Sequence[Path]) -> None:
    """Write the PNG whose pieces `write_strips` wrote, from top to bottom."""
    adler, rows = 1, 0
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        for piece in pieces:
            one, width, height = _read_trailer(piece)
            adler = join_adler32(adler, one, height * (width + 1))
            rows += height
        _write_chunk(file, b"IHDR", struct.pack(">II", width, rows) + _GREY_8_BITS)
        _write_chunk(file, b"IDAT", _ZLIB_HEADER)
        for piece in pieces:
            left = piece.stat().st_size - _TRAILER.size
            with piece.open("rb") as content:
                while left:
                    data = content.read(min(left, _CHUNK))
                    _write_chunk(file, b"IDAT", data)
                    left -= len(data)
        _write_chunk(file, b"IDAT", _LAST_BLOCK + struct.pack(">I", adler))
        _write_chunk(file, b"IEND", b"")
    flush(path)


def _read_trailer(piece: Path) -> tuple[int, int, int]:
    with piece.open("rb") as file:
        file.seek(-_TRAILER.size, 2)
        adler, width, height = _TRAILER.unpack(file.read())
    return adler, width, height


def _write_chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
