"""Stage `prepare`: the IDX files as memory-mapped arrays, split into train, validation and test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import STATS_FILE, Split, check_images, check_labels, images_file, labels_file, read_json
from pipeline.data.raw import SOURCE_FILE, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from pipeline.errors import DataError, FormatError
from pipeline.shared.files import atomic_folder
from pipeline.sources.idx import read_idx

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
    source = read_json(raw / SOURCE_FILE, "download")
    if "source" not in source or "about" not in source:
        raise FormatError(f"{raw / SOURCE_FILE} does not say the source; run `vae download` again")
    images, labels = _read(raw, TRAIN_IMAGES, TRAIN_LABELS, source)
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
    splits["test"] = _read(raw, TEST_IMAGES, TEST_LABELS, source)
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


def _read(raw: Path, images_name: str, labels_name: str, source: dict[str, Any]) -> Split:
    """A split as the picture is seen, its labels counted from 0."""
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


def _describe(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None, classes: int) -> dict[str, Any]:
    counts = {} if labels is None else {"per_class": np.bincount(labels, minlength=classes).tolist()}
    return {"images": len(images), **counts, "mean": round(float(images.mean()) / 255, 6)}
