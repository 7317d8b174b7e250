import numpy as np
import pytest

from pipeline.evaluating.sample_figures import choose, compare_with_floor, count_samples

GENERATOR = np.random.default_rng(0)
FLAT = np.full((30, 28, 28), 200, np.uint8)
NOISE = GENERATOR.integers(0, 256, (20, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("train", "test", "count"),
    [(55_000, 10_000, 10_000), (240_000, 40_000, 10_000), (3_667, 1_000, 1_000), (60, 90, 60)],
)
def test_as_many_of_each_kind_as_there_are_up_to_ten_thousand(train: int, test: int, count: int) -> None:
    assert count_samples(train, test) == count


def test_different_rows_are_chosen_in_their_order() -> None:
    rows = choose(1000, 300, np.random.default_rng(3))
    assert (np.diff(rows) > 0).all()
    assert choose(7, 7, np.random.default_rng(3)).tolist() == list(range(7))
    assert rows.tolist() != choose(1000, 300, np.random.default_rng(4)).tolist()


def test_the_floor_is_what_the_comparison_finds_of_training_images() -> None:
    """Flat images have no edges, noise has as many as noise."""
    compare, rows = compare_with_floor(None, FLAT, NOISE, seed=0)
    assert rows == {"floor": {"edge_ratio": 0.0}}
    assert compare(NOISE) == {"edge_ratio": 1.0}
    _, rows = compare_with_floor(None, NOISE[::-1], NOISE, seed=0)
    assert rows == {"floor": {"edge_ratio": 1.0}}
