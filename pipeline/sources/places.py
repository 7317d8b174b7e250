"""Where files lie: a file, a folder or a pattern, on a disk or (`remote.py`) behind an address."""

import contextlib
import hashlib
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from glob import iglob
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DataError, PipelineError
from pipeline.shared.text import one_line
from pipeline.sources.failures import explain
from pipeline.sources.rows import Refused

WILD = "*?["
_AT_ONCE = 1 << 16  # most pictures are smaller


class Place(ABC):
    """A file, a folder or the files that match a pattern."""

    def __init__(self, name: str, root: str, kind: str, matching: str = "") -> None:
        self.name = name
        """As the user typed it."""
        self.kind = kind
        """`file`, `folder` or `pattern`."""
        self._root = root
        """What the names of files are relative to; ends in a slash unless it is empty."""
        self._matching = matching

    @abstractmethod
    def marks(self, suffixes: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
        """The names of all files with one of these suffixes, in order, each with what tells its state.

        They are relative, with slashes, and sorted as text. What begins with a dot is passed over.
        """

    @abstractmethod
    def open(self, name: str, *, seek: bool = False) -> BinaryIO:
        """A file as a stream of bytes, in which one can `seek` if that is said to be needed."""

    @abstractmethod
    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """The contents of small files."""

    def files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """The names of all files with one of these suffixes, in order."""
        return (name for name, _ in self.marks(suffixes))

    def state(self, suffixes: Sequence[str], *choices: object) -> str:
        """Digest of the names, sizes and times of change of files, and of choices."""
        digest = hashlib.sha256(repr(choices).encode())
        with reported(self.name):
            for name, mark in self.marks(suffixes):
                digest.update(f"{name}\0{mark()}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def full(self, name: str) -> str:
        """The whole path of a file, as a human would type it."""
        return self._root + name

    def ends(self, name: str, suffixes: str | tuple[str, ...]) -> bool:
        """Whether the name of a file has one of these suffixes, in either case."""
        return name.lower().endswith(suffixes)


class LocalPlace(Place):
    """Files on a disk."""

    def marks(self, suffixes: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
        """See `Place.marks`. Links to folders are followed unless they lead back to where they are."""
        match self.kind:
            case "file":
                names: Iterable[str] = [Path(self.name).name]
            case "folder":
                names = _walk(self._root, "", suffixes, ())
            case _:
                found = iglob(self._matching, root_dir=self._root or None, recursive=True)  # noqa: PTH207
                names = sorted(name for name in found if wanted(name, suffixes))
        return ((name, partial(_mark, self._root + name)) for name in names)

    def open(self, name: str, *, seek: bool = False) -> BinaryIO:  # noqa: ARG002
        """See `Place.open`: one can always seek."""
        return Path(self._root + name).open("rb")

    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """See `Place.fetch`."""
        return [self._fetch(name) for name in names]

    def _fetch(self, name: str) -> bytes | Refused:
        try:
            handle = os.open(self._root + name, os.O_RDONLY)  # half the time of a file object
            try:
                content = part = os.read(handle, _AT_ONCE)
                while len(part) == _AT_ONCE:
                    part = os.read(handle, _AT_ONCE)
                    content += part
            finally:
                os.close(handle)
            return content
        except OSError as error:
            return Refused(f"can't be read ({error.strerror or error}), expected a picture")


def find_local(name: str, expected: str) -> Place:
    """What lies at a path or a pattern (`pile/*.png`, `pile/**/*.jpg`).

    Raises:
        DataError: nothing lies there; expected was `expected`.
    """
    with reported(name):
        if Path(name).is_dir():
            return LocalPlace(name, f"{name.rstrip('/')}/", "folder")
        if Path(name).exists():
            return LocalPlace(name, name[: len(name) - len(Path(name).name)], "file")
    if any(sign in name for sign in WILD):
        root = fixed(name)
        return LocalPlace(name, root, "pattern", name[len(root) :])
    raise DataError(f"{name} was not found; expected {expected}")


@contextlib.contextmanager
def reported(name: str) -> Iterator[None]:
    """Turn whatever drivers, disks and parsers raise into a `DataError` that names the file."""
    try:
        yield
    except (PipelineError, MemoryError):
        raise
    except Exception as error:
        found, advice = explain(error)
        raise DataError(f"{name} can't be read: {found}; {advice}") from error


class Names:
    """Many names in little memory: one after the other, with where each ends."""

    def __init__(self, names: Iterable[str]) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        self.folders: set[str] = set()
        """In which they lie."""
        self.suffixes: set[str] = set()
        """The last of each, in lower case."""
        for name in names:
            folder, _, base = name.rpartition("/")
            self.folders.add(folder)
            self.suffixes.add(base[base.rfind(".") :].lower())
            self._text += name.encode(errors="surrogatepass")  # for a disk's names need not be text
            self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._text[self._ends[index] : self._ends[index + 1]].decode(errors="surrogatepass")


def _walk(folder: str, prefix: str, suffixes: Sequence[str], above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    about = Path(folder).stat()
    here = about.st_dev, about.st_ino
    if here in above:
        return
    with os.scandir(folder) as entries:
        # A folder sorts with its slash, so that all paths come sorted as text though one folder is held at a time.
        names = sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith("."))
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder + name, prefix + name, suffixes, (*above, here))
        elif name.lower().endswith(tuple(suffixes)):
            yield prefix + name


def wanted(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file has one of these suffixes and nothing on the way to it is hidden."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and name.lower().endswith(tuple(suffixes))


def _mark(path: str) -> str:
    try:
        about = Path(path).stat()
    except OSError as error:
        return one_line(error)
    return f"{about.st_size} {about.st_mtime_ns}"


def fixed(pattern: str) -> str:
    """The part of a pattern up to the last slash before its first wildcard."""
    first = min(pattern.find(sign) for sign in WILD if sign in pattern)
    return pattern[: pattern.rfind("/", 0, first) + 1]
