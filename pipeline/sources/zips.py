"""Zip files full of pictures, read as the folders that they would unpack to."""

import io
import threading
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.errors import DataError, FormatError
from pipeline.shared.text import one_line
from pipeline.sources.kinds import PICTURES, SUFFIXES, ZIP, kind_of_name
from pipeline.sources.members import is_hidden
from pipeline.sources.pictures import Pictures
from pipeline.sources.places import Names, Place, kind_of, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Refused, Rows, describe
from pipeline.sources.streams import Files
from pipeline.sources.tars import LARGEST

_WITHIN = "\0/"  # between the name of an archive and that of a member, neither of which can hold it
_ENCRYPTED = 1  # of the flags of a member
_FIELDS = "header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits"
"""What a directory says of a member that must be known to read it."""
_EMPTY = b"PK\5\6".ljust(22, b"\0")  # an archive
# What zipfile, zlib and the others raise over damaged bytes; NotImplementedError is a method that it doesn't know.
_DAMAGED = zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError


class _Archives(Files):
    """Zip files without their directories, opened when they are needed by whichever thread."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place, self._lock = place, threading.Lock()
        self._archives: dict[str, zipfile.ZipFile] = {}

    def of(self, name: str) -> zipfile.ZipFile:
        """The archive in a file."""
        with self._lock:
            if name not in self._archives:
                stream = self.stream(self._place, name, seek=True)
                self._archives[name] = zipfile.ZipFile(io.BytesIO(_EMPTY))
                self._archives[name].fp = stream
            return self._archives[name]


class Zips(Pictures):
    """Zip files, one after the other, the members of each in the order of their names."""

    _opened: _Archives | None = None

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        passed_over: Counter[str] = Counter(names.passed_over)
        members, abouts = Names(), array("Q")
        for name in names:
            for about in _members(place, name, reading, passed_over):
                members.append(f"{name}{_WITHIN}{about.filename}")
                abouts.extend([getattr(about, field) for field in _FIELDS])
        if not members:
            beside = f" but {describe(passed_over)}; unpack it first" if passed_over else ""
            raise DataError(f"{place.name} holds no picture{beside}")
        members.folders = {folder for folder in members.folders if not folder.endswith("\0")}
        super().__init__(place, members, reading)
        self.passed_over = passed_over
        columns = np.array(abouts).reshape(-1, len(_FIELDS)).T
        self._abouts = [column.astype(np.min_scalar_type(column.max())) for column in columns]

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[ZIP], self._reading)

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        """See `ImageSource.read`."""
        self._opened = self._opened or _Archives(self._place)
        return super().read(start, stop)

    def close(self) -> None:
        """See `ImageSource.close`."""
        if self._opened is not None:
            self._opened.close()

    def _keep(self, start: int, stop: int) -> None:
        self._abouts = [column[start - self._first : stop - self._first] for column in self._abouts]
        super()._keep(start, stop)

    def _fetch(self, first: int, names: list[str]) -> list[bytes | Refused]:
        assert self._opened is not None  # noqa: S101
        found: list[bytes | Refused] = []
        abouts = zip(*(column[first : first + len(names)].tolist() for column in self._abouts), strict=True)
        for name, values in zip(names, abouts, strict=True):
            archive, member = name.split(_WITHIN, 1)
            about = zipfile.ZipInfo(member)
            for field, value in zip(_FIELDS, values, strict=True):
                setattr(about, field, value)
            found.append(_read(self._opened.of(archive), about))
        return found

    def _shown(self, names: list[str]) -> list[str]:
        return [name.replace(_WITHIN, ": ", 1) for name in names]


def _members(place: Place, name: str, reading: Reading, passed_over: Counter[str]) -> Iterator[zipfile.ZipInfo]:
    """The pictures in an archive."""
    path = place.full(name)
    with Files() as files, reported(path):
        stream = files.stream(place, name, seek=True)
        try:
            found = zipfile.ZipFile(stream).NameToInfo
        except (zipfile.BadZipFile, ValueError) as error:
            raise FormatError(f"{path} is truncated or damaged ({one_line(error)}); fetch it again") from error
    for member in sorted(found):
        hidden = is_hidden(member)
        if member.endswith("/"):
            continue
        if not hidden and kind_of_name(member) == PICTURES:
            yield found[member]
        elif reading.strict:
            raise FormatError(f"{path} holds {member}, no picture that is read; leave --strict out")
        else:
            passed_over["hidden" if hidden else kind_of(member)] += 1


def _read(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> bytes | Refused:
    if about.flag_bits & _ENCRYPTED:
        return Refused("is encrypted, expected a picture; unpack it first")
    if about.file_size > LARGEST:
        return Refused(f"takes {about.file_size:,} bytes, expected at most {LARGEST:,}")
    try:
        return archive.read(about)  # several threads may: it locks its file
    except _DAMAGED as error:
        return Refused(f"can't be unpacked ({one_line(error)}), expected a picture")
