"""Images that lie one after the other in an array: IDX, `.npy` and `.npz` files."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from pipeline.errors import FormatError
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.pixels import fit, misfit, to_grey
from pipeline.sources.places import Place
from pipeline.sources.reading import Reading
from pipeline.sources.rows import ImageSource, Labels, Pixels, Rows
from pipeline.sources.streams import Archive, ArrayStream, Files

_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; of larger ones, rows are converted at once


class ArrayImages(ImageSource):
    """The rows of an array: uint8 `[n, 28, 28]`, `[n, 28, 28, 1 | 3 | 4]`, or any size if they are to be resized."""

    def __init__(self, place: Place, reading: Reading) -> None:
        self.name = place.name
        self.passed_over = Counter()
        self._place, self._reading, self._files = place, reading, Files()
        (name,) = place.files(())
        try:
            if place.ends(name, ".npz"):
                self._images, self._labels = self._open_npz(place.full(name), name)
            else:
                self._images, self._labels = self._files.array(place, name, 3), None
            self._check_shape()
        except BaseException:
            self.close()
            raise
        self.count = len(self._images)
        self.labelled = self._labels is not None

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state((), self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        labels = None if self._labels is None else self._labels.read(start, stop).astype(np.int16)
        step = max(1, _HELD // self._images.row_bytes)
        if stop - start <= step:
            pixels = self._images.read(start, stop)
            return lambda: self._rows(start, stop, self._converted(pixels), labels)
        parts = [self._converted(self._images.read(at, min(at + step, stop))) for at in range(start, stop, step)]
        return lambda: self._rows(start, stop, np.concatenate(parts), labels)

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._files.close()

    def _open_npz(self, path: str, name: str) -> tuple[ArrayStream, ArrayStream | None]:
        archive = Archive(path, self._files.stream(self._place, name, seek=True))
        names = [array for array in archive.names if array != "labels"]
        if len(names) != 1 and "images" not in names:
            raise FormatError(f"{path} holds the arrays {sorted(names)}, expected one, or one named 'images'")
        images = archive.open("images" if "images" in names else names[0], 3)
        if "labels" not in archive.names:
            return images, None
        labels = archive.open("labels", 1)
        check_labels(labels)
        if len(labels) != len(images):
            raise FormatError(f"{path} holds {len(images):,} images and {len(labels):,} labels")
        return images, labels

    def _check_shape(self) -> None:
        shape = self._images.shape
        flat = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))
        reason = misfit(shape[1], shape[2], self._reading) if flat else ""
        if reason is not None:
            raise FormatError(
                f"{self._images.name} holds uint8{list(shape)}, expected uint8[n, 28, 28], 255 = ink"
                f"{'; each ' + reason if reason else ''}"
            )

    def _converted(self, pixels: Pixels) -> Pixels:
        if pixels.ndim == 4:
            pixels = to_grey(pixels)
        if self._reading.any_size and pixels.shape[1:] != IMAGE_SHAPE:
            return np.stack([fit(image) for image in pixels])
        return np.ascontiguousarray(pixels)

    @staticmethod
    def _rows(start: int, stop: int, pixels: Pixels, labels: Labels | None) -> Rows:
        return Rows(start, stop, pixels, labels)


def check_labels(labels: ArrayStream) -> None:
    """Raise `FormatError` unless an array is of one dimension."""
    if len(labels.shape) != 1:
        raise FormatError(f"{labels.name} holds labels as uint8{list(labels.shape)}, expected uint8[n]")
