"""How good and how varied generated digits are: precision and recall of manifolds.

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
_BLOCK = 256  # rows whose distances to all others are held at a time


@dataclass(frozen=True)
class FeatureSpace:
    """The first principal components of training pixels; distances in it are Euclidean."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def __call__(self, pixels: NDArray[np.float32]) -> Floats:
        """Images float32 `[n, 784]` in [0, 1] to features, float64 `[n, 64]`."""
        features: Floats = ((pixels - self.mean) @ self.components).astype(np.float64)
        return features


def principal_components(pixels: NDArray[np.float32]) -> FeatureSpace:
    """Fit the feature space to training images, float32 `[n, 784]` in [0, 1]."""
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # in ascending order of their variance
    return FeatureSpace(mean, vectors[:, -COMPONENTS:].astype(np.float32))


class Manifold:
    """The union of balls around points, each as wide as the distance to the point's k-th nearest neighbour.

    Equation 2 of the paper; a ball holds its surface.
    """

    def __init__(self, points: Floats, neighbours: int = NEIGHBOURS) -> None:
        """Measure the balls around features, float64 `[n, d]`, n > `neighbours`."""

        def radii(start: int) -> Floats:
            # The nearest of all is the point itself.
            nearest = np.partition(_squared(points[start : start + _BLOCK], points), neighbours, axis=1)
            radius: Floats = nearest[:, neighbours]
            return radius

        self.points = points
        self._squared_radii = np.concatenate(list(map_ordered(radii, range(0, len(points), _BLOCK), cores())))

    def share(self, features: Floats) -> float:
        """Of features `[m, d]`, those that lie within, from 0 to 1."""

        def within(start: int) -> int:
            inside = _squared(features[start : start + _BLOCK], self.points) <= self._squared_radii
            return int(inside.any(axis=1).sum())

        return sum(map_ordered(within, range(0, len(features), _BLOCK), cores())) / len(features)


def precision_recall(real: Manifold, generated: Manifold) -> dict[str, float]:
    """Equations 1 and 3, rounded: how many generated images look real, how many real ones can be generated."""
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
