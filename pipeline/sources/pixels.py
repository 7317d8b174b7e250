"""Pixels of any size and colour to what the encoder takes: 28 x 28 grey levels."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Pixels, Refused

_HEIGHT, _WIDTH = IMAGE_SHAPE
_NO_INK = "shows no digit: no ink stands out from its paper"
_MAX_SIDE = 8192  # its padded square takes 64 MiB; a header can declare gigapixels


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels of images in uint8: `[..., height, width, channels]` to `[..., height, width]`.

    One channel is grey, three are R, G and B, four have alpha, too. The luma of ITU-R BT.601, 0.299 R + 0.587 G +
    0.114 B, rounded; for alpha see `blend`.
    """
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    grey = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    return blend(grey, pixels[..., 3]) if pixels.shape[-1] == 4 else grey


def blend(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put images onto paper where they are transparent: white paper under dark ink, else black.

    Both uint8 `[..., height, width]`. An image is dark if the mean of its levels, weighted by alpha, is below 128. So
    its ink stays visible.
    """
    weight = alpha.sum((-2, -1), np.uint64, keepdims=True)
    weighted = (grey * alpha.astype(np.uint64)).sum((-2, -1), keepdims=True)
    paper = np.where(weighted < 128 * weight, np.uint32(255), np.uint32(0))
    return ((grey.astype(np.uint32) * alpha + paper * (255 - alpha) + 127) // 255).astype(np.uint8)


def misfit(height: int, width: int, reading: Reading) -> str | None:
    """Why an image of this size can't be taken; None if it can."""
    if reading.any_size and not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        return f"is {width:,} x {height:,} pixels, expected a side of 1 to {_MAX_SIDE:,}"
    if not reading.any_size and (height, width) != IMAGE_SHAPE:
        return f"is {width:,} x {height:,} pixels, expected {_WIDTH} x {_HEIGHT}; --resize fits it"
    return None


def fit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring uint8 `[height, width]` to 28 x 28.

    Padded with background to a square, the image in its middle, then averaged over areas where it shrinks and
    interpolated linearly where it grows.
    """
    height, width = grey.shape
    side = max(height, width)
    if side == 0 or grey.shape == IMAGE_SHAPE:
        return grey
    cv2 = opencv()
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.uint8)
    square[top : top + height, left : left + width] = grey
    how = cv2.INTER_AREA if side > _HEIGHT else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (_WIDTH, _HEIGHT), interpolation=how), np.uint8)


@functools.cache
def opencv() -> Any:
    """OpenCV, loaded when it is first needed (it takes 0.1 s), its own log lines silenced."""
    import cv2  # noqa: PLC0415

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def shape(grey: Pixels, reading: Reading) -> Pixels | Refused:
    """Bring uint8 `[height, width]` to `[28, 28]` as the reader chose, or say why that can't be."""
    if grey.shape == IMAGE_SHAPE and not (reading.invert or reading.transpose or reading.fit):
        return grey
    images, reasons = shape_all(grey[None], reading)
    return Refused(reasons[0]) if reasons else images[0]


def shape_all(grey: Pixels, reading: Reading) -> tuple[Pixels, dict[int, str]]:
    """Bring uint8 `[m, height, width]` to `[m, 28, 28]` as the reader chose; and why that can't be, by row."""
    if reading.invert:
        grey = 255 - grey
    if reading.transpose:
        grey = grey.swapaxes(1, 2)
    if reading.fit is None and grey.shape[1:] == IMAGE_SHAPE:
        return np.ascontiguousarray(grey), {}
    bring = fit if reading.fit is None else _to_digit()
    images = [bring(image) for image in grey]
    reasons = {row: _NO_INK for row, image in enumerate(images) if image is None}
    blank = np.zeros(IMAGE_SHAPE, np.uint8)
    return np.stack([blank, *(blank if image is None else image for image in images)])[1:], reasons


def _to_digit() -> Callable[[Pixels], Pixels | None]:
    from pipeline.sources.digit import to_digit  # noqa: PLC0415  (seldom needed)

    return to_digit
