"""Piles of images to encode: arrays, tables, folders of pictures and tar files, on a disk or behind an address."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError, FormatError
from pipeline.sources.arrays import ArrayImages, check_labels
from pipeline.sources.formats import SUFFIXES as PICTURES
from pipeline.sources.pictures import Pictures
from pipeline.sources.places import Names, Place, find_local, reported
from pipeline.sources.reading import Reading
from pipeline.sources.remote import find_remote
from pipeline.sources.rows import MAX_ROWS, BadRow, ImageSource, Labels, Pixels, Rows
from pipeline.sources.shards import SUFFIXES as TAR
from pipeline.sources.shards import Shards
from pipeline.sources.streams import Files
from pipeline.sources.tables import SUFFIXES as PARQUET
from pipeline.sources.tables import Table

__all__ = ["MAX_ROWS", "BadRow", "ImageSource", "Pixels", "Rows", "open_images"]

_KINDS = {"PNG or JPEG": PICTURES, "Parquet": PARQUET, "tar": TAR}
_IMAGES = "an IDX, .npy, .npz, .parquet, .tar, PNG or JPEG file, or a folder or pattern of the last four"


def open_images(path: str | Path, labels: str | Path | None = None, **choices: Any) -> ImageSource:
    """Open a pile of images, and the labels that belong to it.

    Args:
        path: an array (IDX, `.gz` or not; `.npy`; `.npz` with labels in `labels`), a Parquet file (column `image`:
            784 bytes, 784 integers or PNG or JPEG; labels in `label`), a PNG or JPEG picture (labelled by its folder,
            if that is called 0 to 255) or a tar file (`key.png`, `key.cls`); for the last three also a folder with all
            that lies below it in the order of the paths, or a pattern like `pile/**/*.png`. Arrays are uint8
            `[n, 28, 28]`, or `[n, 28, 28, 1 | 3 | 4]`. An address (`s3://...`, `https://...`) may stand for a path.
        labels: an IDX or `.npy` file of uint8 labels, in place of those that the pile brings.
        choices: how the pile is read, by the names of `Reading`.

    Raises:
        DataError: nothing there, nothing in it, or not readable; FormatError: not what is described above, or labels
            that do not match.
    """
    reading = Reading(**choices)
    place = _find(path, _IMAGES)
    with reported(place.name):
        source = _open(place, reading, carry_labels=labels is None)
    try:
        if source.count == 0:
            raise DataError(f"{source.name} holds no image")
        if labels is not None:
            source = _Labelled(source, _find(labels, "labels in an IDX or .npy file"))
        source.reopen = partial(open_images, path, labels, **choices)
        return source
    except BaseException:
        source.close()
        raise


def _find(path: str | Path, expected: str) -> Place:
    name = str(path)
    return find_remote(name, expected) if "://" in name else find_local(name, expected)


def _open(place: Place, reading: Reading, *, carry_labels: bool) -> ImageSource:
    kinds = [kind for kind, suffixes in _KINDS.items() if place.ends(place.name, suffixes)]
    if place.kind == "file" and not kinds:
        return ArrayImages(place, reading)
    passed_over: Counter[str] = Counter()
    names = Names(
        place.files([suffix for suffixes in _KINDS.values() for suffix in suffixes], passed_over), passed_over
    )
    if not names:
        raise DataError(f"{place.name} holds no image; expected {_IMAGES}")
    if place.kind != "file":
        kinds = [k for k, suffixes in _KINDS.items() if any(s.endswith(f) for s in suffixes for f in names.suffixes)]
    if len(kinds) > 1:
        raise DataError(f"{place.name} holds {' and '.join(kinds)} files; choose with a pattern like *.png")
    match kinds[0]:
        case "Parquet":
            return Table(place, names, reading, carry_labels=carry_labels)
        case "tar":
            return Shards(place, names, reading)
        case _:
            return Pictures(place, names, reading)


class _Labelled(ImageSource):
    """A source with the labels of another file."""

    def __init__(self, source: ImageSource, place: Place) -> None:
        self.name, self.count, self.labelled = source.name, source.count, True
        self.labels_from, self.passed_over = place.name, source.passed_over
        self._source, self._place, self._files = source, place, Files()
        try:
            (name,) = place.files(()) if place.kind == "file" else ("",)
            if not name:
                raise DataError(f"{place.name} is no file; expected labels in an IDX or .npy file")
            self._labels = self._files.array(place, name, 1)
            check_labels(self._labels)
            if self.count is not None:
                self._compare(self.count)
        except BaseException:
            self._files.close()
            raise

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._source.end

    def state(self) -> str:
        """See `ImageSource.state`."""
        return f"{self._source.state()}{self._place.state(())}"

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        rest = self._source.read(start, stop)
        if self.end is not None and self.count is None:
            self._compare(self.end)
        last = min(stop, len(self._labels))
        if last < stop and self.end is None:
            raise FormatError(f"{self.name} holds more images than {self._labels.name} labels ({last:,})")
        values = self._labels.read(start, last).astype(np.int16) if start < last else np.empty(0, np.int16)
        return lambda: _relabelled(rest(), values)

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._source.close()
        self._files.close()

    def _compare(self, count: int) -> None:
        if count != len(self._labels):
            raise FormatError(f"{self.name} holds {count:,} images, {self._labels.name} {len(self._labels):,} labels")


def _relabelled(rows: Rows, labels: Labels) -> Rows:
    kept = np.ones(rows.stop - rows.start, bool)
    kept[[bad.index - rows.start for bad in rows.bad]] = False
    return replace(rows, labels=labels[kept])
