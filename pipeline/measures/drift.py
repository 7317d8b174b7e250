"""Whether values are distributed as others are: has what a model is given drifted?

Siddiqi, Credit Risk Scorecards (2006), monitors scores by the population stability index (PSI). That up to 0.1 is no
change and more than 0.2 a significant one is a rule of thumb: Wu and Olson, Enterprise risk management: coping with
model risk in a large bank, Journal of the Operational Research Society 61 (2010). Yurdakul, Statistical Properties of
Population Stability Index (Western Michigan University, 2018), gives its distribution.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

THRESHOLD = 0.2
"""Of the PSI, beyond which there is drift."""
_DECILES = np.arange(1, 10) / 10
_SMOOTHING = 0.5  # of an image, Jeffreys' prior of the shares: what is in no bin of a small sample is not impossible

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Drift:
    """How far values are from those that are usual."""

    usual_rows: int
    rows: int
    usual_median: float
    median: float
    ks: float
    """The Kolmogorov-Smirnov statistic, the largest distance of the two cumulative distributions: from 0 to 1."""
    p_value: float
    """How likely as large a distance is between samples of one distribution."""
    psi: float
    """The population stability index; 0 for equal shares."""
    deciles: tuple[float, ...]
    """Of the usual values: the inner edges of the bins, value by value from below."""
    usual_shares: tuple[float, ...]
    """What each bin holds of the usual values: a tenth, where no value is repeated."""
    shares: tuple[float, ...]
    """What it holds of the others."""


def drift(usual: Floats, values: Floats) -> Drift:
    """Compare `values` `[m]` with `usual` ones `[n]`, all finite, at least one each.

    The p-value is that of two samples, exact up to 10,000 rows, beyond that from the distribution of one sample of
    n m / (n + m) rows (Hodges, Arkiv for Matematik 3, 1958), as SciPy computes it. Of many rows the slightest
    difference is significant; the PSI says whether it is large.
    """
    with warnings.catch_warnings():  # that it takes the distribution where the exact computation fails
        warnings.simplefilter("ignore", RuntimeWarning)
        test = ks_2samp(usual, values)
    edges = decile_edges(usual)
    usual_counts, counts = count(usual, edges), count(values, edges)
    return Drift(
        len(usual),
        len(values),
        float(np.median(usual)),
        float(np.median(values)),
        float(test.statistic),
        float(test.pvalue),
        population_stability_index(usual_counts, counts),
        tuple(edges.tolist()),
        tuple((usual_counts / len(usual)).tolist()),
        tuple((counts / len(values)).tolist()),
    )


def from_quantiles(quantiles: Floats, rows: int) -> Floats:
    """The sorted sample, float64 `[rows]`, whose quantiles in equal steps from 0 to 1 are these.

    Values between two quantiles lie on the line between them: the inverse of how NumPy computes quantiles. So a model
    that tells the quantiles of n validation images stands for n rows in a test, and not for a distribution that is
    known exactly.
    """
    return np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(quantiles)), quantiles)


def decile_edges(values: Floats) -> Floats:
    """The deciles of `values` `[n]` as the inner edges of bins, rising.

    A value that is more than one of them, since a tenth or more are equal to it, gets a bin of its own.
    """
    deciles, times = np.unique(np.quantile(values.astype(np.float64), _DECILES), return_counts=True)
    above = np.nextafter(deciles[times > 1], np.inf)
    return np.unique(np.concatenate([deciles, above]))


def count(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many of `values` each bin holds, `[len(edges) + 1]`; what is equal to an edge is above it."""
    bins = np.searchsorted(edges, values.astype(np.float64), side="right")
    return np.bincount(bins, minlength=len(edges) + 1)


def population_stability_index(usual_counts: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """The sum over bins of (b - a) ln(b / a), where a is the share of a bin among the usual values, b among the others.

    It is the symmetrised Kullback-Leibler divergence of the two (Kullback and Leibler 1951). Half an image is added to
    every bin, so that it stays finite; a bin that both leave empty is none.
    """
    filled = (usual_counts > 0) | (counts > 0)
    a, b = ((some[filled] + _SMOOTHING) / (some[filled] + _SMOOTHING).sum() for some in (usual_counts, counts))
    return float(((b - a) * np.log(b / a)).sum())


def psi_by_chance(usual_rows: int, rows: int) -> float:
    """The PSI to be expected of two samples of one distribution: 9 (1 / n + 1 / m) over deciles (Yurdakul 2018)."""
    return len(_DECILES) * (1 / usual_rows + 1 / rows)
