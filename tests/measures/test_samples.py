import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from pipeline.measures import samples as module
from pipeline.measures.samples import (
    Comparison,
    Floats,
    Judged,
    class_balance,
    edge_ratio,
    frechet_distance,
    neighbourhoods,
)


def points(n: int, seed: int = 0, dimensions: int = 5) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, dimensions))


def seen(features: Floats) -> Judged:
    return Judged(features, np.ones((len(features), 1)))


def compare(real: Floats, generated: Floats) -> tuple[float, float, float, float]:
    found = neighbourhoods(seen(real), seen(generated))
    return found.precision, found.recall, found.density, found.coverage


def test_the_frechet_distance_of_a_set_from_itself_is_0() -> None:
    assert frechet_distance(points(300), points(300)) == pytest.approx(0, abs=1e-10)


def test_a_shift_and_a_scale_have_a_closed_form() -> None:
    """Means apart by d, and covariances C and s^2 C: d^2 + (1 - s)^2 tr C."""
    real = points(500)
    shift = np.array([3.0, 0, 0, 4, 0])
    expected = 25 + (1 - 0.5) ** 2 * np.trace(np.cov(real, rowvar=False))
    moved = real.mean(axis=0) + 0.5 * (real - real.mean(axis=0)) + shift
    assert frechet_distance(real, moved) == pytest.approx(expected)


@pytest.mark.parametrize("rank", [5, 2])
def test_the_frechet_distance_is_the_one_with_the_root_of_the_product(rank: int) -> None:
    """Also where a covariance has no inverse: features that are never seen."""
    real, generated = points(400), points(300, seed=1) @ np.diag([1.5] * rank + [0] * (5 - rank)) @ points(5, seed=2)
    first, second = (np.cov(features, rowvar=False) for features in (real, generated))
    root = np.real(sqrtm(first @ second + 1e-12 * np.eye(5)))
    mean = ((real.mean(axis=0) - generated.mean(axis=0)) ** 2).sum()
    assert frechet_distance(real, generated) == pytest.approx(mean + np.trace(first + second - 2 * root), abs=1e-4)


def test_a_set_compared_with_itself_is_all_there() -> None:
    precision, recall, density, coverage = compare(points(600), points(600))
    assert (precision, recall, coverage) == (1, 1, 1)
    assert density > 1  # each also meets itself


def test_sets_far_apart_share_nothing() -> None:
    assert compare(points(600), points(600) + 100) == (0, 0, 0, 0)


def test_one_kind_of_two_is_precise_and_covers_its_share() -> None:
    """Two kinds far apart, a third and two thirds of what is real."""
    one, other = points(200), points(400, seed=1) + 100
    precision, recall, _, coverage = compare(np.concatenate([one, other]), one)
    assert precision == 1
    assert (recall, coverage) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_copies_of_a_few_recall_nothing_and_cover_little() -> None:
    real = points(600)
    precision, recall, _, coverage = compare(real, np.tile(points(60, seed=1), (10, 1)))
    assert precision > 0.8
    assert recall == 0
    assert coverage < 0.5


def test_new_draws_from_the_same_have_the_coverage_that_theory_gives() -> None:
    """Naeem et al. (2020), lemma 2: 1 - (N-1)...(N-k) / (2N-1)...(2N-k), which is 1 - 2^-k for many."""
    *_, density, coverage = compare(points(4000), points(4000, seed=1))
    assert coverage == pytest.approx(1 - 2.0**-module.NEIGHBOURS, abs=0.01)
    assert density == pytest.approx(1, abs=0.03)  # lemma 1


def test_all_four_are_their_definitions_over_all_distances() -> None:
    """Equations 1 to 4 of Naeem et al. (2020), over more than one block."""
    real, generated = points(500), 0.8 * points(400, seed=1) + 0.3
    between = cdist(real, generated)

    def radii(of: Floats, neighbours: int) -> Floats:
        return np.sort(cdist(of, of), axis=1)[:, neighbours]

    close, wide = module.CLOSE_NEIGHBOURS, module.NEIGHBOURS
    expected = (
        (between <= radii(real, close)[:, None]).any(axis=0).mean(),
        (between <= radii(generated, close)).any(axis=1).mean(),
        (between <= radii(real, wide)[:, None]).sum() / (400 * wide),
        (between <= radii(real, wide)[:, None]).any(axis=1).mean(),
    )
    assert compare(real, generated) == pytest.approx(expected)


def test_shares_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(compare(points(700), points(600, seed=1)))
    assert found[0] == found[1]


def test_the_balance_of_classes_is_the_divergence_of_their_means() -> None:
    real = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert class_balance(real, real[::-1]) == pytest.approx(0)
    assert class_balance(real, real[:2]) == pytest.approx(np.log(0.5 / 0.25))
    assert class_balance(real[:2], real) > 10  # a class that real images don't have


def test_edges_of_stripes_have_a_closed_form() -> None:
    """Rows of ink, each beside one without: 27 full steps in each of 28 columns, against 14 rows of full ink."""
    stripes = np.zeros((2, 28, 28), np.uint8)
    stripes[:, ::2] = 255
    flat = np.zeros((1, 28, 28), np.uint8)
    flat[:, :14] = 255
    assert edge_ratio(flat, stripes) == pytest.approx(27)
    assert edge_ratio(stripes, stripes // 5) == pytest.approx(1)  # grey levels make no difference


def test_images_without_ink_have_no_edges() -> None:
    images = np.zeros((6, 28, 28), np.uint8)
    images[:, 3] = 1
    assert Comparison(images, None)(np.zeros_like(images)) == {"edge_ratio": 0}
