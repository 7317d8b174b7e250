"""A folder for files, on a disk or behind an address, that several processes and machines may write to at once."""

import contextlib
import errno
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DataError, OutputError, PipelineError
from pipeline.shared.files import flush, make_readable
from pipeline.sources.failures import explain
from pipeline.sources.places import reported

_SCRATCH = ".scratch-"
_NO_FILE = FileNotFoundError, NotADirectoryError, IsADirectoryError
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Store(ABC):
    """See the module. Picklable: it connects again where it arrives.

    Names are relative to it, with slashes. What fails is an `OutputError` where something was to be written or removed,
    and a `DataError` where it was to be read.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __str__(self) -> str:
        return self.address

    def full(self, name: str) -> str:
        """The whole address of a file."""
        return f"{self.address.rstrip('/')}/{name}".rstrip("/")

    @abstractmethod
    def create(self, name: str, content: Path | bytes) -> bool:
        """Put a file under a name unless one is there; False if there is.

        It appears whole or not at all, to all machines. A `Path` is taken over: where this returns True it is gone.
        It may be a folder of files, of which the files may appear one after the other.
        """

    @abstractmethod
    def replace(self, name: str, content: Path | bytes) -> None:
        """Put a file, or a folder of files, under a name, whatever is there; a `Path` is taken over."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """What is in a file; None if it is not there."""

    @abstractmethod
    def read_all(self, below: str) -> Iterator[tuple[str, bytes]]:
        """The names of all small files below a folder, sorted, and what is in them; a hundred or so are held."""

    @abstractmethod
    def fetch(self, name: str, to: Path) -> None:
        """Copy a file to a local one."""

    def names(self, below: str = "") -> Iterator[str]:
        """The names of all files below a folder, or of a file, sorted as text."""
        return (name for name, _ in self.marks(below))

    @abstractmethod
    def marks(self, below: str = "") -> Iterator[tuple[str, str]]:
        """Names, as `names` has them, and what tells each from another of that name: its size, and checksum or time."""

    @abstractmethod
    def remove(self, below: str = "") -> None:
        """Remove a file or a folder with all that is below it; nothing, if there is none."""

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty local folder to make a file in, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="vae-") as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def _written(self, name: str) -> Iterator[None]:
        """Turn whatever disks and drivers raise into an `OutputError`."""
        try:
            yield
        except (PipelineError, MemoryError):
            raise
        except Exception as error:
            found, advice = explain(error)
            if isinstance(error, OSError) and error.errno:
                found, advice = error.strerror or found, "free some space or choose another place"
            raise OutputError(f"cannot write {self.full(name)}: {found}; {advice}") from error


class LocalStore(Store):
    """On a disk, which machines may share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder

    def create(self, name: str, content: Path | bytes) -> bool:
        """See `Store.create`. A folder appears whole, too.

        Where the file system has no hard links, of two that create a file at the same moment both may be told True.
        """
        with self._written(name), self._made(content) as made:
            return self._create(made, self.folder / name)

    def _create(self, made: Path, place: Path) -> bool:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if made.is_dir():
                made.rename(place)
                return True
            place.hardlink_to(made)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                if place.exists():
                    return False
                raise
            if error.errno not in _NO_LINKS:
                raise
            if place.exists():
                return False
            made.replace(place)
        else:
            made.unlink()
        return True

    def replace(self, name: str, content: Path | bytes) -> None:  # noqa: D102
        with self._written(name), self._made(content) as made:
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir() or made.is_dir():
                with self.scratch() as folder, contextlib.suppress(FileNotFoundError):
                    place.rename(folder / "old")
            made.replace(place)

    @contextlib.contextmanager
    def _made(self, content: Path | bytes) -> Iterator[Path]:
        """What is to be put, on this file system, and on the disk itself."""
        with contextlib.ExitStack() as stack:
            if isinstance(content, bytes):
                made = stack.enter_context(self.scratch()) / "made"
                made.write_bytes(content)
            elif content.stat().st_dev != self._device():
                made = stack.enter_context(self.scratch()) / "made"
                (shutil.copytree if content.is_dir() else shutil.copyfile)(content, made)
            else:
                made = content
            for file in (*made.rglob("*"), made) if made.is_dir() else (made,):
                flush(file)
            yield made
        if made != content and isinstance(content, Path) and not made.exists():
            delete(content)

    def _device(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder.stat().st_dev

    def read(self, name: str) -> bytes | None:  # noqa: D102
        with reported(self.full(name)), contextlib.suppress(*_NO_FILE):
            return (self.folder / name).read_bytes()
        return None

    def read_all(self, below: str) -> Iterator[tuple[str, bytes]]:  # noqa: D102
        for name in self.names(below):
            if (content := self.read(name)) is not None:
                yield name, content

    def fetch(self, name: str, to: Path) -> None:  # noqa: D102
        with reported(self.full(name)):
            if not (self.folder / name).is_file():
                raise DataError(f"{self.full(name)} was not found; check its name")
            shutil.copyfile(self.folder / name, to)

    def names(self, below: str = "") -> Iterator[str]:  # noqa: D102
        with reported(self.full(below)):
            place = self.folder / below
            yield from [below] if place.is_file() else _walk(place, f"{below.rstrip('/')}/".lstrip("/"))

    def marks(self, below: str = "") -> Iterator[tuple[str, str]]:  # noqa: D102
        for name in self.names(below):
            with reported(self.full(name)), contextlib.suppress(FileNotFoundError):
                about = (self.folder / name).stat()
                yield name, f"{about.st_size} {about.st_mtime_ns}"

    def remove(self, below: str = "") -> None:  # noqa: D102
        with self._written(below):
            delete(self.folder / below)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder in this one, which the listings pass over."""
        with self._written(""):
            self.folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.folder))
            make_readable(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def open_store(address: str | Path) -> Store:
    """The store in a folder, or behind an address, which has `://` in it.

    Raises:
        DataError: no driver for it, or it can't be reached.
    """
    if "://" not in str(address):
        return LocalStore(Path(address))
    from pipeline.jobs.remote_store import open_remote  # noqa: PLC0415

    return open_remote(str(address))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """The names of all files below a folder, sorted as text; one folder is held at a time."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith(_SCRATCH)
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder / name, prefix + name)
        else:
            yield prefix + name


def delete(path: Path) -> None:
    """Remove a local file or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_missing_is_fine)
    else:
        with contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)


def _missing_is_fine(_function: object, _path: str, found: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(found[1], FileNotFoundError):  # another process deletes the same
        raise found[1]
