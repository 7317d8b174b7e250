"""How well a score tells strange images from usual ones."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def area_under_curve(usual: Floats, strange: Floats) -> float:
    """Area under the ROC curve: the chance that a strange image scores above a usual one; ties count half.

    It is the statistic of Mann and Whitney (1947) over the number of pairs. Scores are `[n]` and `[m]`.
    """
    from scipy.stats import rankdata  # noqa: PLC0415  (takes 0.5 s to import)

    ranks = rankdata(np.concatenate([usual, strange]))[len(usual) :]
    least = len(strange) * (len(strange) + 1) / 2
    return float((ranks.sum() - least) / (len(usual) * len(strange)))


def average_precision(scores: Floats, strange: NDArray[np.bool_]) -> float:
    """The mean, over the strange images, of the share of strange ones among those that score at least as high.

    As scikit-learn's `average_precision_score`: the area under the curve of precision over recall, in steps.

    Args:
        scores: `[n]`.
        strange: which of them are, `[n]`; at least one.
    """
    values, place = np.unique(-scores, return_inverse=True)
    found = np.cumsum(np.bincount(place, strange, len(values)))
    taken = np.cumsum(np.bincount(place, minlength=len(values)))
    gained = np.diff(found, prepend=0)
    return float((gained * found / taken).sum() / found[-1])
