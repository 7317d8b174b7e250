"""Stage `prepare`: the IDX files as memory-mapped arrays, split into train, validation and test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data import mnist
from pipeline.data.prepared import STATS_FILE, Digits, check_digits, images_file, labels_file, read_json
from pipeline.errors import DataError, FormatError
from pipeline.shared.files import atomic_folder
from pipeline.sources.idx import read_idx

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.params import Prepare

_FULL = 60_000  # the number of training images that `validation_images` refers to


def prepare(params: Prepare, raw: Path, folder: Path) -> dict[str, Any]:
    """Decode, check and split the files in `raw` into `folder`.

    Returns:
        What `stats.json` says: the `source`, and per split the number of images, of each digit, and the mean grey
        level in [0, 1].

    Raises:
        FormatError: a file is damaged, or images and labels do not match.
        DataError: a file is missing.
    """
    source = read_json(raw / mnist.SOURCE_FILE, "download")
    if "source" not in source:
        raise FormatError(f"{raw / mnist.SOURCE_FILE} does not say the source; run `vae download` again")
    images, labels = _read_digits(raw, mnist.TRAIN_IMAGES.name, mnist.TRAIN_LABELS.name)
    held_out = round(params.validation_images * len(images) / _FULL)
    if not 0 < held_out < len(images):
        raise DataError(
            f"prepare.validation_images = {params.validation_images} of {_FULL:,} leaves {held_out} of "
            f"{len(images):,} images for validation; between 1 and {len(images) - 1:,} were expected"
        )
    order = np.random.default_rng(params.seed).permutation(len(images))
    validation, train = np.sort(order[:held_out]), np.sort(order[held_out:])
    splits: dict[str, Digits] = {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": _read_digits(raw, mnist.TEST_IMAGES.name, mnist.TEST_LABELS.name),
    }
    stats = {**source, "splits": {split: _describe(*digits) for split, digits in splits.items()}}
    with atomic_folder(folder, owns=["*_images.npy", "*_labels.npy", STATS_FILE]) as beside:
        for split, (split_images, split_labels) in splits.items():
            np.save(beside / images_file(split), split_images, allow_pickle=False)
            np.save(beside / labels_file(split), split_labels, allow_pickle=False)
        (beside / STATS_FILE).write_text(json.dumps(stats, indent=2) + "\n")
    return stats


def _read_digits(raw: Path, images_name: str, labels_name: str) -> Digits:
    try:
        images, labels = read_idx(raw / images_name, 3), read_idx(raw / labels_name, 1)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} was not found; run `vae download` (or `dvc repro`) first") from None
    check_digits(images, labels, raw / images_name, raw / labels_name)
    return images, labels


def _describe(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        "images": len(images),
        "per_digit": np.bincount(labels, minlength=10).tolist(),
        "mean": round(float(images.mean()) / 255, 6),
    }
