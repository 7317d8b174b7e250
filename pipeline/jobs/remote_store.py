"""Stores behind an address: S3 by obstore, all others by their fsspec driver."""

import contextlib
import hashlib
import itertools
import mmap
import random
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pipeline.jobs.store import Store, delete
from pipeline.sources import s3
from pipeline.sources.failures import explain, is_passing
from pipeline.sources.places import reported
from pipeline.sources.remote import connect

_AT_ONCE = 32  # requests for small objects
_PIECE, _MOST_PIECES = 8 << 20, 9_000  # of a large file; S3 takes 10,000 of at least 5 MiB
_CHECKSUMS = ("ETag", "etag", "e_tag", "md5Hash", "crc32c", "content_md5", "checksum")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")

T = TypeVar("T")
R = TypeVar("R")


class RemoteStore(Store):
    """Behind an address. A folder is put file by file over what is there; what says that it is whole follows."""

    def create(self, name: str, content: Path | bytes) -> bool:
        """See `Store.create`."""
        with self._written(name):
            if isinstance(content, Path) and content.is_dir():
                self._put_folder(name, content)
            elif not self._create(name, content):
                return False
            if isinstance(content, Path):
                delete(content)
        return True

    def replace(self, name: str, content: Path | bytes) -> None:  # noqa: D102
        with self._written(name):
            if isinstance(content, Path) and content.is_dir():
                self.remove(name)
                self._put_folder(name, content)
            else:
                self._put(name, content)
            if isinstance(content, Path):
                delete(content)

    def _put_folder(self, name: str, folder: Path) -> None:
        files = (file for file in sorted(folder.rglob("*")) if file.is_file())
        for _ in self._each(lambda file: self._put(f"{name}/{file.relative_to(folder).as_posix()}", file), files):
            pass

    def read_all(self, below: str) -> Iterator[tuple[str, bytes]]:  # noqa: D102
        for name, content in self._each(lambda name: (name, self.read(name)), self.names(below)):
            if content is not None:
                yield name, content

    def _each(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """A function of many items, some at a time, in their order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = deque[Future[R]]()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @abstractmethod
    def _create(self, name: str, content: Path | bytes) -> bool: ...

    @abstractmethod
    def _put(self, name: str, content: Path | bytes) -> None: ...


class S3Store(RemoteStore):
    """On S3: several machines that create the same object are told apart."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._bucket, self._root = s3.split(address)
        _ = self._client

    @property
    def _client(self) -> Any:
        return s3.connect(self._bucket)

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}".strip("/")

    def _create(self, name: str, content: Path | bytes) -> bool:
        """One conditional request, of at most 5 GB.

        Made again until it is known what became of it. If an answer was lost, and there is an object with the same
        content, that is taken for the one that was sent.
        """
        client, key = s3.connect(self._bucket, patience=0), self._key(name)
        end, lost = time.monotonic() + s3.PATIENCE, False
        with _bytes_of(content) as body:
            for attempt in itertools.count():
                try:
                    client.put(key, body, mode="create")
                    return True
                except Exception as error:
                    conflict = type(error).__name__ == "AlreadyExistsError"
                    if conflict and (there := s3.head(self._client, key)):
                        return lost and _is_same(there, body)
                    # 409 without an object: another's request was under way, and came to nothing
                    if not (conflict or is_passing(error)) or time.monotonic() > end:
                        raise
                    lost = lost or not conflict
                    time.sleep(min(5.0, 0.1 * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311
        raise AssertionError

    def _put(self, name: str, content: Path | bytes) -> None:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        piece = max(_PIECE, size // _MOST_PIECES)
        body = content if size else b""
        self._client.put(self._key(name), body, chunk_size=piece, max_concurrency=4)

    def read(self, name: str) -> bytes | None:  # noqa: D102
        with reported(self.full(name)):
            try:
                return bytes(self._client.get(self._key(name)).bytes())
            except FileNotFoundError as error:
                if explain(error)[0] != "it was not found":
                    raise
                return None

    def fetch(self, name: str, to: Path) -> None:  # noqa: D102
        with reported(self.full(name)):
            stream = self._client.get(self._key(name)).stream(min_chunk_size=1 << 20)
            with to.open("wb") as file:
                for some in stream:
                    file.write(some)

    def marks(self, below: str = "") -> Iterator[tuple[str, str]]:  # noqa: D102
        key, cut = self._key(below), len(self._root) + bool(self._root)
        with reported(self.full(below)):
            found = iter(s3.listed(self._client, key))
            first = next(found, None)
            if first is None and key and (about := s3.head(self._client, key)):
                first = key, s3.mark_of(about)
        for path, mark in itertools.chain([first] if first else [], found):
            yield path[cut:], mark

    def remove(self, below: str = "") -> None:  # noqa: D102
        with self._written(below):
            key = self._key(below)
            if key:
                self._client.delete(key)
            for some in self._client.list(key or None, chunk_size=1000):
                self._client.delete([about["path"] for about in some])


class FileStore(RemoteStore):
    """By a driver of fsspec.

    Two that create a file at the same moment are not told apart, and whether a file appears whole is the driver's.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        _ = self._system

    @property
    def _system(self) -> Any:
        return connect(self.address)[0]

    def _path(self, name: str) -> str:
        return f"{connect(self.address)[1].rstrip('/')}/{name}".rstrip("/")

    def _each(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """One after the other: not all drivers are for several threads."""
        return map(function, items)

    def _create(self, name: str, content: Path | bytes) -> bool:
        self._system.invalidate_cache()
        if self._system.exists(self._path(name)):
            return False
        self._put(name, content)
        return True

    def _put(self, name: str, content: Path | bytes) -> None:
        path = self._path(name)
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(content, bytes):
            self._system.pipe_file(path, content)
        else:
            self._system.put_file(str(content), path)

    def read(self, name: str) -> bytes | None:  # noqa: D102
        with reported(self.full(name)):
            try:
                return bytes(self._system.cat_file(self._path(name)))
            except (FileNotFoundError, NotADirectoryError) as error:
                if isinstance(error, FileNotFoundError) and explain(error)[0] != "it was not found":
                    raise
                return None

    def fetch(self, name: str, to: Path) -> None:  # noqa: D102
        with reported(self.full(name)):
            self._system.get_file(self._path(name), str(to))

    def marks(self, below: str = "") -> Iterator[tuple[str, str]]:  # noqa: D102
        with reported(self.full(below)):
            self._system.invalidate_cache()
            found, cut = self._system.find(self._path(below), detail=True), len(self._path("")) + 1
        for path, about in sorted(found.items()):
            yield path[cut:], " ".join([str(about["size"]), *_identity(about)])

    def remove(self, below: str = "") -> None:  # noqa: D102
        with self._written(below):
            self._system.invalidate_cache()
            if self._system.exists(self._path(below)):
                self._system.rm(self._path(below), recursive=True)


def open_remote(address: str) -> RemoteStore:
    """The store behind an address.

    Raises:
        DataError: no driver for it, or it can't be reached.
    """
    return S3Store(address) if s3.is_s3(address) else FileStore(address)


def _identity(about: dict[str, Any]) -> list[str]:
    """What tells an object from another of the same name and size, by the keys of the drivers of fsspec."""
    for keys in (_CHECKSUMS, _TIMES):
        if found := [f"{key}={about[key]}" for key in keys if about.get(key)]:
            return found
    return []


@contextlib.contextmanager
def _bytes_of(content: Path | bytes) -> Iterator[bytes | mmap.mmap]:
    """What is in a file, without a copy in memory."""
    if isinstance(content, bytes) or not content.stat().st_size:
        yield content if isinstance(content, bytes) else b""
        return
    with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _is_same(there: dict[str, Any], body: bytes | mmap.mmap) -> bool:
    """Whether an object is of this content: its tag is the MD5, unless the server encrypts with keys of its own."""
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return bool(there["size"] == len(body) and str(there["e_tag"]).strip('"') == digest)
