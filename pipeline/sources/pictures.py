"""Pictures: their pixels, and folders full of them."""

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.formats import EXPECTED, JPEG, JPEG_END, PNG, Header, is_simple, read_header
from pipeline.sources.kinds import PICTURES, SUFFIXES
from pipeline.sources.labels import NUMBERS, read_folders
from pipeline.sources.pixels import blend, misfit, opencv, shape, to_grey
from pipeline.sources.places import Names, Place
from pipeline.sources.reading import AS_IT_IS, FOLDER, Reading
from pipeline.sources.rows import ImageSource, Pixels, Refused, Rows, join, select, split

__all__ = ["JPEG", "JPEG_END", "PNG", "Pictures", "decode"]

_FETCHED = 256  # files at a time: enough to hide a server's delay, few enough to hold
_DAMAGED = Refused(f"is damaged and can't be decoded; expected {EXPECTED}")


def decode(content: bytes, reading: Reading = AS_IT_IS) -> Pixels | Refused:
    """The pixels of a whole, undamaged picture in grey, as the reader chose: uint8 `[28, 28]`, or why there are none.

    16 bits per channel are rounded to 8. What is transparent becomes paper: see `blend`. A rotation that is noted in
    EXIF data is applied. Of several pictures in a file the first is taken.
    """
    header = read_header(content)
    if isinstance(header, Refused):
        return header
    if reason := misfit(header.height, header.width, reading):
        return Refused(reason)
    pixels = (_by_opencv if header.opencv else _by_pillow)(content, header)
    return pixels if isinstance(pixels, Refused) else shape(pixels, reading)


def decode_all(contents: Sequence[bytes | Refused], reading: Reading) -> tuple[Pixels, dict[int, str]]:
    """The pixels of pictures as `decode` gives them, uint8 `[m, 28, 28]`; and why there are none, by row.

    Most piles hold PNGs of 28 x 28 grey levels in one piece; for these, what `read_header` would find is known.
    """
    images = np.zeros((len(contents), *IMAGE_SHAPE), np.uint8)
    reasons: dict[int, str] = {}
    simple, imdecode, as_it_is = is_simple, opencv().imdecode, opencv().IMREAD_UNCHANGED
    untouched = not (reading.invert or reading.transpose or reading.fit)
    for row, content in enumerate(contents):
        if isinstance(content, Refused):
            reasons[row] = content.reason
            continue
        if untouched and simple(content):
            pixels = imdecode(np.frombuffer(content, np.uint8), as_it_is)
            if pixels is not None:
                images[row] = pixels
                continue
        picture = decode(content, reading)
        if isinstance(picture, Refused):
            reasons[row] = picture.reason
        else:
            images[row] = picture
    return images, reasons


def _by_opencv(content: bytes, header: Header) -> Pixels | Refused:
    cv2 = opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != header[:2]:
        return _DAMAGED
    if pixels.dtype == np.uint8 and pixels.ndim == 2 and header.clear is None and header.orientation == 1:
        return np.asarray(pixels, np.uint8)  # most, and the fastest
    if pixels.dtype not in (np.uint8, np.uint16):
        return Refused(f"has values of type {pixels.dtype}, expected whole numbers of 8 or 16 bits")
    ink = None if header.clear is None else pixels != header.clear
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 3:
        channels = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]  # OpenCV keeps B, G, R, alpha
        pixels = to_grey(pixels[:, :, channels])
    if ink is not None:
        pixels = blend(pixels, ink * np.uint8(255))
    return _turned(pixels, header.orientation)


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation: the even ones are mirrored, those from 5 on lie on their side."""
    if orientation > 4:
        pixels = pixels.T
    across, upright = {2: (1, 0), 3: (1, 1), 4: (0, 1), 6: (1, 0), 7: (1, 1), 8: (0, 1)}.get(orientation, (0, 0))
    return np.ascontiguousarray(pixels[:: -1 if upright else 1, :: -1 if across else 1])


def _by_pillow(content: bytes, header: Header) -> Pixels | Refused:
    image_of, turned = _pillow()
    try:
        with image_of(io.BytesIO(content), formats=["BMP", "DIB", "GIF", "WEBP"]) as image:
            if image.size != (header.width, header.height):
                return _DAMAGED
            whole = turned(image)
            if whole.has_transparency_data:
                return to_grey(np.asarray(whole.convert("RGBA")))
            return np.asarray(whole) if whole.mode == "L" else to_grey(np.asarray(whole.convert("RGB")))
    except Exception:  # whatever Pillow's readers stumble over
        return _DAMAGED


@functools.cache
def _pillow() -> tuple[Any, Any]:
    """Pillow's `open` and `exif_transpose`, loaded when they are first needed."""
    from PIL import Image, ImageOps  # noqa: PLC0415

    return Image.open, ImageOps.exif_transpose


class Pictures(ImageSource):
    """Files of one picture each; see `read_folders` for their labels."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.count = len(names)
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._first = 0  # the row of the first name
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
        return lambda: join(start, [self._rows(at, min(at + _FETCHED, stop)) for at in range(start, stop, _FETCHED)])

    def _keep(self, start: int, stop: int) -> None:
        self._names, self._first = self._names.cut(start - self._first, stop - self._first), start
        if self.labelled:
            folders = {name.rpartition("/")[0] for name in self._names.stretch(0, stop - start)}
            self._words = {folder: self._words[folder] for folder in folders & self._words.keys()}

    def _rows(self, start: int, stop: int) -> Rows:
        first = start - self._first
        names = self._names.stretch(first, stop - self._first)
        images, reasons = decode_all(self._fetch(first, names), self._reading)
        labels = None
        if self.labelled:
            labels, wrong = split([self._label(name) for name in names])
            reasons = wrong | reasons
        shown = self._shown(names)
        return select(start, images, reasons, labels, lambda row: self._place.full(shown[row]), shown)

    def _fetch(self, first: int, names: list[str]) -> list[bytes | Refused]:  # noqa: ARG002
        """The contents of pictures, the first of which is that with this number."""
        return self._place.fetch(names)

    def _shown(self, names: list[str]) -> list[str]:
        """Names as a human would type them, relative to the pile."""
        return names

    def _label(self, name: str) -> int | Refused:
        return self._meaning(self._words.get(name.rpartition("/")[0], ""))
