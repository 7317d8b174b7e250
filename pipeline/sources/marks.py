"""Where rows begin in files that only reading to the end measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from pipeline.sources.places import Place, Span, reported
from pipeline.sources.rows import MAX_ROWS
from pipeline.sources.streams import Files, skip


@dataclass(frozen=True)
class Marks:
    """Where every 4,096th row of a file begins, in bytes of what is unpacked of it."""

    offsets: Sequence[int]
    """Of these rows, and where the last row ends."""
    packed: bool
    """Whether one can't go there but by unpacking what lies before."""
    first: int = 0
    """The row at the first offset."""

    def cut(self, start: int, stop: int) -> "Marks":
        """See `Known.cut`."""
        first, last = (start - self.first) // MAX_ROWS, -(-(stop - self.first) // MAX_ROWS)
        return Marks(self.offsets[first : last + 1], self.packed, self.first + first * MAX_ROWS)

    def before(self, row: int) -> int:
        """The last marked row before or at a row."""
        return row - (row - self.first) % MAX_ROWS

    def open(self, files: Files, place: Place, name: str, row: int) -> tuple[int, IO[bytes]]:
        """The bytes from the last mark before a row on, up to the last mark; and their offset."""
        start, stop = self.offsets[(row - self.first) // MAX_ROWS], self.offsets[-1]
        with reported(place.full(name)):
            if not self.packed:
                return start, files.enter_context(place.span(name, start, stop))
            file = files.content(place, name)
            skip(file, start)
            return start, Span.of(file, stop - start)
