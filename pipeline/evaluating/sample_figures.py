"""Precision and recall of generated images: how many look real, and how much of the real variety they cover.

Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models (2019), arXiv:1904.06991.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.parallel import cores, map_ordered

Floats = NDArray[np.floating[Any]]

NEIGHBOURS = 3  # as in the paper
COMPONENTS = 64
_BLOCK = 256  # rows whose distances to all others are computed at a time


@dataclass(frozen=True)
class FeatureSpace:
    """The first 64 principal components of the training pixels, with Euclidean distance."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def __call__(self, pixels: NDArray[np.float32]) -> Floats:
        """Map images, float32 `[n, 784]` in [0, 1], to features, float64 `[n, 64]`."""
        features: Floats = ((pixels - self.mean) @ self.components).astype(np.float64)
        return features


def principal_components(pixels: NDArray[np.float32]) -> FeatureSpace:
    """Fit the feature space to training images: float32 `[n, 784]` in [0, 1]."""
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # in ascending order of variance
    return FeatureSpace(mean, vectors[:, -COMPONENTS:].astype(np.float32))


class Support:
    """An estimate of where a distribution has its points, which the paper calls its manifold (equation 2).

    It is the union of closed balls around the given points, each reaching to the point's k-th nearest neighbour.
    """

    def __init__(self, points: Floats, neighbours: int = NEIGHBOURS) -> None:
        """Compute the radii of the balls around features, float64 `[n, d]`, n > `neighbours`."""

        def radii(start: int) -> Floats:
            # Each point is its own nearest neighbour.
            nearest = np.partition(_squared(points[start : start + _BLOCK], points), neighbours, axis=1)
            radius: Floats = nearest[:, neighbours]
            return radius

        self.points = points
        self._squared_radii = np.concatenate(list(map_ordered(radii, range(0, len(points), _BLOCK), cores())))

    def share(self, features: Floats) -> float:
        """The share of features `[m, d]` that lie in the support, from 0 to 1."""

        def within(start: int) -> int:
            inside = _squared(features[start : start + _BLOCK], self.points) <= self._squared_radii
            return int(inside.any(axis=1).sum())

        return sum(map_ordered(within, range(0, len(features), _BLOCK), cores())) / len(features)


def precision_recall(real: Support, generated: Support) -> dict[str, float]:
    """Equations 1 and 3 of the paper, rounded to 4 decimals."""
    return {
        "precision": round(real.share(generated.points), 4),
        "recall": round(generated.share(real.points), 4),
    }


def _squared(some: Floats, others: Floats) -> Floats:
    """Squared distances, `[m, d]` and `[n, d]` to `[m, n]`."""
    distances: Floats = some @ (-2 * others.T)
    distances += (others**2).sum(axis=1)
    distances += (some**2).sum(axis=1)[:, None]
    return np.maximum(distances, 0, out=distances)
