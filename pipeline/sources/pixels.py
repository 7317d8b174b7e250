"""Pixels of any size and colour to what the encoder takes: 28 x 28 grey levels."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.reading import Reading

_HEIGHT, _WIDTH = IMAGE_SHAPE
_MAX_SIDE = 8192  # its padded square takes 64 MiB; a header can declare gigapixels


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels of uint8 `[..., 1]` (grey), `[..., 3]` (R, G, B) or `[..., 4]` (R, G, B, alpha): uint8 `[...]`.

    The luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B, rounded. Alpha is blended onto 0, the background.
    """
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
    if pixels.shape[-1] == 4:
        grey = (grey * pixels[..., 3] + 127) // 255
    return grey.astype(np.uint8)


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


def shape_all(grey: NDArray[np.uint8], reading: Reading) -> NDArray[np.uint8]:
    """Bring uint8 `[m, height, width]` to `[m, 28, 28]` as the reader chose."""
    if reading.invert:
        grey = 255 - grey
    if reading.transpose:
        grey = grey.swapaxes(1, 2)
    if grey.shape[1:] != IMAGE_SHAPE or reading.fit:
        return np.stack([fit(image) for image in grey]) if len(grey) else np.empty((0, *IMAGE_SHAPE), np.uint8)
    return grey
