"""How well two simple classifiers tell digits from features: what is easy to read from the latents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.parallel import cores, map_ordered

Floats = NDArray[np.floating[Any]]

# Of the squared weights, against the summed loss; nearly the same accuracy with weaker ones, in several times the time.
_REGULARISATION = 100.0
_BLOCK, _TILE = 512, 5500  # test and training digits whose distances are held at a time


@dataclass(frozen=True)
class Features:
    """One split: float32 or float64 `[n, d]`, and labels uint8 `[n]`, 0 to 9."""

    values: Floats
    labels: NDArray[np.uint8]


def knn_accuracy(train: Features, test: Features, neighbours: int) -> float:
    """Share of test digits named by most of their nearest training digits, by Euclidean distance.

    A tied vote goes to the smallest digit. Distances have the precision of the features.

    Args:
        train: at least as many digits as neighbours.
        test: whose digits are told.
        neighbours: that vote.
    """
    half_squares = (train.values**2).sum(axis=1) / 2

    def right(start: int) -> int:
        rows = test.values[start : start + _BLOCK]
        nearest = np.full((len(rows), neighbours), np.inf, train.values.dtype)
        labels = np.zeros(nearest.shape, np.uint8)
        for first in range(0, len(half_squares), _TILE):
            tile = slice(first, first + _TILE)
            # Half the squared distance, less what is the same for all training digits.
            distances = half_squares[tile] - rows @ train.values[tile].T
            # After the first tile few are nearer than what was found: sorting those alone saves most of the time.
            nearer = (distances < nearest.max(axis=1)[:, None]).any(axis=0)
            found = np.concatenate([nearest, distances[:, nearer]], axis=1)
            named = np.broadcast_to(train.labels[tile][nearer], (len(rows), int(nearer.sum())))
            order = np.argpartition(found, neighbours - 1, axis=1)[:, :neighbours]
            nearest = np.take_along_axis(found, order, axis=1)
            labels = np.take_along_axis(np.concatenate([labels, named], axis=1), order, axis=1)
        votes = (labels[:, :, None] == np.arange(10)).sum(axis=1)
        return int((votes.argmax(axis=1) == test.labels[start : start + _BLOCK]).sum())

    return sum(map_ordered(right, range(0, len(test.values), _BLOCK), cores())) / len(test.values)


def linear_probe_accuracy(train: Features, test: Features) -> float:
    """Share of test digits that multinomial logistic regression tells, fitted to training digits of two kinds or more.

    L-BFGS from zero on features whose mean is taken off, so it is deterministic and takes a third of the steps.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (2 s that no other module need wait for)

    mean = train.values.mean(axis=0)
    probe = LogisticRegression(C=1 / _REGULARISATION, tol=1e-3, max_iter=1000)
    probe.fit(train.values - mean, train.labels)
    return float(probe.score(test.values - mean, test.labels))
