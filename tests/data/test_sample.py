"""The packaged sample is real MNIST in the original format."""

from pathlib import Path

import numpy as np

from pipeline.data.raw import RAW_FILES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from pipeline.sources.idx import read_idx


def test_it_has_the_names_and_the_format_of_the_original(sample: Path) -> None:
    assert {path.name for path in sample.iterdir()} == set(RAW_FILES)
    assert read_idx(sample / TRAIN_IMAGES, 3).shape == (4000, 28, 28)
    assert read_idx(sample / TEST_IMAGES, 3).shape == (1000, 28, 28)


def test_training_and_test_digits_are_mixed_and_distinct(sample: Path) -> None:
    images = [read_idx(sample / name, 3) for name in (TRAIN_IMAGES, TEST_IMAGES)]
    labels = [read_idx(sample / name, 1) for name in (TRAIN_LABELS, TEST_LABELS)]
    assert np.bincount(np.concatenate(labels)).tolist() == [500] * 10
    assert all(np.bincount(split).min() > 80 for split in labels)
    train, test = ({image.tobytes() for image in split} for split in images)
    assert len(train) + len(test) == 5000
    assert not train & test


def test_it_is_ink_on_an_empty_background(sample: Path) -> None:
    images = read_idx(sample / TEST_IMAGES, 3)
    assert images.max() == 255
    assert not images[:, 0, :].any()
    assert 0.1 < images.mean() / 255 < 0.16  # 0.13 in the full MNIST
