"""Tar files in the convention of WebDataset: the members of one row follow each other and share a key.

`0007.png` and `0007.cls` are a picture and its label; https://github.com/webdataset/webdataset#the-webdataset-format.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import DataError, FormatError
from pipeline.sources.labels import number_of
from pipeline.sources.pictures import SUFFIXES as PICTURES
from pipeline.sources.pictures import decode
from pipeline.sources.places import Names, Place, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import ImageSource, Refused, Rows, gather, join
from pipeline.sources.streams import Files, gunzip

SUFFIXES = ".tar", ".tar.gz", ".tgz"
_HELD = 64 << 20  # bytes of pictures of one stretch that wait to be decoded; beyond them it is done at once
_LARGEST = 64 << 20  # bytes of one picture


@dataclass
class _Row:
    """One row as it is read."""

    name: str
    pictures: list[bytes | Refused] = field(default_factory=list)
    label: bytes | None = None

    def picture(self) -> bytes | Refused:
        if len(self.pictures) == 1:
            return self.pictures[0]
        return Refused(f"has {len(self.pictures)} pictures, expected one .png, .jpg or .jpeg")


class Shards(ImageSource):
    """Tar files, one after the other; only reading to the end tells how many rows they hold."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self.name = place.name
        self.count = None
        self.labelled = True  # a later row may have one, whatever the first is like
        self.passed_over = names.passed_over
        self._place, self._names, self._reading = place, names, reading
        self._rows = self._read_all()
        self._ahead = next(self._rows, None)
        if self._ahead is None:
            raise DataError(f"{self.name} holds no image; expected members like 0007.png and 0007.cls")
        self._next = 0
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """See `ImageSource.end`."""
        return self._end

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES, self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        parts: list[Rows] = []
        held: list[_Row] = []
        size, at = 0, start
        for row in self._take(start, stop):
            held.append(row)
            size += sum(len(picture) for picture in row.pictures if isinstance(picture, bytes))
            if size > _HELD:
                parts.append(self._decoded(at, held))
                held, size, at = [], 0, at + len(held)
        return lambda: join(start, [*parts, self._decoded(at, held)])

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._rows.close()  # type: ignore[attr-defined]

    def _take(self, start: int, stop: int) -> Iterator[_Row]:
        while self._next < stop:
            row, self._ahead = self._ahead, next(self._rows, None)
            if row is None:
                self._end = self._next
                return
            self._next += 1
            if self._next > start:
                yield row

    def _decoded(self, start: int, rows: list[_Row]) -> Rows:
        images, labels = [], []
        for row in rows:
            content = row.picture()
            images.append(content if isinstance(content, Refused) else decode(content, self._reading))
            labels.append(_read_label(row.label))
        return gather(start, [row.name for row in rows], images, labels)

    def _read_all(self) -> Iterator[_Row]:
        for index in range(len(self._names)):
            name = self._names[index]
            path = self._place.full(name)
            with Files() as files:
                file: Any = files.stream(self._place, name)
                with reported(path):
                    file = _Watched(file if self._place.ends(name, ".tar") else gunzip(path, file))
                    yield from _read_tar(path, file)


class _Watched:
    """A file that notes where its last byte other than zero stands."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size = self.last = 0

    def read(self, size: int) -> bytes:
        content: bytes = self._file.read(size)
        if content.count(0) < len(content):
            self.last = self.size + len(content.rstrip(b"\0"))
        self.size += len(content)
        return content


def _read_tar(path: str, file: _Watched) -> Iterator[_Row]:
    """The rows of a tar file.

    Raises:
        FormatError: it is damaged, truncated, or goes on after its end.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:  # type: ignore[call-overload]
            row, key = _Row(""), ""
            for member, stem, suffix in _members(tar):
                if stem != key:
                    if key:
                        yield row
                    row, key = _Row(f"{path}: {member.name}"), stem
                content = _content(tar, member)
                if suffix == ".cls":
                    row.label = content if isinstance(content, bytes) else b"(unreadable)"
                else:
                    row.name = f"{path}: {member.name}"
                    row.pictures.append(content)
            if key:
                yield row
            while file.read(1 << 20):
                pass
            # tarfile takes a damaged header, or none, for the end; a whole archive ends in blocks of zeros alone.
            if file.size < tar.offset + tarfile.BLOCKSIZE or file.last > tar.offset:
                raise FormatError(
                    f"{path} is truncated or damaged at byte {min(tar.offset, file.size):,}, or several archives in "
                    "one; fetch it again or name them one by one"
                )
    except (tarfile.TarError, EOFError) as error:
        raise FormatError(f"{path} is truncated or damaged ({error}); fetch it again") from error


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """The members that matter, each with its key and its suffix; hidden ones don't."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all
        base = member.name.rpartition("/")[2]
        stem, _, suffix = base.partition(".")
        suffix = f".{suffix.lower()}"
        key = member.name[: len(member.name) - len(base)] + stem
        if stem and not member.isdir() and suffix in (*PICTURES, ".cls"):
            yield member, key, suffix


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Refused:
    if not member.isreg():
        return Refused("is no plain file, expected one")
    if member.size > _LARGEST:
        return Refused(f"takes {member.size:,} bytes, expected at most {_LARGEST:,}")
    content = tar.extractfile(member)
    return content.read() if content else Refused("is no file")


def _read_label(text: bytes | None) -> int | Refused:
    if text is None:
        return -1
    label = number_of(text[:16].decode("ascii", "replace").strip())
    return label if label >= 0 else Refused(f"has the label {text[:16]!r}, expected a whole number from 0 to 255")
