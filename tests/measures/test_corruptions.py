import numpy as np
import pytest
from scipy.stats import norm

from pipeline.measures.corruptions import CORRUPTIONS, Pixels, blurred, corrupt

IMAGES = np.random.default_rng(0).integers(1, 256, (400, 28, 28), np.uint8)
LABELS = (np.arange(400) % 10).astype(np.uint8)
ROWS = {
    "turned": np.rot90,
    "upside_down": np.flipud,
    "mirrored": np.fliplr,
    "inverted": lambda image: 255 - image,
}


@pytest.mark.parametrize("labels", [LABELS, None], ids=["labels", "no labels"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_another_image_of_the_same_kind_and_the_same_for_the_same_seed(
    name: str, labels: Pixels | None
) -> None:
    before = IMAGES.copy()
    found = corrupt(name, IMAGES, labels, seed=1)
    assert (found.dtype, found.shape) == (np.uint8, IMAGES.shape)
    assert (found != IMAGES).any(axis=(1, 2)).all()
    assert found.tobytes() == corrupt(name, IMAGES, labels, seed=1).tobytes()
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize("name", ["moved", "cut", "noisy", "scrambled"])
def test_another_seed_draws_others(name: str) -> None:
    assert not np.array_equal(corrupt(name, IMAGES, LABELS, 0), corrupt(name, IMAGES, LABELS, 1))


@pytest.mark.parametrize("name", ROWS)
def test_each_image_is_what_the_name_says(name: str) -> None:
    for found, image in zip(corrupt(name, IMAGES, LABELS, 0), IMAGES, strict=True):
        assert np.array_equal(found, ROWS[name](image))


def test_a_moved_image_lost_six_rows_or_columns_on_one_side() -> None:
    kept = [[found[6:], found[:-6], found[:, 6:], found[:, :-6]] for found in corrupt("moved", IMAGES, LABELS, 0)]
    parts = [[image[:-6], image[6:], image[:, :-6], image[:, 6:]] for image in IMAGES]
    ways = np.array([list(map(np.array_equal, *pair)) for pair in zip(kept, parts, strict=True)])
    assert (ways.sum(axis=1) == 1).all()
    assert ways.any(axis=0).all()
    lost = (corrupt("moved", IMAGES, LABELS, 0) == 0).sum(axis=(1, 2))
    assert (lost == 6 * 28).all()


def test_a_cut_image_has_nothing_in_one_half_and_the_other_as_it_was() -> None:
    found = corrupt("cut", IMAGES, LABELS, 0)
    empty = found == 0
    halves = np.stack([empty[:, half].all(axis=(1, 2)) for half in (slice(14), slice(14, 28))], axis=1)
    sides = np.stack([empty[:, :, half].all(axis=(1, 2)) for half in (slice(14), slice(14, 28))], axis=1)
    ways = np.concatenate([halves, sides], axis=1)
    assert (ways.sum(axis=1) == 1).all()
    assert ways.any(axis=0).all()
    assert (empty.sum(axis=(1, 2)) == 28 * 14).all()
    assert np.array_equal(found[~empty], IMAGES[~empty])


def test_noise_has_a_standard_deviation_of_50_levels() -> None:
    grey = np.full((50, 28, 28), 128, np.uint8)
    # Cut off at 2.54 deviations below and above.
    inside = norm.cdf(2.54) - norm.cdf(-2.54)
    spread = np.sqrt(inside - 2 * 2.54 * norm.pdf(2.54) + 2.54**2 * (1 - inside))
    assert corrupt("noisy", grey, None, 0).std() == pytest.approx(50 * spread, rel=0.02)


@pytest.mark.parametrize(
    ("labels", "own"),
    [
        (LABELS, LABELS),
        (np.zeros(400, np.uint8), np.arange(400)),
        (None, np.arange(400)),
        (np.repeat([7, 3], [399, 1]).astype(np.uint8), np.repeat([7, 3], [399, 1])),
    ],
    ids=["ten classes", "one class", "no labels", "two, one of which has one image"],
)
def test_scrambled_quarters_come_from_images_of_other_classes(labels: Pixels | None, own: Pixels) -> None:
    """Image i has level i // 256 in one pixel and i % 256 in the next, everywhere: its number is seen in each part."""
    numbers = np.arange(400)
    pair = np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)
    found = corrupt("scrambled", np.tile(pair[:, None], (1, 28, 14)), labels, 0)
    quarters = found.reshape(400, 2, 14, 2, 7, 2).transpose(0, 1, 3, 2, 4, 5).reshape(400, 4, -1, 2)
    assert (quarters == quarters[:, :, :1]).all()
    sources = quarters[:, :, 0].astype(int) @ [256, 1]
    assert (own[sources] != own[:, None]).all()


def test_quarters_stay_where_they_were() -> None:
    """Each pixel says which one it is."""
    places = np.tile(np.arange(784).reshape(28, 28).astype(np.uint8), (20, 1, 1))
    assert np.array_equal(corrupt("scrambled", places, None, 0), places)


def test_a_point_is_blurred_to_the_gaussian() -> None:
    point = np.zeros((1, 28, 28), np.uint8)
    point[0, 14, 14] = 255
    found = blurred(point, 1.0)[0]
    bell = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    expected = 255 * np.outer(bell, bell) / bell.sum() ** 2
    assert np.abs(found[11:18, 11:18] - expected).max() <= 1
    assert not np.delete(found, range(11, 18), axis=0).any()
