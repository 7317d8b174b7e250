"""Bytes that are read from front to back, whatever they lie in."""

import gzip
import io
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Self

from pipeline.errors import FormatError
from pipeline.sources.places import Place, reported

GZIP = b"\x1f\x8b"


class Files(ExitStack):
    """Open files that are closed together."""

    def __enter__(self) -> Self:
        return self

    def stream(self, place: Place, name: str, *, seek: bool = False) -> io.BufferedReader:
        """Open a file; its `readinto` fills what it is given unless the file ends."""
        with reported(place.full(name)):
            file = self.enter_context(place.open(name, seek=seek))
        return file if isinstance(file, io.BufferedReader) else io.BufferedReader(_Raw(file), 1 << 20)

    def content(self, place: Place, name: str) -> io.BufferedReader:
        """Open a file, what is in it if it is gzip by name or by its first bytes."""
        file = self.stream(place, name)
        with reported(place.full(name)):
            if place.ends(name, (".gz", ".tgz")) or file.peek(2)[:2] == GZIP:
                return io.BufferedReader(gunzip(place.full(name), file), 1 << 20)
        return file


@dataclass(frozen=True)
class Content:
    """What is in a file."""

    place: Place
    file: str

    @property
    def path(self) -> str:
        """Of the file."""
        return self.place.full(self.file)

    @property
    def identity(self) -> str:
        """What tells it from all others."""
        return self.path

    def open(self, files: Files) -> IO[bytes]:
        """As a stream, unpacked if it is compressed."""
        return files.content(self.place, self.file)


class _Raw(io.RawIOBase):
    """Any object with a `read` that may give less than asked for, as fsspec's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        # A streaming file of fsspec says that it can and refuses when it is tried.
        return not type(self._file).__name__.startswith("HTTPStream") and self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Gzip(gzip.GzipFile):
    """Says that it can't be gone back in: to do so it would begin again."""

    def seekable(self) -> bool:
        return False


def is_packed(file: io.BufferedReader) -> bool:
    """Whether what `Files.content` gave is unpacked as it is read."""
    return isinstance(file.raw, _Gzip)


def gunzip(name: str, file: io.BufferedReader) -> gzip.GzipFile:
    """The stream inside a gzip stream."""
    start = file.peek(16)[:16]
    if not start.startswith(GZIP):
        raise FormatError(f"{name} is not gzip: it starts with {start!r}; fetch it again")
    return _Gzip(fileobj=file)


def skip(file: IO[bytes], size: int) -> None:
    """Pass over bytes: by seeking if that is possible, else by reading."""
    if size > 0 and file.seekable():
        file.seek(size, 1)
        return
    while size > 0 and (found := len(file.read(min(size, 1 << 20)))):
        size -= found


def size_of(file: IO[bytes]) -> int | None:
    """The size of a file at whose start one stands, None where only reading tells."""
    if not file.seekable():
        return None
    size = file.seek(0, 2)
    file.seek(0)
    return size
