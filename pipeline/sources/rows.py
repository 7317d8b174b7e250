"""What a pile of images is to those who read it: a stream of rows in a fixed order."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int16]
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like `map`: calls a function with each of many things, perhaps in other processes, to which it can send both."""
MAX_ROWS = 4096  # of one call of `ImageSource.read`
LARGE = 128 << 20
"""Bytes from which on a compressed file is unpacked before parts of it are read: two to three parts of a job."""


class Depot(Protocol):
    """Where unpacked files go: a `Store` of `pipeline.jobs.store`, which says what each of these does."""

    def full(self, name: str) -> str: ...  # noqa: D102
    def read(self, name: str) -> bytes | None: ...  # noqa: D102
    def replace(self, name: str, content: Path | bytes) -> None: ...  # noqa: D102
    def marks(self, below: str = "") -> Iterator[tuple[str, str]]: ...  # noqa: D102
    def scratch(self) -> AbstractContextManager[Path]: ...  # noqa: D102


@dataclass(frozen=True)
class BadRow:
    """A row of a source that is no image."""

    index: int
    """The row in the source."""
    name: str
    """Which one, for a human: `pile/0007.png`, `pile.tar: 0007.png`, `pile.parquet row 7`."""
    reason: str
    """What was found and what was expected, on one line."""


@dataclass(frozen=True)
class Rows:
    """A stretch of a source: the rows from `start` up to `stop`."""

    start: int
    stop: int
    images: Pixels
    """uint8 `[m, 28, 28]`, C-contiguous: the good ones, so `m == stop - start - len(bad)`."""
    labels: Labels | None
    """int16 `[m]`, -1 where a row has none; None if the source has none at all."""
    bad: tuple[BadRow, ...] = ()
    """In order."""
    names: tuple[str, ...] | None = None
    """The file or member of an archive that each good one came from, relative to the pile."""


class Divisible:
    """Rows that can be sent to other processes, all or some of them: what was found out about them, and no open file.

    A copy, and what arrives elsewhere, opens its files where it is first read, and finds nothing out again.
    """

    _opened: Any = None
    """What is open, and how far it is read: of this object alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    def reopen(self) -> Self:
        """The same, to be read from any row on."""
        return copy.copy(self)

    def measured(self, each: Each = map) -> Self:  # noqa: ARG002
        """The same, `count` known. Where only reading tells, an index is made, by one call of `each` for all files.

        Raises:
            DataError: a file is unreadable or damaged.
        """
        return self

    def unpacked(self, depot: Depot, each: Each = map, least: int = LARGE) -> Self:  # noqa: ARG002
        """The same, for which `count` must be known, to be read from a depot where it is compressed.

        A cut of a compressed file unpacks all that lies before its rows. Files of at least so many bytes, unpacked, are
        unpacked once, each by a call in `each`, if they are in order. Names and messages stay those of the files.

        Raises:
            DataError: a file can't be read; OutputError: the depot can't be written.
        """
        return self

    def cut(self, start: int, stop: int) -> Self:
        """The rows from `start` up to `stop` by themselves, for which `count` must be known.

        They keep their numbers, and are read as those of the whole are. Only what must be known of them is kept, and
        only their files are opened.
        """
        part = self.reopen()
        part._keep(start, stop)
        return part

    def _keep(self, start: int, stop: int) -> None:
        """Forget what is known of no row from `start` up to `stop`."""


class ImageSource(Divisible, ABC):
    """A pile of images, read by one thread from front to back; a context manager that closes its files."""

    name: str
    """As the user typed it."""
    count: int | None
    """The number of rows; None where only reading to the end tells (tar)."""
    labelled: bool
    """Whether rows can have labels."""
    labels_from: str = ""
    """Where labels come from, in words: `column label`, `names of folders`."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by label; empty where labels are plain numbers."""
    passed_over: Mapping[str, int] = MappingProxyType({})
    """How many files, or members of archives, were found and not taken, by kind: `.txt`, `hidden`. It grows while an
    archive is read."""

    @abstractmethod
    def state(self) -> str:
        """Hexadecimal digest that changes when the source does.

        Made afresh at each call from the names, sizes and times of change of its files; contents are not read.
        """

    @abstractmethod
    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """Read the rows from `start` up to `stop`; the callable that comes back decodes them, on any thread.

        Ranges grow and don't overlap: rows may be jumped over and are never gone back to. Where `count` is None, the
        rows may end before `stop`, at the end of the source; it is reached for certain when none come.

        Raises:
            DataError: a file is gone, unreadable, damaged or shorter than it was (here or in the callable).
        """

    @property
    def end(self) -> int | None:
        """The number of rows if it is known by now: `count`, or what reading to the end has told."""
        return self.count

    def close(self) -> None:
        """Close the files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Refused:
    """Stands where a picture should be and says why there is none."""

    reason: str


def select(
    start: int,
    images: Pixels,
    reasons: Mapping[int, str],
    labels: Labels | None,
    name: Callable[[int], str],
    names: Sequence[str] | None = None,
) -> Rows:
    """Rows from images of which some stand for none.

    Args:
        start: the first row.
        images: uint8 `[m, 28, 28]`, anything in rows that are bad.
        reasons: what is wrong with these, counted from the first.
        labels: int16 `[m]`, if there are any.
        name: what a human would call a row, counted from the first.
        names: see `Rows.names`; of all rows.
    """
    stop = start + len(images)
    if not reasons:
        return Rows(start, stop, np.ascontiguousarray(images), labels, (), None if names is None else tuple(names))
    good = np.ones(len(images), bool)
    good[list(reasons)] = False
    bad = tuple(BadRow(start + row, name(row), reasons[row]) for row in sorted(reasons))
    kept = None if names is None else tuple(one for one, fine in zip(names, good.tolist(), strict=True) if fine)
    return Rows(start, stop, images[good], None if labels is None else labels[good], bad, kept)


def split(found: Sequence[int | Refused]) -> tuple[Labels, dict[int, str]]:
    """Labels, or reasons against some of them, as int16 `[m]`, and these reasons by row."""
    try:
        return np.array(found, np.int16), {}
    except (TypeError, ValueError):
        reasons = {row: one.reason for row, one in enumerate(found) if isinstance(one, Refused)}
        return np.array([-1 if isinstance(one, Refused) else one for one in found], np.int16), reasons


def join(start: int, parts: Sequence[Rows]) -> Rows:
    """One stretch from those that follow each other from `start` on."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Rows(start, start, np.empty((0, *IMAGE_SHAPE), np.uint8), None)
    labels = [part.labels for part in parts if part.labels is not None]
    names = [part.names for part in parts if part.names is not None]
    return Rows(
        parts[0].start,
        parts[-1].stop,
        np.concatenate([part.images for part in parts]),
        np.concatenate(labels) if labels else None,
        tuple(bad for part in parts for bad in part.bad),
        tuple(chain.from_iterable(names)) if names else None,
    )


def describe(passed_over: Mapping[str, int]) -> str:
    """`3 .txt and 1 hidden`."""
    return " and ".join(f"{count:,} {kind}" for kind, count in sorted(passed_over.items()))
