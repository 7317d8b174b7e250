"""Where files lie: a file, a folder or a pattern, on a disk or (`remote.py`) behind an address."""

import contextlib
import hashlib
import io
import itertools
import os
import re
import stat
from abc import ABC, abstractmethod
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import iglob
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import DataError, PipelineError
from pipeline.shared.text import one_line
from pipeline.sources.failures import explain
from pipeline.sources.rows import Refused

WILD = "*?[{"
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_STAT_AT_ONCE, _STAT_THREADS = 4096, 4
_AT_ONCE = 1 << 16  # most pictures are smaller
_BUFFER = 1 << 20


class Place(ABC):
    """A file, a folder or the files that match a pattern."""

    def __init__(self, name: str, root: str, kind: str, matching: str = "") -> None:
        self.name = name
        """As the user typed it."""
        self.kind = kind
        """`file`, `folder` or `pattern`."""
        self.once = False
        """Whether it can be read in this process alone."""
        self._root = root
        """What the names of files are relative to; ends in a slash unless it is empty."""
        self._matching = matching

    @abstractmethod
    def entries(self) -> Iterator[str]:
        """The names of all files, relative, with slashes and sorted as text; a hidden folder is one of them."""

    @abstractmethod
    def mark(self, name: str) -> str:
        """What tells the state of a file that `entries` has named: its size and time of change."""

    @abstractmethod
    def open(self, name: str, *, seek: bool = False) -> BinaryIO:
        """A file as a stream of bytes, in which one can `seek` if that is said to be needed."""

    @abstractmethod
    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """The contents of small files."""

    def span(self, name: str, start: int, stop: int) -> BinaryIO:
        """The bytes of a file from `start` up to `stop`, as a stream; it ends before if the file does."""
        file = self.open(name, seek=True)
        file.seek(start)
        return Span.of(file, stop - start)

    def files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """The names of all files with one of these suffixes, in either case, but for those that begin with a dot."""
        ends = tuple(suffixes)
        for name in self.entries():
            if self.kind == "file" or (name.lower().endswith(ends) and not hidden(name)):
                yield name

    def state(self, suffixes: Sequence[str], *choices: object) -> str:
        """Digest of the names, sizes and times of change of files, and of choices."""
        digest = hashlib.sha256(repr(choices).encode())
        with reported(self.name):
            for marks in self._marks(self.files(suffixes)):
                digest.update(marks)
        return digest.hexdigest()

    def _marks(self, names: Iterator[str]) -> Iterator[bytes]:
        """Names and marks, some thousands of files at a time."""
        while some := list(itertools.islice(names, _STAT_AT_ONCE)):
            yield self._marked(some)

    def _marked(self, names: Sequence[str]) -> bytes:
        return "".join([f"{name}\0{self.mark(name)}\n" for name in names]).encode(errors="surrogatepass")

    def full(self, name: str) -> str:
        """The whole path of a file, as a human would type it."""
        return self._root + name

    def bare(self, name: str) -> str:
        """The name of a file without what an address may add to it."""
        return name

    def ends(self, name: str, suffixes: str | tuple[str, ...]) -> bool:
        """Whether the name of a file has one of these suffixes, in either case."""
        return self.bare(name).lower().endswith(suffixes)


class Span(io.RawIOBase):
    """So many bytes of a stream from where it stands."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    @classmethod
    def of(cls, file: BinaryIO, size: int) -> io.BufferedReader:
        """As a stream that gives as much as is asked for unless it ends."""
        return io.BufferedReader(cls(file, size), _BUFFER)

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        content = self._file.read(min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def close(self) -> None:
        """See `io.IOBase`."""
        self._file.close()
        super().close()


class LocalPlace(Place):
    """Files on a disk."""

    def entries(self) -> Iterator[str]:
        """See `Place.entries`. Links to folders are followed unless they lead back to where they are."""
        match self.kind:
            case "file":
                names: Iterable[str] = [Path(self.name).name]
            case "folder":
                names = _walk(self._root, "", ())
            case _:
                found = set[str]().union(*(self._glob(pattern) for pattern in expand(self._matching)))
                names = sorted(name for name in found if not Path(self._root + name).is_dir())
        return iter(names)

    def mark(self, name: str) -> str:
        """See `Place.mark`."""
        try:
            about = os.stat(self._root + name)  # noqa: PTH116  (a third of the time, for each of a million pictures)
        except OSError as error:
            return one_line(error)
        return f"{about.st_size} {about.st_mtime_ns}"

    def _marks(self, names: Iterator[str]) -> Iterator[bytes]:
        """See `Place._marks`: by several threads if there are many, since each file takes the kernel microseconds."""
        first = list(itertools.islice(names, _STAT_AT_ONCE))
        if len(first) < _STAT_AT_ONCE:
            yield self._marked(first)
            return
        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            waiting = deque([pool.submit(self._marked, first)])
            while waiting:
                while len(waiting) < 2 * _STAT_THREADS and (some := list(itertools.islice(names, _STAT_AT_ONCE))):
                    waiting.append(pool.submit(self._marked, some))
                yield waiting.popleft().result()

    def _glob(self, pattern: str) -> Iterable[str]:
        if any(sign in pattern for sign in WILD):
            return iglob(pattern, root_dir=self._root or None, recursive=True)  # noqa: PTH207
        if not Path(self._root + pattern).exists():
            raise DataError(f"{self._root}{pattern} was not found; {self.name} stands for it")
        return [pattern]

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
        if name == "-" or _is_stream(name):
            from pipeline.sources.piped import PipedPlace  # noqa: PLC0415

            return PipedPlace(name)
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

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.passed_over: Counter[str] = Counter()
        """What lies beside them, by kind."""
        self._text, self._ends = bytearray(), array("q", [0])
        self.folders: set[str] = set()
        """In which they lie."""
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add one."""
        self.folders.add(name.rpartition("/")[0])
        self._text += name.encode(errors="surrogatepass")  # for a disk's names need not be text
        self._ends.append(len(self._text))

    def stretch(self, start: int, stop: int) -> list[str]:
        """Those from `start` up to `stop`."""
        first, ends = self._ends[start], self._ends[start : stop + 1]
        text = self._text[first : ends[-1]]
        if not text.isascii():
            return [self[index] for index in range(start, stop)]
        plain = text.decode()
        return [plain[one - first : other - first] for one, other in itertools.pairwise(ends)]

    def cut(self, start: int, stop: int) -> "Names":
        """Those from `start` up to `stop` alone, without their folders and what lies beside them."""
        part, ends = Names(), np.array(self._ends[start : stop + 1])
        part._text = self._text[ends[0] : ends[-1]]
        part._ends = array("q", (ends - ends[0]).tobytes())
        return part

    def __getstate__(self) -> Any:
        lengths = np.diff(np.array(self._ends))
        return bytes(self._text), lengths.astype(np.min_scalar_type(lengths.max(initial=0))), self.folders

    def __setstate__(self, state: Any) -> None:
        text, lengths, self.folders = state
        self.passed_over = Counter()
        self._text, self._ends = bytearray(text), array("q", np.cumsum([0, *lengths], dtype=np.int64).tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._text[self._ends[index] : self._ends[index + 1]].decode(errors="surrogatepass")


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    about = Path(folder).stat()
    here = about.st_dev, about.st_ino
    if here in above:
        return
    with os.scandir(folder) as entries:
        # A folder sorts with its slash, so that all paths come sorted as text though one folder is held at a time.
        names = sorted(entry.name + "/" * (entry.is_dir() and not entry.name.startswith(".")) for entry in entries)
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder + name, prefix + name, (*above, here))
        else:
            yield prefix + name


def hidden(name: str) -> bool:
    """Whether anything on the way to a file begins with a dot."""
    return name.startswith(".") or "/." in name


def kind_of(name: str) -> str:
    """What a file is counted as where it is passed over: its suffix, or `hidden`, or `without a suffix`."""
    base = name.rpartition("/")[2]
    if hidden(name):
        return "hidden"
    return base[base.rfind(".") :].lower() if "." in base else "without a suffix"


def _is_stream(name: str) -> bool:
    """Whether a path is a pipe or a terminal, not a file that can be read twice."""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116  (of what a link leads to, whatever that is)
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def expand(pattern: str) -> list[str]:
    """All that a pattern with braces stands for: `s-{08..10}` for three names, `{train,test}` for two."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    first, last, words = match.groups()
    if words is None:
        step = 1 if int(first) <= int(last) else -1
        numbers = range(int(first), int(last) + step, step)
        choices = [str(number).zfill(len(first)) for number in numbers]
    else:
        choices = words.split(",")
    rest = expand(pattern[match.end() :])
    return [pattern[: match.start()] + choice + tail for choice, tail in itertools.product(choices, rest)]


def fixed(pattern: str) -> str:
    """The part of a pattern up to the last slash before its first wildcard."""
    first = min(pattern.find(sign) for sign in WILD if sign in pattern)
    return pattern[: pattern.rfind("/", 0, first) + 1]
