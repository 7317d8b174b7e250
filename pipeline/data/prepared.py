"""The arrays that `prepare` writes, and how the later stages read them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.shared.interface import IMAGE_SHAPE

STATS_FILE = "stats.json"

Split = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]


@dataclass(frozen=True)
class About:
    """What a data set shows, in the words of texts, legends and figures."""

    title: str
    noun: str
    """What an image shows, in the singular; its plural ends in s."""
    classes: tuple[str, ...]
    """Their names, by label; empty if there are no labels."""
    licence: str
    """Empty if it is not known; so with the citation."""
    citation: str

    @property
    def a_noun(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    @property
    def kind(self) -> str:
        """What a class is called."""
        return "class" if self.noun == "image" else self.noun

    def as_json(self) -> dict[str, Any]:
        """What `stats.json` holds."""
        return {**asdict(self), "classes": list(self.classes)}


def images_file(split: str) -> str:
    """Name of the array of images: uint8 `[n, 28, 28]`."""
    return f"{split}_images.npy"


def labels_file(split: str) -> str:
    """Name of the array of labels: uint8 `[n]`; there is none if the images have no labels."""
    return f"{split}_labels.npy"


def read_stats(prepared: Path) -> dict[str, Any]:
    """Read what `prepare` left in `stats.json`.

    Raises:
        DataError: there is none.
    """
    return read_json(prepared / STATS_FILE, "prepare")


def read_about(prepared: Path) -> About:
    """What the prepared images show.

    Raises:
        DataError: `stats.json` is missing; FormatError: it does not say so.
    """
    try:
        about = read_stats(prepared)["about"]
        return About(**{**about, "classes": tuple(about["classes"])})
    except (KeyError, TypeError):
        raise FormatError(
            f"{prepared / STATS_FILE} does not say what the images show; run `vae prepare` again"
        ) from None


def read_split(prepared: Path, split: str) -> Split:
    """Images uint8 `[n, 28, 28]` of a split and, if they have any, labels uint8 `[n]`, memory-mapped.

    Raises:
        DataError: they are missing.
        FormatError: they are not what `prepare` writes.
    """
    names = images_file(split), labels_file(split)
    classes = len(read_about(prepared).classes)
    images, labels = _load(prepared / names[0]), _load(prepared / names[1]) if classes else None
    check_images(images, labels, prepared / names[0], prepared / names[1])
    if labels is not None:
        check_labels(labels, range(classes), prepared / names[1])
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


def check_images(
    images: NDArray[np.uint8], labels: NDArray[np.uint8] | None, images_path: Path, labels_path: Path
) -> None:
    """Raise `FormatError` unless these are uint8 `[n, 28, 28]`, at least one, and as many labels, if any."""
    if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE:
        raise FormatError(f"{images_path} holds {images.dtype}{list(images.shape)}, expected uint8[n, 28, 28]")
    if len(images) == 0:
        raise FormatError(f"{images_path} holds no image")
    if labels is None:
        return
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise FormatError(f"{labels_path} holds {labels.dtype}{list(labels.shape)}, expected uint8[n]")
    if len(images) != len(labels):
        raise FormatError(f"{images_path} holds {len(images):,} images, {labels_path} {len(labels):,} labels")


def check_labels(labels: NDArray[np.uint8], expected: range, path: Path) -> None:
    """Raise `FormatError` unless all labels, uint8 `[n]`, are `expected`."""
    wrong = (labels < expected.start) | (labels >= expected.stop)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise FormatError(
            f"{path} holds {labels[row]} in row {row}, labels are {expected.start} to {expected.stop - 1}"
        )
