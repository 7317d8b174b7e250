"""Piles of images to encode: arrays, tables, CSV, pictures and archives, on a disk, behind an address or on stdin."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.errors import DataError, FormatError
from pipeline.sources import kinds
from pipeline.sources.arrays import Arrays
from pipeline.sources.label_files import EXPECTED, open_labels
from pipeline.sources.pictures import Pictures
from pipeline.sources.places import Names, Place, hidden, kind_of, reported
from pipeline.sources.reading import FOLDER, NONE, Reading
from pipeline.sources.remote import find_place
from pipeline.sources.rows import (
    LARGE,
    MAX_ROWS,
    BadRow,
    Depot,
    Each,
    ImageSource,
    Labels,
    Pixels,
    Rows,
    describe,
)
from pipeline.sources.shards import Shards
from pipeline.sources.streams import Files

__all__ = ["MAX_ROWS", "BadRow", "ImageSource", "Pixels", "Rows", "open_images"]

_LEAVES = (kinds.CSV, kinds.ARRAYS)
"""Kinds that describe other files as often as they hold images: passed over beside any other kind."""
_DESCRIPTIONS = "dataset_info.json", "state.json", "dataset_dict.json"
"""What Hugging Face puts beside its files; what begins with an underscore is such, too."""


def open_images(path: str | Path | Place, labels: str | Path | None = None, **choices: Any) -> ImageSource:
    """Open a pile of images, and the labels that belong to it.

    Args:
        path: a file of any kind in `pipeline.sources.kinds`; a folder with all that lies below it in the order of the
            paths; a pattern like `pile/**/*.png` or `s-{000..009}.tar`; `-` or a pipe for what is written to this
            process; or an address (`s3://...`, `https://...`) of one of these but the last; or what was found there.
        labels: a file of labels, in place of those that the pile brings: IDX, `.npy`, `.npz`, CSV or Parquet.
        choices: how the pile is read, by the names of `Reading`.

    Raises:
        DataError: nothing there, nothing in it, or not readable; FormatError: not what is described above, labels that
            do not match, or a file passed over where that is an error.
    """
    reading = Reading(**choices)
    place = _find(path, kinds.EXPECTED)
    with reported(place.name):
        source = _open(place, reading if labels is None else replace(reading, labels_from=NONE))
    try:
        if source.count == 0:
            raise DataError(f"{source.name} holds no image")
        if labels is not None:
            if reading.labels_from == NONE:
                raise FormatError("--labels names labels and --labels-from none rules them out; leave one out")
            source = _Labelled(source, _find(labels, EXPECTED), reading)
        return source
    except BaseException:
        source.close()
        raise


def _find(path: str | Path | Place, expected: str) -> Place:
    if isinstance(path, Place):
        return path
    return find_place(str(path), expected)


def _open(place: Place, reading: Reading) -> ImageSource:
    if place.kind == "file":
        (name,) = place.files(())
        kind = kinds.kind_of_name(place.bare(name)) or _look(place, name)
        names = Names([name])
    else:
        kind, names = _sort(place)
    if reading.strict and names.passed_over:
        raise DataError(
            f"{place.name} holds {describe(names.passed_over)} that would be passed over, an error under --strict; "
            "choose with a pattern"
        )
    _refuse_choices(kind, place, reading)
    match kind:
        case kinds.PARQUET | kinds.ARROW:
            from pipeline.sources.tables import Table  # noqa: PLC0415

            return Table(place, names, reading)
        case kinds.CSV:
            from pipeline.sources.csv_files import Lines  # noqa: PLC0415

            return Lines(place, names, reading)
        case kinds.TAR:
            return Shards(place, names, reading)
        case kinds.ZIP:
            from pipeline.sources.zips import Zips  # noqa: PLC0415

            return Zips(place, names, reading)
        case kinds.PICTURES:
            return Pictures(place, names, reading)
        case _:
            return Arrays(place, names, reading)


def _refuse_choices(kind: str, place: Place, reading: Reading) -> None:
    """What would be ignored: choices that mean nothing for files of a kind."""
    pictures = kind in (kinds.PICTURES, kinds.TAR, kinds.ZIP)
    for option, given in (
        ("--array", reading.array is not None and (pictures or kind == kinds.CSV)),
        ("--range", reading.value_range is not None and pictures),
        ("--labels-from", kind == kinds.PICTURES and reading.labels_from not in (None, FOLDER, NONE)),
    ):
        if given:
            also = " but for `folder` and `none`" if option == "--labels-from" else ""
            raise FormatError(f"{place.name} is of kind {kind}, for which {option} means nothing{also}; leave it out")


def _look(place: Place, name: str) -> str:
    """The kind of a file by its first bytes."""
    path = place.full(name)
    with Files() as files, reported(path):
        start = files.stream(place, name).read(kinds.START)
    if not start:
        raise FormatError(f"{path} is empty; expected {kinds.EXPECTED}")
    kind = kinds.kind_of_content(start)
    if kind is None:
        raise kinds.refuse(path, start)
    return kind


def _sort(place: Place) -> tuple[str, Names]:
    """The kind of files in a folder, or that match a pattern, and their names; all others are counted."""
    piles: dict[str, Names] = {}
    others: Counter[str] = Counter()
    for name in place.entries():
        base = name.rpartition("/")[2]
        kind = None if hidden(name) else kinds.kind_of_name(name)
        if kind is not None:
            piles.setdefault(kind, Names()).append(name)
        elif not base.startswith("_") and base not in _DESCRIPTIONS:
            others[kind_of(name)] += 1
    found = set(piles)
    for leaf in _LEAVES:
        if len(found) > 1:
            found.discard(leaf)
    if not found:
        beside = f" but {describe(others)}" if others else ""
        raise DataError(f"{place.name} holds no image{beside}; expected {kinds.EXPECTED}")
    if len(found) > 1:
        raise DataError(f"{place.name} holds {' and '.join(sorted(found))} files; choose with a pattern like *.png")
    kind = found.pop()
    names = piles.pop(kind)
    names.passed_over.update(others)
    for pile in piles.values():
        names.passed_over.update(kind_of(name) for name in pile)
    return kind, names


class _Labelled(ImageSource):
    """A source with the labels of another file."""

    def __init__(self, source: ImageSource, place: Place, reading: Reading) -> None:
        self.name, self.count, self.labelled = source.name, source.count, True
        self.labels_from = place.name
        self._source, self._place, self._reading = source, place, reading
        with reported(place.name):
            self._labels = open_labels(place, reading)
        self.classes = self._labels.classes
        if self.count is not None:
            self._compare(self.count)

    @property
    def passed_over(self) -> Mapping[str, int]:  # type: ignore[override]
        """See `ImageSource.passed_over`."""
        return self._source.passed_over

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._source.end

    def state(self) -> str:
        """See `ImageSource.state`."""
        return f"{self._source.state()}{self._place.state((), self._reading)}"

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        rest = self._source.read(start, stop)
        if self.end is not None and self.count is None:
            self._compare(self.end)
        last = min(stop, len(self._labels))
        if last < stop and self.end is None:
            raise FormatError(f"{self.name} holds more images than {self._labels.name} labels ({last:,})")
        values, reasons = self._labels.read(start, last) if start < last else (np.empty(0, np.int16), {})
        return lambda: _relabelled(rest(), self._labels.name, values, reasons)

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._source.close()
        self._labels.close()

    def measured(self, each: Each = map) -> Self:
        """See `Divisible.measured`."""
        self._source = self._source.measured(each)
        self.count = self._source.count
        if self.count is not None:
            self._compare(self.count)
        return self

    def unpacked(self, depot: Depot, each: Each = map, least: int = LARGE) -> Self:
        """See `Divisible.unpacked`. Of labels, a cut reads little, and it is done where the cuts are made."""
        self._source = self._source.unpacked(depot, each, least)
        self._labels = self._labels.unpacked(depot, each, least // 8)
        return self

    def reopen(self) -> Self:
        """See `Divisible.reopen`."""
        again = super().reopen()
        again._source, again._labels = self._source.reopen(), self._labels.reopen()
        return again

    def _keep(self, start: int, stop: int) -> None:
        self._source, self._labels = self._source.cut(start, stop), self._labels.taken(start, stop)

    def _compare(self, count: int) -> None:
        if count != len(self._labels):
            raise FormatError(f"{self.name} holds {count:,} images, {self._labels.name} {len(self._labels):,} labels")


def _relabelled(rows: Rows, name: str, labels: Labels, reasons: dict[int, str]) -> Rows:
    """Rows with other labels; those whose label is wrong are bad."""
    kept = np.ones(rows.stop - rows.start, bool)
    kept[[bad.index - rows.start for bad in rows.bad]] = False
    wrong = [row for row in sorted(reasons) if row < len(kept) and kept[row]]
    if not wrong:
        return replace(rows, labels=labels[kept])
    right = kept.copy()
    right[wrong] = False
    chosen = right[kept]
    bad = [*rows.bad, *(BadRow(rows.start + row, f"{name} row {rows.start + row}", reasons[row]) for row in wrong)]
    names = None if rows.names is None else tuple(name for name, good in zip(rows.names, chosen, strict=True) if good)
    return replace(
        rows,
        images=rows.images[chosen],
        labels=labels[right],
        names=names,
        bad=tuple(sorted(bad, key=lambda b: b.index)),
    )
