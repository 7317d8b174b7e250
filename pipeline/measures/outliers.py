"""How well a score tells strange images from usual ones: the higher it is, the stranger is the image.

Fawcett, An introduction to ROC analysis (2006), Pattern Recognition Letters 27, section 7.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def area_under_curve(usual: Floats, strange: Floats) -> float:
    """The area under the ROC curve: how often a strange image has the higher score of the two; a tie counts half.

    Args:
        usual: scores, `[n]`, n > 0.
        strange: scores, `[m]`, m > 0.

    Returns:
        From 0 to 1; 0.5 for a score that tells nothing.
    """
    from scipy.stats import rankdata  # noqa: PLC0415

    # The statistic of Mann and Whitney: the ranks of the strange less those that they have among themselves.
    ranks = rankdata(np.concatenate([strange, usual]))[: len(strange)]
    return float((ranks.mean() - (len(strange) + 1) / 2) / len(usual))
