"""The arrays that `prepare` writes, and how the later stages read them."""

import json
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.shared.interface import IMAGE_SHAPE

STATS_FILE = "stats.json"

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def images_file(split: str) -> str:
    """Name of the array of images: uint8 `[n, 28, 28]`."""
    return f"{split}_images.npy"


def labels_file(split: str) -> str:
    """Name of the array of labels: uint8 `[n]`, 0 to 9."""
    return f"{split}_labels.npy"


def read_stats(prepared: Path) -> dict[str, Any]:
    """Read what `prepare` left in `stats.json`.

    Raises:
        DataError: there is none.
    """
    return read_json(prepared / STATS_FILE, "prepare")


def read_split(prepared: Path, split: str) -> Digits:
    """Images uint8 `[n, 28, 28]` and labels uint8 `[n]` of a split, memory-mapped.

    Raises:
        DataError: they are missing.
        FormatError: they are not what `prepare` writes.
    """
    images, labels = (_load(prepared / name) for name in (images_file(split), labels_file(split)))
    check_digits(images, labels, prepared / images_file(split), prepared / labels_file(split))
    return images, labels


def _load(path: Path) -> NDArray[np.uint8]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive")
    except FileNotFoundError:
        raise DataError(f"{path} was not found; run `vae prepare` (or `dvc repro`) first") from None
    except (ValueError, EOFError, BadZipFile, TokenError) as error:
        raise FormatError(f"{path} is not an .npy array; run `vae prepare` again") from error
    return array


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """Read a JSON object that `stage` wrote; a `DataError` names the stage to run."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        raise DataError(f"{path} was not found; run `vae {stage}` (or `dvc repro`) first") from None
    except ValueError as error:
        raise FormatError(f"{path} is not a JSON object; run `vae {stage}` again") from error
    return content


def check_digits(images: NDArray[np.uint8], labels: NDArray[np.uint8], images_path: Path, labels_path: Path) -> None:
    """Raise `FormatError` unless these are uint8 `[n, 28, 28]` and as many labels from 0 to 9, at least one."""
    if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE:
        raise FormatError(f"{images_path} holds {images.dtype}{list(images.shape)}, expected uint8[n, 28, 28]")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise FormatError(f"{labels_path} holds {labels.dtype}{list(labels.shape)}, expected uint8[n]")
    if len(images) != len(labels):
        raise FormatError(f"{images_path} holds {len(images):,} images, {labels_path} {len(labels):,} labels")
    if len(labels) == 0:
        raise FormatError(f"{images_path} holds no image")
    if labels.max() > 9:
        row = int(np.argmax(labels > 9))
        raise FormatError(f"{labels_path} holds {labels[row]} in row {row}, labels are 0 to 9")
