"""Files whose rows follow each other."""

import copy
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, Protocol, Self, TypeVar

from pipeline.sources.places import Names


class Known(Protocol):
    """What is known of a file."""

    def cut(self, start: int, stop: int) -> Self:
        """What must be known to read its rows from `start` up to `stop`."""


class Plain:
    """A file of which nothing need be known but its name."""

    def cut(self, start: int, stop: int) -> Self:  # noqa: ARG002
        """See `Known.cut`."""
        return self


T = TypeVar("T", bound=Known)


class Stack(Generic[T]):
    """Files whose rows follow each other: their names, where each begins, and what else is known of it."""

    def __init__(self, names: Names, counts: Iterable[int], known: Sequence[T]) -> None:
        self.names = names
        self.known = list(known)
        self.starts = [0, *accumulate(counts)]
        """The first row of each, and the number of all."""

    def __len__(self) -> int:
        return len(self.known)

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.starts[-1]

    def of(self, row: int) -> int:
        """Which file holds a row."""
        return bisect_right(self.starts, row) - 1

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The rows from `start` up to `stop`, cut where a file ends: the file, and rows of it."""
        while start < stop:
            index = self.of(start)
            first, end = self.starts[index], min(stop, self.starts[index + 1])
            yield index, start - first, end - first
            start = end

    def knowing(self, known: Sequence[T]) -> "Stack[T]":
        """The same files, of which something else is known."""
        again = copy.copy(self)
        again.known = list(known)
        return again

    def cut(self, start: int, stop: int) -> "Stack[T]":
        """The files in which the rows from `start` up to `stop` lie."""
        first = self.of(start)
        last = max(first, self.of(stop - 1)) + 1
        part = Stack(self.names.cut(first, last), (), self.known[first:last])
        part.starts = self.starts[first : last + 1]
        edges = zip(part.known, part.starts, part.starts[1:], strict=False)
        part.known = [known.cut(max(start, at) - at, min(stop, end) - at) for known, at, end in edges]
        return part
