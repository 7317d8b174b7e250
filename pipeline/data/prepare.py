"""Stage `prepare`: the IDX files as memory-mapped arrays, split into train, validation and test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import STATS_FILE, Split, images_file, labels_file
from pipeline.data.raw import read_raw, read_source
from pipeline.errors import DataError
from pipeline.shared.files import atomic_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.params import Prepare

_FULL = 60_000  # the number of training images that `validation_images` refers to


def prepare(params: Prepare, raw: Path, folder: Path) -> dict[str, Any]:
    """Decode, check, upright and split the files in `raw` into `folder`.

    Returns:
        What `stats.json` says: the `source`, what the images show (`about`, see `prepared.About`), the raw `files`,
        and per split the number of images, of each class, and the mean grey level in [0, 1].

    Raises:
        FormatError: a file is damaged, or images and labels do not match.
        DataError: a file is missing.
    """
    source = read_source(raw)
    images, labels = read_raw(raw, "train")
    held_out = round(params.validation_images * len(images) / _FULL)
    if not 0 < held_out < len(images):
        raise DataError(
            f"prepare.validation_images = {params.validation_images} of {_FULL:,} leaves {held_out} of "
            f"{len(images):,} images for validation; between 1 and {len(images) - 1:,} were expected"
        )
    order = np.random.default_rng(params.seed).permutation(len(images))
    validation, train = np.sort(order[:held_out]), np.sort(order[held_out:])
    splits: dict[str, Split] = {
        name: (images[rows], None if labels is None else labels[rows])
        for name, rows in (("train", train), ("validation", validation))
    }
    splits["test"] = read_raw(raw, "test")
    classes = len(source["about"]["classes"])
    stats = {
        **{name: source[name] for name in ("source", "about", "files")},
        "splits": {split: _describe(*arrays, classes) for split, arrays in splits.items()},
    }
    with atomic_folder(folder, owns=["*_images.npy", "*_labels.npy", STATS_FILE]) as beside:
        for split, (split_images, split_labels) in splits.items():
            np.save(beside / images_file(split), split_images, allow_pickle=False)
            if split_labels is not None:
                np.save(beside / labels_file(split), split_labels, allow_pickle=False)
        (beside / STATS_FILE).write_text(json.dumps(stats, indent=2) + "\n")
    return stats


def _describe(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None, classes: int) -> dict[str, Any]:
    counts = {} if labels is None else {"per_class": np.bincount(labels, minlength=classes).tolist()}
    return {"images": len(images), **counts, "mean": round(float(images.mean()) / 255, 6)}
