import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pipeline.evaluating import probe_figures as module
from pipeline.evaluating.probe_figures import Features, knn_accuracy, linear_probe_accuracy

TEN = np.arange(10, dtype=np.uint8)


def cloud(n: int, spread: float, seed: int, dtype: type = np.float64) -> Features:
    """Ten digits around points of a circle, which no straight line divides from all others at once."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, n).astype(np.uint8)
    angles = labels * (2 * np.pi / 10)
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1) + generator.normal(0, spread, (n, 2))
    return Features(values.astype(dtype), labels)


@pytest.mark.parametrize("neighbours", [1, 4, 5, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_neighbours_agree_with_scikit_learn(
    neighbours: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over tiles that the numbers do not divide, and with ties in the vote."""
    monkeypatch.setattr(module, "_TILE", 700)
    train, test = cloud(3000, 0.4, 0, dtype), cloud(611, 0.4, 1, dtype)
    reference = KNeighborsClassifier(neighbours, algorithm="brute").fit(train.values, train.labels)
    found = knn_accuracy(train, test, neighbours)
    assert 0.3 < found < 0.9
    assert found == pytest.approx(reference.score(test.values, test.labels), abs=1e-12)


def test_all_training_digits_may_vote() -> None:
    """Then the commonest wins, or of equals the smallest."""
    train = Features(np.eye(10), TEN)
    assert knn_accuracy(train, train, 1) == 1
    assert knn_accuracy(train, train, 10) == 0.1


def test_a_tile_smaller_than_the_number_of_neighbours_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = cloud(200, 0.3, 0), cloud(100, 0.3, 1)
    expected = knn_accuracy(train, test, 20)
    monkeypatch.setattr(module, "_TILE", 7)
    assert knn_accuracy(train, test, 20) == expected


def test_nearest_neighbours_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(knn_accuracy(cloud(2000, 0.4, 0), cloud(1000, 0.4, 1), 5))
    assert found[0] == found[1]


def test_a_linear_probe_tells_what_straight_lines_divide() -> None:
    """Digits on a circle, far from the origin: each has a direction in which it is the farthest."""
    train, test = cloud(4000, 0.03, 0), cloud(1000, 0.03, 1)
    shifted = [Features(features.values + 50, features.labels) for features in (train, test)]
    assert linear_probe_accuracy(train, test) > 0.98
    assert linear_probe_accuracy(*shifted) == pytest.approx(linear_probe_accuracy(train, test), abs=0.005)


def test_a_linear_probe_cannot_tell_rings_apart_as_neighbours_can() -> None:
    """Two digits at the same mean: a line does no better than chance."""
    generator = np.random.default_rng(0)
    labels = np.tile([0, 1], 1000).astype(np.uint8)
    angles = generator.uniform(0, 2 * np.pi, 2000)
    values = (labels + 1)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    train, test = Features(values[:1500], labels[:1500]), Features(values[1500:], labels[1500:])
    assert knn_accuracy(train, test, 5) > 0.99
    assert linear_probe_accuracy(train, test) < 0.65


def test_features_without_meaning_leave_chance() -> None:
    generator = np.random.default_rng(0)
    train, test = (Features(generator.standard_normal((n, 3)), np.tile(TEN, n // 10)) for n in (2000, 2000))
    for found in (knn_accuracy(train, test, 5), linear_probe_accuracy(train, test)):
        assert found == pytest.approx(0.1, abs=5 * np.sqrt(0.1 * 0.9 / 2000))
