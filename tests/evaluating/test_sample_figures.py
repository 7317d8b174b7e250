import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from pipeline.evaluating import sample_figures as module
from pipeline.evaluating.sample_figures import Floats, Support, precision_recall, principal_components


def points(n: int, seed: int = 0, dimensions: int = 5) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, dimensions))


def compare(real: Floats, generated: Floats) -> tuple[float, float]:
    found = precision_recall(Support(real), Support(generated))
    return found["precision"], found["recall"]


def test_a_set_compared_with_itself() -> None:
    assert compare(points(600), points(600)) == (1, 1)


def test_sets_far_apart() -> None:
    assert compare(points(600), points(600) + 100) == (0, 0)


def test_generated_digits_of_one_kind_are_precise_and_recall_that_kind() -> None:
    """Two kinds far apart, a third and two thirds of what is real."""
    one, other = points(200), points(400, seed=1) + 100
    assert compare(np.concatenate([one, other]), one) == (1, pytest.approx(1 / 3, abs=1e-4))


def test_generated_digits_of_a_kind_too_many_recall_all_and_are_half_precise() -> None:
    real = points(300)
    assert compare(real, np.concatenate([real, points(300) + 100])) == (0.5, 1)


def test_both_are_the_definition_over_all_distances() -> None:
    """Kynkaanniemi et al. (2019), equations 1 to 3, over more than one block."""
    real, generated = points(500), 0.8 * points(400, seed=1) + 0.3

    def share(some: Floats, of: Floats) -> float:
        radii = np.sort(cdist(of, of), axis=1)[:, 3]
        return float((cdist(some, of) <= radii).any(axis=1).mean())

    precision, recall = share(generated, real), share(real, generated)
    assert compare(real, generated) == (round(precision, 4), round(recall, 4))
    assert 0.5 < recall < precision < 1


def test_equal_images_are_a_manifold_of_one_point() -> None:
    """A decoder that has collapsed; the ball has no extent, but holds its centre."""
    real = points(100)
    assert Support(np.tile(real[0], (50, 1))).share(real) == 0.01


def test_shares_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(compare(points(700), points(600, seed=1)))
    assert found[0] == found[1]


def test_features_are_the_principal_components() -> None:
    """Those of scikit-learn, but for their signs; distances have none."""
    pixels = (points(900, dimensions=784) * np.linspace(0, 1, 784)).astype(np.float32)
    found = principal_components(pixels)(pixels[:100])
    expected = PCA(64, svd_solver="full").fit(pixels.astype(np.float64)).transform(pixels[:100])
    assert found.shape == (100, 64)
    np.testing.assert_allclose(cdist(found, found), cdist(expected, expected), atol=1e-4)
