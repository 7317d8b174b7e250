"""Your own images: any pile that the batch jobs read, as raw files."""

from __future__ import annotations

import glob
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.prepared import About
from pipeline.data.raw import write_raw
from pipeline.errors import DataError
from pipeline.sources.images import MAX_ROWS, open_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.params import Download

log = logging.getLogger(__name__)

FEWEST = 100  # of each split: with fewer, the figures of the later stages mean nothing
_LABELS = 256  # are stored in a byte each


@dataclass(frozen=True)
class _Pile:
    """Images uint8 `[n, 28, 28]`, labels int16 `[n]` unless one of them has none, and names of classes, if any."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int16] | None
    classes: tuple[str, ...]

    def chosen(self, rows: NDArray[np.intp]) -> _Pile:
        labels = None if self.labels is None else self.labels[rows]
        return _Pile(self.name, self.images[rows], labels, self.classes)


def write_own(params: Download, folder: Path) -> About:
    """Write the pile `params.own` to `folder`, grey and 28 x 28, under the names and in the format of MNIST's files.

    A folder with something called `train` and something called `test` in it (folders, or files whose names begin so)
    holds two piles; of any other pile, a share of `params.test_share`, chosen by `params.seed`, is kept for testing.

    Raises:
        DataError: there is no image, or too few; or one that can't be read; or labels that can't be used.
    """
    both = _split_of(params.own)
    if both:
        train, test = (_read(path, params) for path in both)
    else:
        pile = _read(params.own, params)
        order = np.random.default_rng(params.seed).permutation(len(pile.images))
        kept = round(params.test_share * len(order))
        train, test = pile.chosen(np.sort(order[kept:])), pile.chosen(np.sort(order[:kept]))
    for split, found in (("train", train), ("test", test)):
        if len(found.images) < FEWEST:
            raise DataError(
                f"{found.name} gives {len(found.images):,} images to {split} with, at least {FEWEST} are "
                f"needed; add images{'' if both else ' or change download.test_share'}"
            )
    classes, labels = _classes(train, test)
    write_raw(folder, (train.images, labels[0]), (test.images, labels[1]))
    return About("own images", "image", classes, "", "")


def _split_of(own: str) -> tuple[str, str] | None:
    """The piles for training and for testing in a folder that has both."""
    folder = Path(own)
    if "://" in own or not folder.is_dir():
        return None
    found = [sorted(folder.glob(f"{name}*")) for name in ("train", "test")]
    if not all(found):
        return None
    # A pattern stands for several files, which arrays can't be.
    train, test = (
        str(paths[0]) if len(paths) == 1 else f"{glob.escape(own)}/{name}*"
        for name, paths in zip(("train", "test"), found, strict=True)
    )
    return train, test


def _read(path: str, params: Download) -> _Pile:
    """All of a pile. Where an image has no label, it goes without labels."""
    images, labels = [], []
    with open_images(path, resize=True, invert=params.invert, labels_from=params.labels_from) as source:
        start = 0
        while source.end is None or start < source.end:
            rows = source.read(start, min(start + MAX_ROWS, source.end or start + MAX_ROWS))()
            if rows.bad:
                bad = rows.bad[0]
                raise DataError(f"{bad.name} (row {bad.index:,}): {bad.reason}; mend it or take it out of {path}")
            if rows.stop == rows.start:
                break
            images.append(rows.images)
            labels.append(np.full(len(rows.images), -1, np.int16) if rows.labels is None else rows.labels)
            start = rows.stop
        if not images:
            raise DataError(f"{path} holds no image")
        all_labels = np.concatenate(labels)
        without = int((all_labels < 0).sum())
        if 0 < without < len(all_labels):
            log.warning(
                "WARNING: %s: %s of %s images have no label, the labels of the others are not used",
                path,
                f"{without:,}",
                f"{len(all_labels):,}",
            )
        if all_labels.max() >= _LABELS:
            raise DataError(f"{path} holds the label {all_labels.max()}, labels are 0 to {_LABELS - 1}; renumber them")
        return _Pile(path, np.concatenate(images), None if without else all_labels, source.classes)


def _classes(train: _Pile, test: _Pile) -> tuple[tuple[str, ...], list[NDArray[np.uint8] | None]]:
    """The names of the classes of both piles, and the labels that number them; no names if there are no labels."""
    both = [pile.labels for pile in (train, test) if pile.labels is not None]
    if len(both) < 2:
        if both:
            log.warning("WARNING: only one of %s and %s has labels, they are not used", train.name, test.name)
        return (), [None, None]
    if bool(train.classes) != bool(test.classes):
        raise DataError(f"one of {train.name} and {test.name} has names of classes, the other numbers; use either")
    if not train.classes:
        last = max(int(labels.max()) for labels in both)
        return tuple(map(str, range(last + 1))), [labels.astype(np.uint8) for labels in both]
    names = tuple(dict.fromkeys([*train.classes, *test.classes]))
    if len(names) > _LABELS:
        raise DataError(f"{train.name} and {test.name} have {len(names)} classes, at most {_LABELS} can be told apart")
    number = {name: place for place, name in enumerate(names)}
    numbers = (np.array([number[name] for name in pile.classes], np.uint8) for pile in (train, test))
    return names, [known[labels] for known, labels in zip(numbers, both, strict=True)]
