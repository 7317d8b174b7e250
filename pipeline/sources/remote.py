"""Files behind an address, of any system for which fsspec has a driver."""

import contextlib
import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pipeline.errors import DataError
from pipeline.shared.text import one_line
from pipeline.sources import s3
from pipeline.sources.failures import NO_RANGES, explain, is_missing
from pipeline.sources.places import WILD, Place, expand, find_local, fixed, reported
from pipeline.sources.rows import Refused

# What drivers tell of the state of a file, under the names that they have for it.
_TOLD = "size", "ETag", "mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created", "md5Hash"
_BUFFER = 1 << 20


class RemotePlace(Place):
    """Files behind an address, by way of fsspec."""

    def __init__(self, name: str, root: str, kind: str, matching: str, system: Any) -> None:
        super().__init__(name, root, kind, matching)
        self._system = system
        self._begin()

    def _begin(self) -> None:
        """What is of this process alone."""
        self._found: dict[str, dict[str, Any]] = {}
        self._one = contextlib.nullcontext() if self._system.async_impl else threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_found", "_one")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def entries(self) -> Iterator[str]:
        """See `Place.entries`."""
        self._system.invalidate_cache()  # of listings
        match self.kind:
            case "file":
                found = {self._matching: self._system.info(self._matching)}
            case "folder":
                found = self._system.find(self._root, detail=True)
            case _:
                found = {}
                for pattern in expand(self._matching):
                    found |= self._system.glob(pattern, detail=True)
        self._found = {
            path[len(self._root) :].lstrip("/"): info for path, info in found.items() if info["type"] != "directory"
        }
        yield from sorted(self._found)

    def mark(self, name: str) -> str:
        """See `Place.mark`: what the driver told when it listed the files."""
        info = self._found[name]
        return repr([(key, info[key]) for key in _TOLD if key in info])

    def open(self, name: str, *, seek: bool = False) -> BinaryIO:
        """See `Place.open`. A server without ranges gives streams, so nothing else is asked of one unless needed."""
        web = self._protocol.startswith("http")
        file = self._system.open(self._root + name, "rb", **({"block_size": 0} if web and not seek else {}))
        if not web or file.size is not None:
            return file  # type: ignore[no-any-return]
        if seek:
            file.close()
            found, advice = NO_RANGES
            raise DataError(f"{self.full(name)} can't be read: {found}; {advice}")
        return io.BufferedReader(_Stream(file), _BUFFER)

    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """See `Place.fetch`: many at a time where the driver can."""
        paths = [self._root + name for name in names]
        plain = [path for path in paths if not any(sign in path for sign in WILD)]  # the others fsspec would expand
        with self._one:  # a driver that doesn't say otherwise is for one thread
            found = self._system.cat(plain, on_error="return") if plain else {}
            contents = [found[path] if path in found else self._fetch(path) for path in paths]
        return [
            content if isinstance(content, bytes) else Refused(f"can't be read ({explain(content)[0]})")
            for content in contents
        ]

    def _fetch(self, path: str) -> Any:
        try:
            return self._system.cat_file(path)
        except Exception as error:  # as `cat` gives it
            return error

    def full(self, name: str) -> str:
        """See `Place.full`."""
        return str(self._system.unstrip_protocol(self._root + name))

    def bare(self, name: str) -> str:
        """See `Place.bare`: a web address may go on after a question mark."""
        return name.partition("?")[0] if self._protocol.startswith("http") else name

    @property
    def _protocol(self) -> str:
        protocol = self._system.protocol
        return str(protocol if isinstance(protocol, str) else protocol[0])


def find_remote(name: str, expected: str) -> Place:
    """What lies at an address, with `://` in it.

    Raises:
        DataError: nothing lies there; expected was `expected`; or its driver isn't installed, or it fails.
    """
    if s3.is_s3(name):
        from pipeline.sources.objects import find_s3  # noqa: PLC0415

        return find_s3(name, expected)
    system, path = connect(name)
    protocol = name.partition("://")[0]
    wild = WILD.replace("?", "") if protocol.startswith("http") else WILD
    with reported(name):
        if any(sign in path for sign in wild):
            return RemotePlace(name, fixed(path), "pattern", path, system)
        try:
            info = system.info(path)
        except FileNotFoundError as error:
            if not is_missing(error):
                raise
            raise DataError(f"{name} was not found; expected {expected}") from None
        if info["type"] == "directory" or (protocol.startswith("http") and path.endswith("/")):
            return RemotePlace(name, f"{path.rstrip('/')}/", "folder", "", system)
        bare = path.partition("?")[0] if protocol.startswith("http") else path
        return RemotePlace(name, path[: bare.rfind("/") + 1], "file", path, system)


def find_place(name: str, expected: str) -> Place:
    """What lies at a path, a pattern or an address; as `find_local` and `find_remote`."""
    return find_remote(name, expected) if "://" in name else find_local(name, expected)


def connect(name: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        DataError: its driver isn't installed, or it fails.
    """
    protocol = name.partition("://")[0]
    try:
        import fsspec  # noqa: PLC0415

        system, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError) as error:
        advice = s3.INSTALL if protocol == "s3" else f"install the driver for {protocol}://"
        raise DataError(f"{name} can't be reached: {one_line(error)}; {advice}") from error
    except Exception as error:  # whatever a driver raises over wrong options or missing rights
        found, advice = explain(error)
        raise DataError(f"{name} can't be reached: {found}; {advice}") from error
    return system, path


class _Stream(io.RawIOBase):
    """What comes from front to back; once it has ended it is not asked again.

    gzip does ask, and aiohttp takes that for an endless loop, and says so at length.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._ended = file, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b"" if self._ended else self._file.read(len(buffer))
        self._ended = not content
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
