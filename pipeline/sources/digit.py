"""A picture of one digit, brought to MNIST's form as its makers did: http://yann.lecun.com/exdb/mnist/.

Light ink on black, cut out, at most 20 pixels high or wide, the centre of its mass in the middle of 28 x 28. The page
of `vae explore` does the same with what is dropped on it (`site/src/likeness.ts`); a test holds both to the same
pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE

_INNER = 20
_FAINTEST = 24  # of 255; anything fainter is noise of the paper
_CONTRAST = 32  # of 255, by which ink and uneven paper must differ

Floats = NDArray[np.float64]


def to_digit(grey: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The digit in a picture, uint8 `[height, width]` to `[28, 28]`; None if no ink stands out from the paper."""
    ink = _ink_of(grey.astype(np.float64))
    rows, columns = np.flatnonzero((ink > _FAINTEST).any(axis=1)), np.flatnonzero((ink > _FAINTEST).any(axis=0))
    if not len(rows):
        return None
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = _shrink(cut)
    image = np.zeros(IMAGE_SHAPE, np.uint8)
    top, left = (_shift(small, axis) for axis in (0, 1))
    image[top : top + small.shape[0], left : left + small.shape[1]] = _round(
        small.astype(np.float32).astype(np.float64)
    )
    return image


def _ink_of(grey: Floats) -> Floats:
    """Levels of ink: the border is paper, dark or light, and is taken away where it is not clean."""
    border = np.ones(grey.shape, bool)
    border[1:-1, 1:-1] = False
    ink = 255 - grey if grey[border].mean() > 127 else grey
    return ink if ink[border].max() <= _FAINTEST else _clean(ink)


def _clean(ink: Floats) -> Floats:
    """Take away paper that is uneven: what lies below the threshold of Otsu (1979), doi:10.1109/TSMC.1979.4310076.

    What lies above it is stretched, so that the mean of the ink becomes 255.
    """
    counts = np.bincount(ink.astype(np.intp).reshape(-1), minlength=256)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    apart = (below > 0) & (above > 0)
    if not apart.any():
        return np.zeros_like(ink)
    paper = sums / np.maximum(below, 1)
    full = (sums[-1] - sums) / np.maximum(above, 1)
    threshold = int(np.argmax(np.where(apart, below * above * (full - paper) ** 2, -1)))
    if full[threshold] - paper[threshold] < _CONTRAST:
        return np.zeros_like(ink)
    stretched = _round(255 * (ink - threshold) / (full[threshold] - threshold))
    return np.asarray(stretched.clip(0, 255), np.float64)


def _shrink(cut: Floats) -> Floats:
    """The longer side becomes 20 pixels; each is the mean of what it covers."""
    scale = _INNER / max(cut.shape)
    overlaps = [_overlap(size, max(1, int(_round(size * scale)))) for size in cut.shape]
    areas = np.outer(overlaps[0].sum(axis=1), overlaps[1].sum(axis=1))
    small: Floats = overlaps[0] @ cut @ overlaps[1].T / areas
    return small


def _overlap(size: int, parts: int) -> Floats:
    """How much of each of `size` pixels lies in each of so many equal parts of them: `[parts, size]`."""
    edges = np.arange(parts + 1) * size / parts
    pixels = np.arange(size)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return np.where(covered > 1e-9, covered, 0)


def _shift(small: Floats, axis: int) -> int:
    """Where the cut begins, for the centre of its mass to be in the middle; it never leaves the picture."""
    size, side = small.shape[axis], IMAGE_SHAPE[axis]
    middle = small.sum(axis=1 - axis) @ (np.arange(size) + 0.5) / small.sum()
    return int(np.clip(_round(side / 2 - middle), 0, side - size))


def _round(values: Any) -> Any:
    """To the nearest whole number, halves up, as JavaScript does."""
    return np.floor(values + 0.5)
