"""The raw files: images and labels of two splits, under the names and in the format that MNIST gave them."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.prepared import Split, check_images, check_labels, read_json
from pipeline.errors import DataError, FormatError
from pipeline.shared.files import atomic_file
from pipeline.sources.idx import encode_idx, read_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
RAW_FILES = (TEST_LABELS, TRAIN_LABELS, TEST_IMAGES, TRAIN_IMAGES)
SOURCE_FILE = "source.json"  # beside them: where they are from, and what they show
_SPLITS = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}


def write_raw(folder: Path, train: Split, test: Split) -> None:
    """Write both splits: images uint8 `[n, 28, 28]`, labels uint8 `[n]`, or None; then no file of labels remains."""
    for name_of_split, split in (("train", train), ("test", test)):
        for name, array in zip(_SPLITS[name_of_split], split, strict=True):
            if array is None:
                (folder / name).unlink(missing_ok=True)
            else:
                with atomic_file(folder / name) as beside:
                    beside.write_bytes(gzip.compress(encode_idx(array), mtime=0))


def read_source(raw: Path) -> dict[str, Any]:
    """What `download` wrote beside the files: the `source`, what the images show (`about`), and how they lie there.

    Raises:
        DataError: it is missing; FormatError: it is damaged.
    """
    source = read_json(raw / SOURCE_FILE, "download")
    if "source" not in source or "about" not in source:
        raise FormatError(f"{raw / SOURCE_FILE} does not say the source; run `vae download` again")
    return source


def read_raw(raw: Path, split: str) -> Split:
    """The split `train` or `test` as pictures are seen: uint8 `[n, 28, 28]`, and labels from 0, uint8 `[n]`, if any.

    Raises:
        DataError: a file is missing.
        FormatError: a file is damaged, or images and labels do not match.
    """
    source = read_source(raw)
    images_name, labels_name = _SPLITS[split]
    classes, first = len(source["about"]["classes"]), source["first_label"]
    try:
        images = read_idx(raw / images_name, 3)
        labels = read_idx(raw / labels_name, 1) if classes else None
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} was not found; run `vae download` (or `dvc repro`) first") from None
    check_images(images, labels, raw / images_name, raw / labels_name)
    if source["transposed"]:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    if labels is None:
        return images, None
    check_labels(labels, range(first, first + classes), raw / labels_name)
    return images, labels - np.uint8(first)
