"""What a picture says of itself, and whether it is whole, before anything is decoded.

OpenCV fills up what is missing of some damaged pictures. So every chunk of a PNG must match its checksum up to the
last, and a JPEG, which has none, must have an end.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.rows import Refused

PNG, JPEG, JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"
EXPECTED = "a PNG, JPEG, WebP, BMP, TIFF or GIF picture"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF = b"Exif\0\0"
_IHDR, _IEND = b"\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
_SIMPLE = struct.pack(">8s8sIIBBBBB", PNG, _IHDR, *reversed(IMAGE_SHAPE), 8, 0, 0, 0, 0)
_SIMPLE += struct.pack(">I", zlib.crc32(_SIMPLE[12:]))
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # in coded data: stuffed bytes and restarts are none
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the JPEG segments that give height and width
_TAGS = {256: "width", 257: "height", 262: "photometric", 277: "samples", 274: "orientation"}
_TAGS |= {322: "tile width", 323: "tile height"}
_LARGEST_TILE = 8192


class Header(NamedTuple):
    """What a picture says of itself."""

    height: int
    width: int
    """As it is stored, before it is turned."""
    clear: int | None = None
    """The grey level that stands for transparent; OpenCV leaves that to us."""
    orientation: int = 1
    """As in EXIF, from 1 to 8: how it has to be turned; 1 for not at all, or where the decoder does it."""
    opencv: bool = True
    """Whether OpenCV decodes it as it should be; else Pillow does."""


def read_header(content: bytes) -> Header | Refused:
    """The header of a whole picture: PNG, JPEG, WebP, BMP, TIFF or GIF; or what is wrong with it."""
    for sign, read in _READERS:
        if content.startswith(sign):
            try:
                return read(content)
            except (struct.error, IndexError):
                return Refused(f"is truncated, expected {EXPECTED.replace('a ', 'a whole ', 1)}")
    return _unknown(content)


def is_simple(content: bytes) -> bool:
    """Whether a picture is a whole PNG of 28 x 28 grey levels of 8 bits in a single chunk, not interlaced."""
    return (
        content.startswith(_SIMPLE)
        and content.endswith(_IEND)
        and len(content) == len(_SIMPLE) + int.from_bytes(content[33:37], "big") + 24
        and content[37:41] == b"IDAT"
        and zlib.crc32(content[37:-16]) == int.from_bytes(content[-16:-12], "big")
    )


def _unknown(content: bytes) -> Refused:
    return Refused(f"starts with {content[:8]!r}, expected {EXPECTED}")


def _read_png(content: bytes) -> Header | Refused:
    """https://www.w3.org/TR/png-3/#5Chunk-layout."""
    if content[8:16] != _IHDR:
        return Refused("is damaged: its first chunk is no IHDR")
    width, height, bits, colour = struct.unpack_from(">IIBB", content, 16)
    clear, orientation, start, kind = None, 1, 8, b""
    while kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + size
        if (checksum := struct.unpack_from(">I", content, end)[0]) != zlib.crc32(content[start + 4 : end]):
            return Refused(f"is damaged: the checksum of its chunk {kind!r} is not {checksum:08x}")
        if kind == b"tRNS" and colour == 0 and size == 2:
            clear = int.from_bytes(content[end - 2 : end], "big")
            clear = clear * 255 // ((1 << bits) - 1) if bits <= 8 else clear
        elif kind == b"eXIf":
            orientation = _orientation(content[start + 8 : end])
        start = end + 4
    return Header(height, width, clear, orientation)


def _read_jpeg(content: bytes) -> Header | Refused:
    """ITU-T T.81, annex B."""
    header, orientation, start = None, 1, 2
    while marker := _MARKER.match(content, start):
        kind, start = content[marker.end() - 1], marker.end()
        if kind == 0xD9:
            return _ended(content[start:]) or (
                header._replace(orientation=orientation) if header else Refused("is damaged: it declares no size")
            )
        size = struct.unpack_from(">H", content, start)[0]
        if kind in _SIZES and header is None:
            bits, height, width = struct.unpack_from(">BHH", content, start + 2)
            if bits != 8:
                return Refused(f"has {bits} bits per channel, expected 8")
            header = Header(height, width)
        elif kind == 0xE1 and content.startswith(_EXIF, start + 2):
            orientation = _orientation(content[start + 2 + len(_EXIF) : start + size])
        start += size
        if kind == 0xDA:
            following = _MARKER.search(content, start)
            start = following.start() if following else len(content)
    return Refused("is truncated or damaged: it has no end (EOI)")


def _ended(rest: bytes) -> Refused | None:
    """Why the bytes after the end of a JPEG show that it is none.

    Phones put a film or a second picture there, others a newline. What ends like a picture and begins like none is the
    rest of this one.
    """
    if rest.rstrip(b"\0\r\n").endswith(JPEG_END) and JPEG not in rest:
        return Refused(f"is damaged: {len(rest):,} bytes follow its end (EOI)")
    return None


def _read_tiff(content: bytes) -> Header | Refused:
    """TIFF 6.0; the first picture of those that it may hold."""
    tags = _tags(content)
    height, width = tags.get("height", 0), tags.get("width", 0)
    if max(tags.get("tile width", 0), tags.get("tile height", 0)) > _LARGEST_TILE:
        return Refused(f"is in tiles of a side of more than {_LARGEST_TILE:,} pixels, expected smaller ones")
    if tags.get("photometric") == 5 or tags.get("samples", 1) not in (1, 3, 4):
        return Refused("is a TIFF in CMYK, or of other than 1, 3 or 4 channels; expected grey levels, RGB or RGBA")
    if tags.get("orientation", 1) > 4:
        height, width = width, height  # OpenCV turns it
    return Header(height, width)


def _read_gif(content: bytes) -> Header | Refused:
    if not content.rstrip(b"\0\r\n").endswith(b";"):
        return Refused("is truncated: it has no end, expected a whole GIF")
    width, height = struct.unpack_from("<HH", content, 6)
    return Header(height, width, opencv=False)


def _read_bmp(content: bytes) -> Header:
    size = struct.unpack_from("<I", content, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", content, 18)
    return Header(abs(height), abs(width), opencv=False)


def _read_webp(content: bytes) -> Header | Refused:
    """https://developers.google.com/speed/webp/docs/riff_container."""
    if content[8:12] != b"WEBP":
        return _unknown(content)
    if len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
        return Refused("is truncated, expected a whole WebP")
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    return Header(height, width, opencv=False)


def _orientation(exif: bytes) -> int:
    """How EXIF data say that a picture has to be turned; 1 where they don't or are damaged."""
    try:
        found = _tags(exif).get("orientation", 1)
    except struct.error:
        return 1
    return found if 1 <= found <= 8 else 1


def _tags(content: bytes) -> dict[str, int]:
    """The whole numbers among the tags of the first directory of a TIFF file."""
    order = _TIFF.get(content[:4])
    if order is None:
        return {}
    start = struct.unpack_from(order + "I", content, 4)[0]
    count = struct.unpack_from(order + "H", content, start)[0]
    struct.unpack_from("4s", content, start + 2 + 12 * count)  # the directory is whole
    found = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag in _TAGS and kind in (3, 4):
            found[_TAGS[tag]] = struct.unpack_from(order + ("H" if kind == 3 else "I"), content, at + 8)[0]
    return found


_READERS: tuple[tuple[bytes, Callable[[bytes], Header | Refused]], ...] = (
    (PNG, _read_png),
    (JPEG, _read_jpeg),
    *((sign, _read_tiff) for sign in _TIFF),
    (b"RIFF", _read_webp),
    (b"BM", _read_bmp),
    (b"GIF87a", _read_gif),
    (b"GIF89a", _read_gif),
)
