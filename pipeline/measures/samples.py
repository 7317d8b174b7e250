"""How good generated images are, in the features of the judge: how near, how varied, how clear, how sharp.

Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models (2020), arXiv:2002.09797: coverage and
density. Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models (2019),
arXiv:1904.06991. Heusel et al. (2017), arXiv:1706.08500, compare generated and real images by the Frechet distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.parallel import cores, map_ordered

if TYPE_CHECKING:
    from pipeline.measures.judge import Judge

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

CLOSE_NEIGHBOURS, NEIGHBOURS = 3, 5  # of precision and recall, of density and coverage: as their authors have it
_CONFIDENT = 0.9
_BLOCK = 256  # rows whose distances to all others are computed at a time


@dataclass(frozen=True)
class Judged:
    """Images as the judge sees them: `features`, float64 `[n, d]`, and `probabilities`, float64 `[n, classes]`."""

    features: Floats
    probabilities: Floats

    @classmethod
    def of(cls, judge: Judge, images: Pixels) -> Judged:
        """Of uint8 `[n, 28, 28]`, n > 5."""
        features, probabilities = judge(images)
        return cls(features.astype(np.float64), probabilities.astype(np.float64))

    @cached_property
    def squared_radii(self) -> tuple[Floats, Floats]:
        """The squared distance, `[n]`, of each image's features to their third and to their fifth nearest neighbour."""

        def radii(start: int) -> Floats:
            distances = _squared(self.features[start : start + _BLOCK], self.features)
            neighbours = [CLOSE_NEIGHBOURS, NEIGHBOURS]  # each point is its own nearest, number 0
            found: Floats = np.partition(distances, neighbours, axis=1)[:, neighbours]
            return found

        close, wide = np.concatenate(list(map_ordered(radii, range(0, len(self.features), _BLOCK), cores()))).T
        return close, wide


class Comparison:
    """Real images, uint8 `[n, 28, 28]`, n > 5, to which others are compared, through a judge if there is one."""

    def __init__(self, real: Pixels, judge: Judge | None) -> None:
        self._real, self._judge = real, judge
        self._judged = None if judge is None else Judged.of(judge, real)

    def __call__(self, generated: Pixels) -> dict[str, float]:
        """The figures of uint8 `[n, 28, 28]`, rounded, without those for which a judge is missing.

        The two that a blur raises come last.
        """
        edges = {"edge_ratio": edge_ratio(self._real, generated)}
        if self._judge is None or self._judged is None:
            return _rounded(edges)
        real, fake = self._judged, Judged.of(self._judge, generated)
        nearby = neighbourhoods(real, fake)
        figures = {
            "frechet_distance": frechet_distance(real.features, fake.features),
            "recall": nearby.recall,
            "coverage": nearby.coverage,
            "confident": float((fake.probabilities.max(axis=1) > _CONFIDENT).mean()),
            "class_balance": class_balance(real.probabilities, fake.probabilities),
            **edges,
            "precision": nearby.precision,
            "density": nearby.density,
        }
        return _rounded(figures)


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) + 0.0 for name, value in figures.items()}  # never -0.0


def frechet_distance(real: Floats, generated: Floats) -> float:
    """The distance of two Gaussians with the means and covariances of features `[n, d]` and `[m, d]`.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the square of the Wasserstein-2 distance (Dowson & Landau 1982). The
    eigenvalues of C1 C2 are those of the symmetric S C2 S, where S S = C1: no root of another matrix is needed.
    """
    first, second = (np.cov(features, rowvar=False, ddof=1) for features in (real, generated))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    of_product = np.linalg.eigvalsh(root @ second @ root)
    between = ((real.mean(axis=0) - generated.mean(axis=0)) ** 2).sum()
    return float(between + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(of_product, 0)).sum())


@dataclass(frozen=True)
class Neighbourhoods:
    """What lies in the balls around features, each of which reaches to the third, or fifth, neighbour of its kind."""

    precision: float
    """The share of generated images in the ball of any real one (third)."""
    recall: float
    """The share of real images in the ball of any generated one (third)."""
    density: float
    """In how many balls of real images (fifth) a generated one lies on average, as a share of five."""
    coverage: float
    """The share of real images in whose ball (fifth) any generated one lies."""


def neighbourhoods(real: Judged, generated: Judged) -> Neighbourhoods:
    """Naeem et al., section 2.2 (precision and recall) and equations 3 and 4 (density and coverage)."""
    (close, wide), (generated_close, _) = real.squared_radii, generated.squared_radii

    def block(start: int) -> tuple[NDArray[np.intp], int, int, int]:
        rows = slice(start, start + _BLOCK)
        distances = _squared(real.features[rows], generated.features)
        hits: NDArray[np.intp] = (distances <= close[rows, None]).sum(axis=0)
        recalled = (distances <= generated_close).any(axis=1)
        in_ball = distances <= wide[rows, None]
        return hits, int(recalled.sum()), int(in_ball.sum()), int(in_ball.any(axis=1).sum())

    starts = range(0, len(real.features), _BLOCK)
    hits, recalled, in_balls, covered = zip(*map_ordered(block, starts, cores()), strict=True)
    count = len(real.features)
    return Neighbourhoods(
        precision=float((np.sum(hits, axis=0) > 0).mean()),
        recall=sum(recalled) / count,
        density=sum(in_balls) / (NEIGHBOURS * len(generated.features)),
        coverage=sum(covered) / count,
    )


def class_balance(real: Floats, generated: Floats) -> float:
    """KL(generated || real) in nats of the mean probabilities of the classes: `[n, classes]` and `[m, classes]`."""
    smallest = np.finfo(np.float32).tiny  # of a class that none of the images resembles
    p, q = (np.maximum(probabilities.mean(axis=0), smallest) for probabilities in (generated, real))
    return float((p * np.log(p / q)).sum())


def edge_ratio(real: Pixels, generated: Pixels) -> float:
    """How sharp generated images are beside real ones, uint8 `[m, 28, 28]` and `[n, 28, 28]`; needs no judge.

    The squared differences of neighbouring pixels as a share of their squares, of all images together: as grey levels
    scale, so do both.
    """
    return _edges(generated) / max(_edges(real), 1e-6)  # real images without any edge are none to measure by


def _edges(images: Pixels) -> float:
    pixels = images.astype(np.int32)
    gradient = sum(int((np.diff(pixels, axis=axis) ** 2).sum()) for axis in (1, 2))
    return gradient / max(int((pixels**2).sum()), 1)  # without any ink: 0


def _squared(some: Floats, others: Floats) -> Floats:
    """Squared distances, `[m, d]` and `[n, d]` to `[m, n]`."""
    distances: Floats = some @ (-2 * others.T)
    distances += (others**2).sum(axis=1)
    distances += (some**2).sum(axis=1)[:, None]
    return distances
