"""Piles that are unlike the training images are told from piles that are like them."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.inference.appearance import Appearance


@pytest.fixture(scope="module")
def digits(prepared_sample: Path) -> NDArray[np.uint8]:
    return np.load(prepared_sample / "train_images.npy")


def test_the_figures_are_shares_of_the_range() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 0] = 255  # a whole edge of one of two images
    found = Appearance.of(images)
    assert (found.mean, found.spread) == pytest.approx((1 / 56, 1 / 56))
    assert found.border == pytest.approx(28 / 108 / 2)  # of 4 x 27 pixels at the border


def test_what_a_file_says_is_read_back(digits: NDArray[np.uint8]) -> None:
    usual = Appearance.of(digits)
    assert Appearance.read(usual.facts()).facts() == usual.facts()
    assert usual.facts().keys() == {"images_mean", "images_spread", "images_border"}
    assert Appearance.read({}) is None
    assert Appearance.read({**usual.facts(), "images_mean": "dark"}) is None


REMARKS = {
    "the same digits": (lambda images: images, None),
    "few of them": (lambda images: images[:3], None),
    "none": (lambda images: images[:0], None),
    "digits moved by 4 pixels": (lambda images: np.roll(images, 4, axis=1), None),
    "dark ink": (lambda images: 255 - images, r"mean level 0\.8\d \(theirs 0\.1\d\), .* say --invert"),
    "one in dark ink": (lambda images: 255 - images[:1], "say --invert"),
    "0 and 1": (lambda images: images // 128, "no pixel is above 1 of 255: .* --range 0..1"),
    "noise": (lambda images: np.random.default_rng(0).integers(0, 256, images.shape, np.uint8), "border 0.5"),
    "three times the ink": (
        lambda images: np.maximum(np.maximum(images, np.roll(images, 9, 2)), np.roll(images, -9, 1)),
        r"mean level 0\.3\d \(theirs 0\.1\d\)",
    ),
}


@pytest.mark.parametrize("name", REMARKS)
def test_piles_unlike_the_training_images_are_remarked_upon(name: str, digits: NDArray[np.uint8]) -> None:
    change, remark = REMARKS[name]
    found = Appearance.of(digits).remark(change(digits))
    if remark is None:
        assert found is None
    else:
        assert re.search(remark, found)
