"""The raw files: images and labels of two splits, under the names and in the format that MNIST gave them."""

import gzip
from pathlib import Path

from pipeline.data.prepared import Split
from pipeline.shared.files import atomic_file
from pipeline.sources.idx import encode_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
RAW_FILES = (TEST_LABELS, TRAIN_LABELS, TEST_IMAGES, TRAIN_IMAGES)
SOURCE_FILE = "source.json"  # beside them: where they are from, and what they show


def write_raw(folder: Path, train: Split, test: Split) -> None:
    """Write both splits: images uint8 `[n, 28, 28]`, labels uint8 `[n]`, or None; then no file of labels remains."""
    for names, split in (((TRAIN_IMAGES, TRAIN_LABELS), train), ((TEST_IMAGES, TEST_LABELS), test)):
        for name, array in zip(names, split, strict=True):
            if array is None:
                (folder / name).unlink(missing_ok=True)
            else:
                with atomic_file(folder / name) as beside:
                    beside.write_bytes(gzip.compress(encode_idx(array), mtime=0))
