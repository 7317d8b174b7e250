"""What may go wrong with images, made from good ones with a seed: strange images to be told from usual ones."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.uint8] | None
Corruption = Callable[[Pixels, Labels, np.random.Generator], Pixels]

_MOVED = 6  # pixels
_NOISE = 32.0  # standard deviation, of 255 levels
_BLUR = 1.0  # standard deviation of the Gaussian, in pixels
_SIDES = 4


def corrupt(name: str, images: Pixels, labels: Labels, seed: int) -> Pixels:
    """The same images after the corruption `name` of `CORRUPTIONS`, uint8 `[n, 28, 28]`.

    Args:
        name: which one.
        images: uint8 `[n, 28, 28]`.
        labels: uint8 `[n]`; without, an image of another class may be any.
        seed: of all draws.
    """
    return np.ascontiguousarray(CORRUPTIONS[name](images, labels, np.random.default_rng(seed)))


def _turned(images: Pixels, _: Labels, __: np.random.Generator) -> Pixels:
    """A quarter turn, against the clock."""
    return np.rot90(images, axes=(1, 2))


def _upside_down(images: Pixels, _: Labels, __: np.random.Generator) -> Pixels:
    return images[:, ::-1, ::-1]


def _mirrored(images: Pixels, _: Labels, __: np.random.Generator) -> Pixels:
    return images[:, :, ::-1]


def _moved(images: Pixels, _: Labels, generator: np.random.Generator) -> Pixels:
    """By 6 pixels to one side; what leaves the picture is lost."""
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (_MOVED, _MOVED), (_MOVED, _MOVED)))
    sides = generator.integers(0, _SIDES, len(images))
    corners = np.array([(0, _MOVED), (2 * _MOVED, _MOVED), (_MOVED, 0), (_MOVED, 2 * _MOVED)])[sides]
    rows, columns = (corners[:, axis, None] + np.arange(size) for axis, size in ((0, height), (1, width)))
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _inverted(images: Pixels, _: Labels, __: np.random.Generator) -> Pixels:
    return 255 - images


def _cut(images: Pixels, _: Labels, generator: np.random.Generator) -> Pixels:
    """One half is background: the upper, lower, left or right one."""
    cut = images.copy()
    half = images.shape[1] // 2
    sides = generator.integers(0, _SIDES, len(images))
    halves = (np.s_[:, :half, :], np.s_[:, half:, :], np.s_[:, :, :half], np.s_[:, :, half:])
    for side, part in enumerate(halves):
        of_side = cut[sides == side]
        of_side[part] = 0
        cut[sides == side] = of_side
    return cut


def _noisy(images: Pixels, _: Labels, generator: np.random.Generator) -> Pixels:
    """Gaussian noise on each pixel."""
    noise = generator.normal(0, _NOISE, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def _blurred(images: Pixels, _: Labels, __: np.random.Generator) -> Pixels:
    """By a Gaussian of one pixel."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415  (takes 0.2 s to import)

    smooth = gaussian_filter(images.astype(np.float32), (0, _BLUR, _BLUR), mode="constant")
    blurred: Pixels = np.rint(smooth).astype(np.uint8)
    return blurred


def _scrambled(images: Pixels, labels: Labels, generator: np.random.Generator) -> Pixels:
    """Two opposite quarters come from an image of another class, if no class has more than half of the images."""
    drawn = generator.permutation(len(images))
    order = drawn if labels is None else drawn[np.argsort(labels[drawn], kind="stable")]
    partner = np.empty_like(order)
    partner[order] = np.roll(order, len(images) // 2)
    half = images.shape[1] // 2
    mixed = images.copy()
    for quarter in (np.s_[:, :half, half:], np.s_[:, half:, :half]):
        mixed[quarter] = images[partner][quarter]
    return mixed


CORRUPTIONS: Mapping[str, Corruption] = {
    "turned": _turned,
    "upside_down": _upside_down,
    "mirrored": _mirrored,
    "moved": _moved,
    "inverted": _inverted,
    "cut": _cut,
    "noisy": _noisy,
    "blurred": _blurred,
    "scrambled": _scrambled,
}
