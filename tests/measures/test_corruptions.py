import numpy as np
import pytest

from pipeline.measures.corruptions import CORRUPTIONS, corrupt

GENERATOR = np.random.default_rng(0)
LABELS = np.repeat(np.arange(10, dtype=np.uint8), 5)
IMAGES = GENERATOR.integers(0, 256, (50, 28, 28), np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_seed_gives_the_same_images_and_none_is_as_it_was(name: str) -> None:
    before = IMAGES.copy()
    found = corrupt(name, IMAGES, LABELS, seed=1)
    assert found.dtype == np.uint8
    assert found.shape == IMAGES.shape
    assert (found == corrupt(name, IMAGES, LABELS, seed=1)).all()
    assert not (found == IMAGES).all(axis=(1, 2)).any()
    assert (before == IMAGES).all()


@pytest.mark.parametrize("name", ["moved", "cut", "noisy", "scrambled"])
def test_another_seed_gives_others(name: str) -> None:
    assert (corrupt(name, IMAGES, LABELS, seed=1) != corrupt(name, IMAGES, LABELS, seed=2)).any()


def one(row: int, column: int, level: int = 255) -> np.ndarray:
    """An image of a single bright pixel."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, row, column] = level
    return image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("turned", one(27 - 5, 3)),
        ("upside_down", one(27 - 3, 27 - 5)),
        ("mirrored", one(3, 27 - 5)),
        ("inverted", 255 - one(3, 5)),
    ],
)
def test_where_a_pixel_goes(name: str, expected: np.ndarray) -> None:
    assert (corrupt(name, one(3, 5), None, seed=0) == expected).all()


def test_a_moved_pixel_is_six_pixels_from_where_it_was() -> None:
    found = corrupt("moved", np.repeat(one(10, 12), 100, axis=0), None, seed=0)
    places = {tuple(int(value) for value in np.argwhere(image)[0]) for image in found}
    assert places == {(4, 12), (16, 12), (10, 6), (10, 18)}


def test_what_is_moved_out_of_the_picture_is_lost() -> None:
    found = corrupt("moved", np.repeat(one(0, 12), 100, axis=0), None, seed=0)
    assert set(found.reshape(100, -1).max(axis=1)) == {0, 255}


def test_a_cut_leaves_one_half() -> None:
    white = np.full((100, 28, 28), 255, np.uint8)
    found = corrupt("cut", white, None, seed=0)
    assert (found.reshape(100, -1).mean(axis=1) == 127.5).all()
    assert len(np.unique(found, axis=0)) == 4


def test_noise_has_the_width_that_it_says() -> None:
    grey = np.full((100, 28, 28), 128, np.uint8)
    noise = corrupt("noisy", grey, None, seed=0).astype(float) - 128
    assert noise.std() == pytest.approx(32, rel=0.02)
    assert abs(noise.mean()) < 0.5


def test_blur_keeps_the_ink_and_spreads_it_by_a_pixel() -> None:
    found = corrupt("blurred", one(14, 14, 250), None, seed=0)[0].astype(float)
    rows = np.arange(28) - 14
    assert found.sum() == pytest.approx(250, rel=0.05)
    assert (found.sum(axis=1) * rows**2).sum() / found.sum() == pytest.approx(1, rel=0.1)


def test_quarters_come_from_an_image_of_another_class() -> None:
    flat = np.broadcast_to(LABELS[:, None, None], (50, 28, 28)).copy()
    found = corrupt("scrambled", flat, LABELS, seed=0)
    assert (found[:, :14, :14] == flat[:, :14, :14]).all()
    assert (found[:, 14:, 14:] == flat[:, 14:, 14:]).all()
    assert (found[:, :14, 14:] != flat[:, :14, 14:]).all()
    assert (found[:, 14:, :14] == found[:, :14, 14:].max(axis=(1, 2), keepdims=True)).all()
