import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.measures.outliers import area_under_curve

ROWS = {
    "all strange ones above": ([1, 2, 3], [4, 5], 1.0),
    "all below": ([4, 5], [1, 2, 3], 0.0),
    "one of four pairs the wrong way round": ([1, 3], [2, 4], 0.75),
    "a tie counts half": ([1, 2], [2, 3], 0.875),
    "all the same": ([7, 7, 7], [7, 7], 0.5),
}


@pytest.mark.parametrize(("usual", "strange", "expected"), ROWS.values(), ids=ROWS)
def test_the_area_is_the_share_of_pairs_in_order(usual: list[float], strange: list[float], expected: float) -> None:
    assert area_under_curve(np.array(usual), np.array(strange)) == pytest.approx(expected)


@pytest.mark.parametrize("digits", [6, 1])
def test_the_area_is_that_of_scikit_learn_with_and_without_ties(digits: int) -> None:
    generator = np.random.default_rng(0)
    usual = generator.normal(0, 1, 500).round(digits).astype(np.float32)
    strange = generator.normal(1, 2, 300).round(digits).astype(np.float32)
    expected = roc_auc_score(np.arange(800) >= 500, np.concatenate([usual, strange]))
    assert area_under_curve(usual, strange) == pytest.approx(expected, abs=1e-12)
