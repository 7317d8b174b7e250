"""Piles of images to encode: IDX (plain or .gz), .npy, .npz, or a folder of PNG files."""

import contextlib
import hashlib
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.idx import read_idx
from pipeline.errors import DataError, FormatError
from pipeline.files import sha256
from pipeline.interface import IMAGE_SHAPE

Pixels = NDArray[np.uint8]
_HEIGHT, _WIDTH = IMAGE_SHAPE


@dataclass(frozen=True)
class ImageSource:
    """A pile of images that is read piece by piece."""

    path: Path
    count: int
    read: Callable[[int, int], Pixels]
    """`read(start, stop)` gives uint8 `[stop - start, 28, 28]`."""
    sha256: str
    labels: Pixels | None = None
    """uint8 `[count]`, or None."""


def open_images(path: Path, labels: Path | None = None) -> ImageSource:
    """Open a pile of images, and the labels that belong to it.

    Args:
        path: an IDX file (`.gz` or not), `.npy`, `.npz` (one image array; labels in `labels`), or a folder of PNG
            files, which are taken in the order of their names.
        labels: an IDX or `.npy` file of uint8 labels.

    Raises:
        DataError: nothing there, or an empty folder.
        FormatError: not images of 28 x 28 bytes, or labels that do not match them.
    """
    if not path.exists():
        raise DataError(f"{path} was not found; expected an IDX, .npy or .npz file or a folder of PNG files")
    source = _open(path)
    if source.count == 0:
        raise DataError(f"{path} holds no image")
    if labels is None:
        return source
    values = _read_labels(labels)
    if len(values) != source.count:
        raise FormatError(f"{path} holds {source.count:,} images, {labels} {len(values):,} labels")
    return ImageSource(source.path, source.count, source.read, source.sha256, values)


def _open(path: Path) -> ImageSource:
    if path.is_dir():
        return _open_folder(path)
    match path.suffix:
        case ".npy":
            return _from_array(path, _load_npy(path))
        case ".npz":
            return _open_npz(path)
        case _:
            return _from_array(path, read_idx(path, 3))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever NumPy, zipfile and zlib raise over damaged bytes into a `FormatError`."""
    try:
        yield
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError) as error:
        raise FormatError(
            f"{path} is not a readable {path.suffix} file of plain arrays; write it again with numpy.save or savez"
        ) from error


def _load_npy(path: Path) -> Pixels:
    """An array, memory-mapped."""
    with _damage_named(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive")
        return array


def _load_npz(path: Path) -> dict[str, Pixels]:
    """All arrays of an archive by name."""
    with _damage_named(path):
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("a single array")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("an archive of other files")
        return arrays


def _from_array(path: Path, array: Pixels, labels: Pixels | None = None) -> ImageSource:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1:] != IMAGE_SHAPE:
        raise FormatError(
            f"{path} holds {array.dtype}{list(array.shape)}, expected uint8[n, {_HEIGHT}, {_WIDTH}], 255 = ink"
        )
    return ImageSource(
        path, len(array), lambda start, stop: np.ascontiguousarray(array[start:stop]), sha256(path), labels
    )


def _open_npz(path: Path) -> ImageSource:
    arrays = _load_npz(path)
    labels = arrays.pop("labels", None)
    images = arrays.get("images") if "images" in arrays else next(iter(arrays.values()), None)
    if images is None or (len(arrays) > 1 and "images" not in arrays):
        raise FormatError(f"{path} holds the arrays {sorted(arrays)}, expected one, or one named 'images'")
    source = _from_array(path, images, labels)
    if labels is not None:
        _check_labels(path, labels)
        if len(labels) != source.count:
            raise FormatError(f"{path} holds {source.count:,} images and {len(labels):,} labels")
    return source


def _open_folder(path: Path) -> ImageSource:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")
    if not files:
        raise DataError(f"{path} holds no .png file; expected a folder of PNG images")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{sha256(file)}  {file.name}\n".encode())
    return ImageSource(
        path,
        len(files),
        lambda start, stop: np.stack([*map(_read_png, files[start:stop])]),
        digest.hexdigest(),
    )


def _read_png(path: Path) -> Pixels:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (_WIDTH, _HEIGHT):
                raise FormatError(f"{path} is {image.width} x {image.height} pixels, expected {_WIDTH} x {_HEIGHT}")
            if image.mode.startswith("I"):
                raise FormatError(f"{path} has 16 bits per pixel, expected 8")
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} is not a readable PNG image; mend or remove it") from error


def _read_labels(path: Path) -> Pixels:
    if not path.exists():
        raise DataError(f"{path} was not found; expected labels in an IDX or .npy file")
    labels: Pixels = _load_npy(path) if path.suffix == ".npy" else read_idx(path, 1)
    _check_labels(path, labels)
    return labels


def _check_labels(path: Path, labels: Pixels) -> None:
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise FormatError(f"{path} holds labels as {labels.dtype}{list(labels.shape)}, expected uint8[n]")
