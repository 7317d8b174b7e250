"""Images that lie one after the other in arrays: IDX, `.npy` and `.npz` files."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.array_files import ZIP, Archive, ArrayStream, open_array
from pipeline.sources.kinds import ARRAYS, SUFFIXES, kind_of_name
from pipeline.sources.label_files import LabelStream
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.pairs import Layout, choose_pair, read_layout
from pipeline.sources.pixels import misfit, shape_all, to_grey
from pipeline.sources.places import Names, Place
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import ImageSource, Labels, Pixels, Rows, join, select
from pipeline.sources.streams import Files

_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; of larger ones, rows are converted at once
_LOOKED_AT = 16 << 20  # bytes at a time to find the range of values


class _File:
    """One file of an array of images, and their labels if it holds them."""

    def __init__(self, place: Place, name: str, reading: Reading) -> None:
        self._files = Files()
        try:
            self.images, self.labels = self._open(place, name, reading)
            self.layout = _check(self.images, reading)
            if self.labels is not None and len(self.labels) != len(self.images):
                raise FormatError(
                    f"{self.images.name} holds {len(self.images):,} images and {len(self.labels):,} labels"
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._files.close()

    def _is_nameless_zip(self, place: Place, name: str) -> bool:
        return kind_of_name(place.bare(name)) is None and self._files.stream(place, name).peek(2).startswith(ZIP)

    def _open(self, place: Place, name: str, reading: Reading) -> tuple[ArrayStream, LabelStream | None]:
        if not (place.ends(name, ".npz") or self._is_nameless_zip(place, name)):
            for option, wanted in (("--array", reading.array), ("--labels-from", reading.labels_from)):
                if wanted not in (None, NONE):
                    raise FormatError(f"{place.full(name)} holds one array, without a name; leave {option} out")
            return open_array(self._files, place, name), None
        archive = Archive(place.full(name), self._files.stream(place, name, seek=True))
        images, labels = choose_pair(archive.name, {array: archive.about(array) for array in archive.names}, reading)
        if labels is None:
            return archive.open(images), None
        return archive.open(images), LabelStream.of_array(lambda: archive.open(labels), f"array {labels}")


class Arrays(ImageSource):
    """The rows of arrays, file after file; see `read_layout` for their shapes and `Levels` for their values."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        counts, labels = [], []
        bytes_alone = reading.value_range in (None, (0.0, 255.0))
        for index in range(len(names)):
            file = self._open(index)
            counts.append(len(file.images))
            labels.append(file.labels)
            bytes_alone &= file.images.dtype == np.uint8
            file.close()
        self._starts = [0, *accumulate(counts)]
        self.count = self._starts[-1]
        self.labelled = any(one is not None for one in labels)
        self.labels_from = next((one.name for one in labels if one is not None), "")
        self.classes = next((one.classes for one in labels if one is not None), ())
        if any(one is not None and one.classes != self.classes for one in labels):
            raise FormatError(f"{self.name} has other names of classes in one file than in another; use numbers")
        self._levels = BYTES if bytes_alone or not self.count else self._find_levels()
        self._file, self._index = self._open(0), 0

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[ARRAYS], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        parts = [self._read(*piece) for piece in self._pieces(start, stop)]
        return lambda: join(start, [part() for part in parts])

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._file.close()

    def _open(self, index: int) -> _File:
        return _File(self._place, self._names[index], self._reading)

    def _find_levels(self) -> Levels:
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)

        def pieces() -> Iterator[tuple[str, NDArray[Any]]]:
            for index in range(len(self._names)):
                file = self._open(index)
                step = max(1, _LOOKED_AT // file.images.row_bytes)
                for at in range(0, len(file.images), step):
                    yield file.images.name, file.images.read(at, min(at + step, len(file.images)))
                file.close()

        return find_levels(self.name, pieces())

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut rows where a file ends."""
        while start < stop:
            end = min(stop, self._starts[bisect_right(self._starts, start)])
            yield start, end
            start = end

    def _read(self, start: int, stop: int) -> Callable[[], Rows]:
        index = bisect_right(self._starts, start) - 1
        if index != self._index:
            self._file.close()
            self._file, self._index = self._open(index), index
        file, offset = self._file, self._starts[index]
        labels = None if file.labels is None else file.labels.read(start - offset, stop - offset)
        step = max(1, _HELD // max(1, file.images.row_bytes))
        if stop - start <= step:
            values = file.images.read(start - offset, stop - offset)
            return lambda: self._rows(start, [self._convert(file, values)], labels, offset)
        parts = []
        for at in range(start, stop, step):
            values = file.images.read(at - offset, min(at + step, stop) - offset)
            parts.append(self._convert(file, values))
        return lambda: self._rows(start, parts, labels, offset)

    def _convert(self, file: _File, values: NDArray[Any]) -> tuple[Pixels, dict[int, str]]:
        """28 x 28 grey levels, and what is wrong with some rows."""
        pixels, wrong = self._levels(_arranged(values, file.layout))
        images, reasons = shape_all(to_grey(pixels) if pixels.ndim == 4 else pixels, self._reading)
        return images, reasons | dict.fromkeys(np.flatnonzero(wrong).tolist(), self._levels.reason)

    def _rows(
        self,
        start: int,
        parts: list[tuple[Pixels, dict[int, str]]],
        labels: tuple[Labels, dict[int, str]] | None,
        offset: int,
    ) -> Rows:
        pixels = parts[0][0] if len(parts) == 1 else np.concatenate([part for part, _ in parts])
        firsts = accumulate((len(part) for part, _ in parts), initial=0)
        reasons = {
            first + row: reason for first, (_, some) in zip(firsts, parts, strict=False) for row, reason in some.items()
        }
        numbers, unknown = (None, {}) if labels is None else labels
        if numbers is None and self.labelled:  # by another file
            numbers = np.full(len(pixels), -1, np.int16)
        name = self._place.full(self._names[bisect_right(self._starts, start) - 1])
        return select(start, pixels, unknown | reasons, numbers, lambda row: f"{name} row {start - offset + row}")


def _check(images: ArrayStream, reading: Reading) -> Layout:
    layout = read_layout(images.shape, any_size=reading.any_size)
    reason = misfit(layout.height, layout.width, reading) if layout else ""
    if layout is None or reason is not None or images.dtype.kind not in "biuf":
        raise FormatError(
            f"{images.name} holds {images}, expected images [n, 28, 28], also with 1, 3 or 4 channels, or [n, 784]"
            f"{'; each ' + reason if reason else ''}"
        )
    if layout.alone:
        if layout.channels == 1 and (layout.height, layout.width) != IMAGE_SHAPE:
            _refuse_flat(images, layout)
        images.as_one_row()
    return layout


def _refuse_flat(images: ArrayStream, layout: Layout) -> None:
    """What may be one image as well as many of which each is a row, as scikit-learn has them."""
    side = math.isqrt(layout.width)
    if side * side == layout.width and layout.height != layout.width:
        raise FormatError(
            f"{images.name} holds {images}, one image or {layout.height:,} of {side} x {side}; save "
            f"array.reshape(-1, {side}, {side}), or array[None] if it is one"
        )


def _arranged(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """`[m, height, width]`, or with channels behind."""
    if values.ndim == 2:
        return values.reshape(-1, layout.height, layout.width)
    if layout.first:
        values = values.transpose(0, 2, 3, 1)
    return values[..., 0] if values.ndim == 4 and layout.channels == 1 else values
