"""How well the scorer tells test images from strange ones: those that corruptions make of them, and other piles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.corruptions import CORRUPTIONS, corrupt
from pipeline.measures.elbo import entropy
from pipeline.measures.outliers import area_under_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.inference.session import Scorer

Pixels = NDArray[np.uint8]

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
        `area_under_curve` of the excess, `area_under_curve_negative_elbo` beside it, and `caught`: the share of the
        strange images whose excess is above that of 99 in 100 held-out images.
    """
    usual = scorer(images).excess
    bounds = usual + entropy(images)
    figures = {}
    for name in [*CORRUPTIONS, *others]:
        strange = others[name] if name in others else corrupt(name, images, labels, seed)
        excess = scorer(strange).excess
        figures[name] = {
            "area_under_curve": round(area_under_curve(usual, excess), 4),
            "area_under_curve_negative_elbo": round(area_under_curve(bounds, excess + entropy(strange)), 4),
        }
        if scorer.usual is not None:
            figures[name]["caught"] = round(float((scorer.usual.percentile(excess) > _FALSE_ALARMS).mean()), 4)
    return figures
