"""What is written to this process, by stdin or a pipe: copied to a temporary file, to be read like any other."""

import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pipeline.errors import DataError
from pipeline.sources.places import Place, reported
from pipeline.sources.rows import Refused

_PIECE = 1 << 20


class PipedPlace(Place):
    """A stream that can be read once, copied to the folder of temporary files (`TMPDIR`), where nothing of it stays."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "", "file")
        self.once = True
        digest = hashlib.sha256()
        with reported(name):
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the place is in use)
            with _input(name) as stream:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
                    self._copy.write(piece)
            self._copy.flush()
        self._digest = digest.hexdigest()

    def entries(self) -> Iterator[str]:
        """See `Place.entries`."""
        yield self.name

    def mark(self, name: str) -> str:  # noqa: ARG002
        """See `Place.mark`."""
        return self._digest

    def open(self, name: str, *, seek: bool = False) -> BinaryIO:  # noqa: ARG002
        """See `Place.open`: each with a position of its own."""
        return io.BufferedReader(_Window(self._copy.fileno()), _PIECE)

    def full(self, name: str) -> str:
        """See `Place.full`."""
        return "stdin" if name == "-" else name

    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """See `Place.fetch`."""
        return [self.open(name).read() for name in names]

    def __reduce__(self) -> Any:
        raise DataError(f"{self.name} can be read once, and here alone; save it to a file first")


def _input(name: str) -> BinaryIO:
    if name != "-":
        return open(name, "rb")  # noqa: PTH123  (a path like /dev/fd/63 is opened as it is)
    if sys.stdin is None:
        raise DataError("stdin is closed; pipe the images into the command, or name a file")
    if sys.stdin.buffer.closed:
        raise DataError("stdin was read already; only one of images and labels can be -, name a file for the other")
    return sys.stdin.buffer


class _Window(io.RawIOBase):
    """A file by its descriptor, read at a position of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, os.fstat(self._descriptor).st_size)[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at
