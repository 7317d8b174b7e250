"""Zip files full of pictures, read as the folders that they would unpack to."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator

from pipeline.errors import DataError, FormatError
from pipeline.shared.text import one_line
from pipeline.sources.kinds import PICTURES, SUFFIXES, ZIP, kind_of_name
from pipeline.sources.members import is_hidden
from pipeline.sources.pictures import Pictures
from pipeline.sources.places import Names, Place, kind_of, reported
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Refused, describe
from pipeline.sources.streams import Files
from pipeline.sources.tars import LARGEST

_WITHIN = "\0/"  # between the name of an archive and that of a member, neither of which can hold it
_ENCRYPTED = 1  # of the flags of a member
# What zipfile, zlib and the others raise over damaged bytes; NotImplementedError is a method that it doesn't know.
_DAMAGED = zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError


class Zips(Pictures):
    """Zip files, one after the other, the members of each in the order of their names."""

    def __init__(self, place: Place, names: Names, reading: Reading) -> None:
        self._files = Files()
        self._archives: dict[str, zipfile.ZipFile] = {}
        passed_over: Counter[str] = Counter(names.passed_over)
        try:
            members = Names()
            for index in range(len(names)):
                for member in self._members(place, names[index], reading, passed_over):
                    members.append(f"{names[index]}{_WITHIN}{member}")
            if not members:
                beside = f" but {describe(passed_over)}; unpack it first" if passed_over else ""
                raise DataError(f"{place.name} holds no picture{beside}")
            members.folders = {folder for folder in members.folders if not folder.endswith("\0")}
            super().__init__(place, members, reading)
        except BaseException:
            self._files.close()
            raise
        self.passed_over = passed_over

    def state(self) -> str:
        """See `ImageSource.state`."""
        return self._place.state(SUFFIXES[ZIP], self._reading)

    def close(self) -> None:
        """See `ImageSource.close`."""
        self._files.close()

    def _members(self, place: Place, name: str, reading: Reading, passed_over: Counter[str]) -> Iterator[str]:
        path = place.full(name)
        with reported(path):
            stream = self._files.stream(place, name, seek=True)
            try:
                archive = self._files.enter_context(zipfile.ZipFile(stream))
            except (zipfile.BadZipFile, ValueError) as error:
                raise FormatError(f"{path} is truncated or damaged ({one_line(error)}); fetch it again") from error
        self._archives[name] = archive
        for member in sorted(archive.NameToInfo):
            hidden = is_hidden(member)
            if member.endswith("/"):
                continue
            if not hidden and kind_of_name(member) == PICTURES:
                yield member
            elif reading.strict:
                raise FormatError(f"{path} holds {member}, no picture that is read; leave --strict out")
            else:
                passed_over["hidden" if hidden else kind_of(member)] += 1

    def _fetch(self, names: list[str]) -> list[bytes | Refused]:
        return [self._read(*name.split(_WITHIN, 1)) for name in names]

    def _read(self, archive: str, member: str) -> bytes | Refused:
        about = self._archives[archive].NameToInfo[member]
        if about.flag_bits & _ENCRYPTED:
            return Refused("is encrypted, expected a picture; unpack it first")
        if about.file_size > LARGEST:
            return Refused(f"takes {about.file_size:,} bytes, expected at most {LARGEST:,}")
        try:
            return self._archives[archive].read(about)  # several threads may: it locks its file
        except _DAMAGED as error:
            return Refused(f"can't be unpacked ({one_line(error)}), expected a picture")

    def _shown(self, names: list[str]) -> list[str]:
        return [name.replace(_WITHIN, ": ", 1) for name in names]
