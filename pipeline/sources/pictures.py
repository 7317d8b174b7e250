"""PNG and JPEG pictures: what a file says of itself, its pixels, and folders full of them."""

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.sources.kinds import PICTURES, SUFFIXES
from pipeline.sources.labels import NUMBERS, read_folders
from pipeline.sources.pixels import fit, misfit, opencv, to_grey
from pipeline.sources.places import Names, Place
from pipeline.sources.reading import AS_IT_IS, FOLDER, Reading
from pipeline.sources.rows import ImageSource, Pixels, Refused, Rows, gather, join

PNG, JPEG, JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"
_FETCHED = 256  # files at a time: enough to hide a server's delay, few enough to hold
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # in coded data: stuffed bytes and restarts are none
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the JPEG segments that give height and width


class Header(NamedTuple):
    """What a picture says of itself."""

    height: int
    width: int
    bits: int
    """Per channel."""
    clear: int | None = None
    """The grey level that stands for transparent; OpenCV leaves that to us."""


def decode(content: bytes, reading: Reading = AS_IT_IS) -> Pixels | Refused:
    """The pixels of a whole, undamaged PNG or JPEG picture in grey: uint8 `[28, 28]`, or why there are none.

    Channels have at most 8 bits. A JPEG is taken as it is stored: a rotation noted in its EXIF data is not applied.
    """
    header = read_header(content)
    if isinstance(header, Refused):
        return header
    if header.bits > 8:
        return Refused(f"has {header.bits} bits per channel, expected 8")
    if reason := misfit(header.height, header.width, reading):
        return Refused(reason)
    cv2 = opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[:2] != header[:2]:
        return Refused("is damaged and can't be decoded; expected a PNG or JPEG picture")
    if pixels.ndim == 3:
        channels = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]  # OpenCV keeps B, G, R, alpha
        pixels = to_grey(pixels[:, :, channels])
    if header.clear is not None:
        pixels = np.where(pixels == header.clear, np.uint8(0), pixels)
    return fit(pixels)


def read_header(content: bytes) -> Header | Refused:
    """Check that a PNG or JPEG picture is whole.

    OpenCV fills up what is missing of some damaged pictures. So every chunk of a PNG must match its checksum up to the
    last, and a JPEG, which has none, must end where its data do.
    """
    try:
        if content.startswith(PNG):
            return _read_png(content)
        if content.startswith(JPEG):
            return _read_jpeg(content)
    except (struct.error, IndexError):
        return Refused("is truncated, expected a whole PNG or JPEG picture")
    return Refused(f"starts with {content[:8]!r}, expected a PNG or JPEG picture")


def _read_png(content: bytes) -> Header | Refused:
    """https://www.w3.org/TR/png-3/#5Chunk-layout."""
    if content[8:16] != b"\0\0\0\rIHDR":
        return Refused("is damaged: its first chunk is no IHDR")
    width, height, bits, colour = struct.unpack_from(">IIBB", content, 16)
    clear, start, kind = None, 8, b""
    while kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", content, start)
        end = start + 8 + size
        if (checksum := struct.unpack_from(">I", content, end)[0]) != zlib.crc32(content[start + 4 : end]):
            return Refused(f"is damaged: the checksum of its chunk {kind!r} is not {checksum:08x}")
        if kind == b"tRNS" and colour == 0 and size == 2 and bits <= 8:
            clear = content[end - 1] * 255 // ((1 << bits) - 1)
        start = end + 4
    return Header(height, width, bits, clear)


def _read_jpeg(content: bytes) -> Header | Refused:
    """ITU-T T.81, annex B."""
    header, start = None, 2
    while marker := _MARKER.match(content, start):
        kind, start = content[marker.end() - 1], marker.end()
        if kind == 0xD9:
            if content[start:].strip(b"\0"):
                return Refused(f"is damaged: {len(content) - start:,} bytes follow its end (EOI)")
            return header or Refused("is damaged: it declares no size")
        size = struct.unpack_from(">H", content, start)[0]
        if kind in _SIZES:
            bits, height, width = struct.unpack_from(">BHH", content, start + 2)
            header = Header(height, width, bits)
        start += size
        if kind == 0xDA:
            following = _MARKER.search(content, start)
            start = following.start() if following else len(content)
    return Refused("is truncated or damaged: it has no end (EOI)")


class Pictures(ImageSource):
    """PNG and JPEG files; see `read_folders` for their labels."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.count = len(names)
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._words: dict[str, str] = {}
        self._meaning = NUMBERS
        if reading.labels_from in (None, FOLDER):
            self._words, self._meaning = read_folders(names.folders, place.name, asked=reading.labels_from == FOLDER)
        self.labelled = bool(self._words)
        self.labels_from = "names of folders" if self.labelled else ""
        self.classes = self._meaning.classes

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[PICTURES], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`.

        The files are read by the callable: so only a few lie in memory at a time, and several threads wait for them.
        """
        return lambda: join([self._rows(at, min(at + _FETCHED, stop)) for at in range(start, stop, _FETCHED)])

    def _rows(self, start: int, stop: int) -> Rows:
        names = [self._names[row] for row in range(start, stop)]
        images = [
            content if isinstance(content, Refused) else decode(content, self._reading)
            for content in self._place.fetch(names)
        ]
        labels = [self._label(name) for name in names] if self.labelled else None
        return gather(start, names, images, labels, self._place.full)

    def _label(self, name: str) -> int | Refused:
        return self._meaning(self._words.get(name.rpartition("/")[0], ""))
