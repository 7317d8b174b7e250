"""Images that are strange in a way that has a name, made from usual ones: what a score must tell apart from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Pixels = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]

_MOVED = 6  # pixels
_NOISE = 50  # levels of 255, of one standard deviation
_ROWS, _COLUMNS = IMAGE_SHAPE
_TOP, _LEFT = np.arange(_ROWS)[:, None] < _ROWS // 2, np.arange(_COLUMNS) < _COLUMNS // 2


def corrupt(name: str, images: Pixels, labels: Labels | None, seed: int) -> Pixels:
    """Each image made strange; the same bytes for the same images and seed.

    Args:
        name: of one of `CORRUPTIONS`.
        images: uint8 `[n, 28, 28]`, n > 1, 0 = background.
        labels: from 0 on, `[n]`, None if they are not known.
        seed: of what is drawn: directions, halves, noise, other images.

    Returns:
        uint8 `[n, 28, 28]`.
    """
    return np.ascontiguousarray(CORRUPTIONS[name](images, labels, np.random.default_rng(seed)))


def blurred(images: Pixels, sigma: float) -> Pixels:
    """uint8 `[n, 28, 28]`, each convolved with a Gaussian of this width in pixels."""
    import cv2  # noqa: PLC0415

    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for image in images])


def moved(images: Pixels, generator: np.random.Generator) -> Pixels:
    """By 6 pixels, each up, down, left or right; background comes in."""
    padded = np.pad(images, ((0, 0), (_MOVED, _MOVED), (_MOVED, _MOVED)))
    corners = ((0, _MOVED), (2 * _MOVED, _MOVED), (_MOVED, 0), (_MOVED, 2 * _MOVED))
    return _one_of([padded[:, row : row + _ROWS, column : column + _COLUMNS] for row, column in corners], generator)


def cut(images: Pixels, generator: np.random.Generator) -> Pixels:
    """Without the upper, lower, left or right half, where there is background."""
    return _one_of([images * half for half in (_TOP, ~_TOP, _LEFT, ~_LEFT)], generator)


def noisy(images: Pixels, generator: np.random.Generator) -> Pixels:
    """With Gaussian noise added to each pixel, cut off at 0 and 255."""
    noise = _NOISE * generator.standard_normal(images.shape, np.float32)
    found: Pixels = np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)
    return found


def scrambled(images: Pixels, labels: Labels | None, generator: np.random.Generator) -> Pixels:
    """Quarters of four images of other classes, each where it was; where there are no classes, of other images."""
    if labels is None or (labels == labels[0]).all():
        labels = np.arange(len(images))  # each image is a class
    # In the order of classes, all others follow the last image of a class, and go on at the beginning.
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    following = np.cumsum(counts)[labels]
    found = np.empty_like(images)
    for rows in (_TOP, ~_TOP):
        for columns in (_LEFT, ~_LEFT):
            chosen = order[(following + generator.integers(0, len(images) - counts[labels])) % len(images)]
            found[:, rows & columns] = images[chosen][:, rows & columns]
    return found


CORRUPTIONS: Mapping[str, Callable[[Pixels, Labels | None, np.random.Generator], Pixels]] = {
    "turned": lambda images, _, __: np.rot90(images, axes=(1, 2)),
    "upside_down": lambda images, _, __: images[:, ::-1],
    "mirrored": lambda images, _, __: images[:, :, ::-1],
    "moved": lambda images, _, generator: moved(images, generator),
    "inverted": lambda images, _, __: 255 - images,
    "cut": lambda images, _, generator: cut(images, generator),
    "noisy": lambda images, _, generator: noisy(images, generator),
    "scrambled": scrambled,
    "blurred": lambda images, _, __: blurred(images, 1.0),
}


def _one_of(ways: Sequence[Pixels], generator: np.random.Generator) -> Pixels:
    """Each image in one of the ways, which the generator draws."""
    drawn = generator.integers(0, len(ways), len(ways[0]))
    return np.stack(ways)[drawn, np.arange(len(drawn))]
