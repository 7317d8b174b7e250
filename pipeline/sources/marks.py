"""Where rows begin in files that only reading to the end measures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

from pipeline.sources.places import Place, Span, reported
from pipeline.sources.rows import MAX_ROWS, Depot, Each
from pipeline.sources.stack import Stack
from pipeline.sources.streams import Content, Files, skip
from pipeline.sources.unpacking import unpack


@dataclass(frozen=True)
class Marks:
    """Where every 4,096th row of a file begins, in bytes of what is unpacked of it."""

    offsets: Sequence[int]
    """Of these rows, and where the last row ends."""
    packed: bool
    """Whether one can't go there but by unpacking what lies before."""
    first: int = 0
    """The row at the first offset."""
    content: Content | None = None
    """Where to read instead of in the file."""

    def cut(self, start: int, stop: int) -> "Marks":
        """See `Known.cut`."""
        first, last = (start - self.first) // MAX_ROWS, -(-(stop - self.first) // MAX_ROWS)
        return replace(self, offsets=self.offsets[first : last + 1], first=self.first + first * MAX_ROWS)

    def before(self, row: int) -> int:
        """The last marked row before or at a row."""
        return row - (row - self.first) % MAX_ROWS

    def open(self, files: Files, place: Place, name: str, row: int) -> tuple[int, IO[bytes]]:
        """The bytes from the last mark before a row on, up to the last mark; and their offset."""
        start, stop = self.offsets[(row - self.first) // MAX_ROWS], self.offsets[-1]
        content = self.content or Content(place, name)
        with reported(place.full(name)):
            if not self.packed:
                return start, files.enter_context(content.place.span(content.file, start, stop))
            file = files.content(place, name)
            skip(file, start)
            return start, Span.of(file, stop - start)


def unpack_marked(files: Stack[Marks], place: Place, depot: Depot, each: Each, least: int) -> Stack[Marks]:
    """Files to be read from a depot where they are large and compressed; see `Divisible.unpacked`."""
    packed = [
        (Content(place, name), marks.offsets[-1]) if marks.packed else None
        for name, marks in zip(files.names, files.known, strict=True)
    ]
    found = zip(files.known, unpack(depot, each, packed, least), strict=True)
    return files.knowing(
        [replace(marks, packed=False, content=content) if content else marks for marks, content in found]
    )
