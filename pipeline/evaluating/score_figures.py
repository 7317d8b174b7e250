"""How well the scorer tells test images from strange ones: those that corruptions make of them, and other piles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.corruptions import CORRUPTIONS, corrupt
from pipeline.measures.elbo import entropy
from pipeline.measures.outliers import area_under_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.inference.session import Scorer

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

_FALSE_ALARMS = 99.0  # percentile of held-out images from which on an image is called strange


def score_figures(
    scorer: Scorer, images: Pixels, labels: NDArray[np.uint8] | None, others: Mapping[str, Pixels], seed: int
) -> dict[str, dict[str, float]]:
    """Figures for each corruption of the images and for each pile of `others`.

    Args:
        scorer: to be judged.
        images: the usual ones, uint8 `[n, 28, 28]`.
        labels: of these, uint8 `[n]`, if they have any.
        others: strange images by name, uint8 `[m, 28, 28]` each.
        seed: of the corruptions.

    Returns:
        `area_under_curve` of the score, beside it `area_under_curve_excess` and `area_under_curve_negative_elbo`, and
        `caught`: the share of the strange images whose score is above that of 99 in 100 held-out images.
    """
    usual = _all_scores(scorer, images)
    figures = {}
    for name in [*CORRUPTIONS, *others]:
        strange = _all_scores(scorer, others[name] if name in others else corrupt(name, images, labels, seed))
        figures[name] = {one: round(area_under_curve(usual[one], strange[one]), 4) for one in usual}
        if scorer.usual is not None:
            above = scorer.usual.percentile(strange["area_under_curve"]) > _FALSE_ALARMS
            figures[name]["caught"] = round(float(above.mean()), 4)
    return figures


def _all_scores(scorer: Scorer, images: Pixels) -> dict[str, Floats]:
    """By the name of the figure that is made of them, `[n]` each."""
    found = scorer(images)
    return {
        "area_under_curve": found.score,
        "area_under_curve_excess": found.excess,
        "area_under_curve_negative_elbo": found.excess + entropy(images),
    }
