"""Surfaces over the picture from which images of any size are drawn, in NumPy: cubic B-splines and how ink is read off.

A surface f gives a logit to each point of the picture: products of cubic B-splines along both sides, weighted by
coefficients. It is separable, so that an image takes two products of matrices: (basis of the rows) C (basis of the
columns)^T. Places are measured from 0 to 1 along each side, lengths in 28ths of it: the pixels of the data.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.shared.interface import IMAGE_SHAPE

Floats = NDArray[np.floating[Any]]

SIDE = IMAGE_SHAPE[0]
LEAST_SOFTNESS = 0.05
HALF_STEP = 1 / (2 * np.sqrt(3))
"""Two places at this distance from the centre, in pixels, have the variance of a pixel: Gauss's rule of two points."""
SLOPE_TO_SCALE = 1 / (2 * np.pi)
"""A logistic of scale s has the variance pi^2 s^2 / 3, f in a pixel over which it rises by g has g^2 / 12."""


@dataclass(frozen=True)
class Knots:
    """Where the peaks of the splines lie along a side, in 28ths of it."""

    first: float
    spacing: float
    count: int

    @property
    def places(self) -> Floats:
        """Where each spline peaks, between 0 and 1 or a little beyond: float64 `[count]`."""
        return (self.first + self.spacing * np.arange(self.count)) / SIDE


def over_picture(count: int) -> Knots:
    """`count` knots, the first and the last one spacing beyond the borders."""
    spacing = SIDE / (count - 3)
    return Knots(-spacing, spacing, count)


PIXELS = Knots(-1.5, 1.0, SIDE + 4)
"""The centres of the pixels, and two beyond each border."""
SURE = 10.0
"""Logits beyond it are taken for it: ink changes by less than 5e-5, and the spline doesn't swing next to a cliff."""


def centres(count: int) -> Floats:
    """The centres of so many pixels along a side: float64 `[count]`."""
    return (np.arange(count) + 0.5) / count


def basis(knots: Knots, places: ArrayLike, pixel: float) -> tuple[Floats, Floats]:
    """Each spline at each place, averaged over a pixel, and its slope there.

    With t the distance from the peak in spacings, the spline is (2 - |t|)+^3 / 6 - 4 (1 - |t|)+^3 / 6 (de Boor, A
    Practical Guide to Splines (1978), chapter IX), where x+ is x above 0. Beyond the borders it is what it is there.

    Args:
        knots: where they are.
        places: between 0 and 1, `[n]`.
        pixel: its side.

    Returns:
        Values and slopes, the latter per 28th of the side: float64 `[n, knots.count]`.
    """
    values, slopes = (np.zeros((np.size(places), knots.count)) for _ in range(2))
    for shift in (-HALF_STEP * pixel, HALF_STEP * pixel):
        at = np.clip(SIDE * np.asarray(places, np.float64) + shift, 0, SIDE)
        t = (at[:, None] - knots.first) / knots.spacing - np.arange(knots.count)
        wide, narrow = np.maximum(2 - np.abs(t), 0), np.maximum(1 - np.abs(t), 0)
        values += (wide**3 - 4 * narrow**3) / 12
        slopes -= np.sign(t) * (wide**2 - 4 * narrow**2) / (4 * knots.spacing)
    return values, slopes


def through_pixels() -> Floats:
    """What makes of 28 values along a side the coefficients, at `PIXELS`, of the smoothest spline through them.

    A matrix `[32, 28]`. Of all splines that have the values at the centres of the pixels, that with the smallest sum of
    squared second differences of its coefficients.
    """
    values, _ = basis(PIXELS, centres(SIDE), 0.0)
    bend = np.diff(np.eye(PIXELS.count), 2, axis=0)
    system = np.block([[bend.T @ bend, values.T], [values, np.zeros((SIDE, SIDE))]])
    solution: Floats = np.linalg.solve(system, np.eye(PIXELS.count + SIDE)[:, PIXELS.count :])
    return solution[: PIXELS.count]


def render(
    made: Floats,
    knots: Knots,
    rows: ArrayLike,
    columns: ArrayLike,
    pixel: float = 1.0,
    softness: float = 1.0,
) -> Floats:
    """Images of surfaces: ink = sigmoid(f / sqrt(softness^2 + (pixel |grad f| / (2 pi))^2)).

    The logistic of scale `softness` blurs the edges, and so does the pixel: their variances are added, and f is
    averaged over the pixel. A surface through the logits of pixels has ink that is averaged already: it is made steeper
    for that, by sqrt(1 + (|grad f| / (2 pi))^2), and not averaged again, so that with a pixel and a softness of 1 the
    logits come out.

    Args:
        made: by a decoder, the rows of the picture first: coefficients `[n, knots.count, knots.count]`, or logits
            `[n, 28, 28]` that the surfaces are to run through.
        knots: along both sides; `PIXELS` stands for logits.
        rows: places of the pixels' centres from top to bottom, `[h]`.
        columns: the same from left to right, `[w]`.
        pixel: the side of a pixel.
        softness: 1 is as trained; at least 0.05.

    Returns:
        Ink from 0 to 1, float64 `[n, h, w]`.
    """
    through = knots == PIXELS
    coefficients = through_pixels() @ np.clip(made, -SURE, SURE) @ through_pixels().T if through else made
    down, across = (basis(knots, places, 0.0 if through else pixel) for places in (rows, columns))
    f, f_x, f_y = (
        y @ coefficients @ x.T for y, x in ((down[0], across[0]), (down[0], across[1]), (down[1], across[0]))
    )
    spread = (SLOPE_TO_SCALE**2) * (f_x**2 + f_y**2)
    steeper = np.sqrt(1 + spread) if through else 1.0
    logits = f * steeper / np.sqrt(max(softness, LEAST_SOFTNESS) ** 2 + pixel**2 * spread)
    ink: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return ink
