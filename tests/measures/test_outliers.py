import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.measures.outliers import area_under_curve, average_precision


@pytest.mark.parametrize(
    ("usual", "strange", "area"),
    [
        ([1, 2, 3], [4, 5], 1.0),
        ([4, 5], [1, 2, 3], 0.0),
        ([1, 1], [1, 1, 1], 0.5),
        ([0, 2], [1], 0.5),
        ([0, 1, 2, 3], [1, 5], (1.5 + 4) / 8),
    ],
)
def test_the_area_is_the_share_of_pairs_in_order(usual: list[float], strange: list[float], area: float) -> None:
    assert area_under_curve(np.array(usual, np.float32), np.array(strange, np.float32)) == pytest.approx(area)


@pytest.mark.parametrize("digits", [0, 6])  # with ties, and without
def test_both_are_those_of_scikit_learn(digits: int) -> None:
    generator = np.random.default_rng(0)
    strange = generator.random(500) < 0.1
    scores = (generator.normal(size=500) + strange).round(digits)
    area = area_under_curve(scores[~strange], scores[strange])
    assert area == pytest.approx(roc_auc_score(strange, scores))
    assert average_precision(scores, strange) == pytest.approx(average_precision_score(strange, scores))
