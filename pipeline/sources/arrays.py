"""Images that lie one after the other in arrays: IDX, `.npy` and `.npz` files."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.array_files import ZIP, Archive, ArrayStream, check_member, move_packed, open_array
from pipeline.sources.kinds import ARRAYS, SUFFIXES, kind_of_name
from pipeline.sources.label_files import LabelStream
from pipeline.sources.levels import BYTES, Levels, find_levels
from pipeline.sources.pairs import Layout, choose_pair, read_layout
from pipeline.sources.pixels import misfit, shape_all, to_grey
from pipeline.sources.places import Names, Place
from pipeline.sources.reading import NONE, Reading
from pipeline.sources.rows import LARGE, Depot, Each, ImageSource, Labels, Pixels, Rows, join, select
from pipeline.sources.stack import Stack
from pipeline.sources.streams import Files

_HELD = 64 << 20  # bytes of one stretch that wait for their conversion; of larger ones, rows are converted at once
_LOOKED_AT = 16 << 20  # bytes at a time to find the range of values


@dataclass(frozen=True)
class _File:
    """One file of an array of images, and their labels if it holds them; closed until it is read."""

    images: ArrayStream
    labels: LabelStream | None
    layout: Layout

    @property
    def streams(self) -> list[ArrayStream]:
        """What lies in it."""
        labels = None if self.labels is None else self.labels.stream
        return [self.images] if labels is None else [self.images, labels]

    def reopen(self) -> "_File":
        """The same, to be read from any row on."""
        return replace(self, images=self.images.reopen(), labels=self.labels and self.labels.reopen())

    def cut(self, start: int, stop: int) -> "_File":
        """Some of its rows."""
        return replace(self, images=self.images.cut(start, stop), labels=self.labels and self.labels.cut(start, stop))

    def close(self) -> None:
        """Close it."""
        self.images.close()
        if self.labels is not None:
            self.labels.close()


class Arrays(ImageSource):
    """The rows of arrays, file after file; see `read_layout` for their shapes and `Levels` for their values."""

    _opened: tuple[int, _File] | None = None

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.passed_over = names.passed_over
        self._place, self._reading = place, reading
        files = [_find(place, names[index], reading) for index in range(len(names))]
        self._files = Stack(names, [len(file.images) for file in files], files)
        self.count = self._files.stop
        labels = [file.labels for file in files if file.labels is not None]
        self.labelled = bool(labels)
        self.labels_from, self.classes = (labels[0].name, labels[0].classes) if labels else ("", ())
        if any(one.classes != self.classes for one in labels):
            raise FormatError(f"{self.name} has other names of classes in one file than in another; use numbers")
        bytes_alone = reading.value_range in (None, (0.0, 255.0))
        bytes_alone &= all(file.images.dtype == np.uint8 for file in files)
        self._levels = BYTES if bytes_alone or not self.count else self._find_levels()

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[ARRAYS], self._reading)

    def measured(self, each: Each = map) -> Self:
        """See `Divisible.measured`. Parts read what is stored in an archive by its place, and see no checksum."""
        origins = [stream.origin for file in self._files.known for stream in file.streams]
        for _ in each(check_member, [one for one in origins if one.member and one.offset is not None]):
            pass
        return self

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        parts = [self._read(*piece) for piece in self._files.pieces(start, stop)]
        return lambda: join(start, [part() for part in parts])

    def unpacked(self, depot: Depot, each: Each = map, least: int = LARGE) -> Self:
        """See `Divisible.unpacked`."""
        move_packed([stream for file in self._files.known for stream in file.streams], depot, each, least)
        self.close()
        self._opened = None
        return self

    def close(self) -> None:
        """See `ImageSource.close`."""
        if self._opened is not None:
            self._opened[1].close()

    def _keep(self, start: int, stop: int) -> None:
        self._files = self._files.cut(start, stop)

    def _find_levels(self) -> Levels:
        if self._reading.value_range is not None:
            return Levels(*self._reading.value_range)

        def pieces() -> Iterator[tuple[str, NDArray[Any]]]:
            for file in self._files.known:
                step = max(1, _LOOKED_AT // file.images.row_bytes)
                for at in range(0, len(file.images), step):
                    yield file.images.name, file.images.read(at, min(at + step, len(file.images)))
                file.close()

        return find_levels(self.name, pieces())

    def _open(self, index: int) -> _File:
        if self._opened is None or self._opened[0] != index:
            self.close()
            self._opened = index, self._files.known[index].reopen()
        return self._opened[1]

    def _read(self, index: int, start: int, stop: int) -> Callable[[], Rows]:
        """Rows of a file."""
        file, first = self._open(index), self._files.starts[index] + start
        labels = None if file.labels is None else file.labels.read(start, stop)
        step = max(1, _HELD // max(1, file.images.row_bytes))
        if stop - start <= step:
            values = file.images.read(start, stop)
            return lambda: self._rows(first, start, file, [self._convert(file, values)], labels)
        parts = []
        for at in range(start, stop, step):
            values = file.images.read(at, min(at + step, stop))
            parts.append(self._convert(file, values))
        return lambda: self._rows(first, start, file, parts, labels)

    def _convert(self, file: _File, values: NDArray[Any]) -> tuple[Pixels, dict[int, str]]:
        """28 x 28 grey levels, and what is wrong with some rows."""
        pixels, wrong = self._levels(_arranged(values, file.layout))
        images, reasons = shape_all(to_grey(pixels) if pixels.ndim == 4 else pixels, self._reading)
        return images, reasons | dict.fromkeys(np.flatnonzero(wrong).tolist(), self._levels.reason)

    def _rows(
        self,
        first: int,
        row: int,
        file: _File,
        parts: list[tuple[Pixels, dict[int, str]]],
        labels: tuple[Labels, dict[int, str]] | None,
    ) -> Rows:
        """The rows of a file from `row` on, which is the row `first` of all."""
        pixels = parts[0][0] if len(parts) == 1 else np.concatenate([part for part, _ in parts])
        firsts = accumulate((len(part) for part, _ in parts), initial=0)
        reasons = {
            start + bad: reason for start, (_, some) in zip(firsts, parts, strict=False) for bad, reason in some.items()
        }
        numbers, unknown = (None, {}) if labels is None else labels
        if numbers is None and self.labelled:  # by another file
            numbers = np.full(len(pixels), -1, np.int16)
        return select(first, pixels, unknown | reasons, numbers, lambda bad: f"{file.images.name} row {row + bad}")


def _find(place: Place, name: str, reading: Reading) -> _File:
    images, labels = _choose(place, name, reading)
    layout = _check(images, reading)
    if labels is not None and len(labels) != len(images):
        raise FormatError(f"{images.name} holds {len(images):,} images and {len(labels):,} labels")
    return _File(images, labels, layout)


def _choose(place: Place, name: str, reading: Reading) -> tuple[ArrayStream, LabelStream | None]:
    with Files() as files:
        zipped = place.ends(name, ".npz") or (
            kind_of_name(place.bare(name)) is None and files.stream(place, name).peek(2).startswith(ZIP)
        )
        if zipped:
            archive = Archive(files, place, name)
            about = {array: archive.about(array) for array in archive.names}
            images, labels = choose_pair(archive.name, about, reading)
            if labels is None:
                return archive.open(images), None
            return archive.open(images), LabelStream.of_array(archive.open(labels), f"array {labels}")
    for option, wanted in (("--array", reading.array), ("--labels-from", reading.labels_from)):
        if wanted not in (None, NONE):
            raise FormatError(f"{place.full(name)} holds one array, without a name; leave {option} out")
    return open_array(place, name), None


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
