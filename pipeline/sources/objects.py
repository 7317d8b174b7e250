"""Piles on S3: objects that are read by few requests, which go on while what they bring is worked on."""

import bisect
import io
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from pipeline.errors import DataError
from pipeline.sources import s3
from pipeline.sources.failures import explain, is_passing, is_past_the_end
from pipeline.sources.places import WILD, Names, Place, expand, fixed, reported
from pipeline.sources.rows import Refused

_AT_ONCE = 32  # requests for small objects
_BUFFER = 1 << 20
_GROWTH = 4
_ALL = 1 << 62
_HOP = 4 << 20  # a new request takes longer than to pass over so many bytes
_TAKEN_UP = 5


class S3Place(Place):
    """An object, all objects below a folder of a bucket, or those that match a pattern."""

    def __init__(self, name: str, bucket: str, root: str, kind: str, matching: str = "") -> None:
        super().__init__(name, root, kind, matching)
        self._bucket = bucket
        self._names, self._marked_with, self._next = Names(), Names(), 0

    def __getstate__(self) -> dict[str, Any]:
        """Without the listing, which may be long."""
        return {**self.__dict__, "_names": Names(), "_marked_with": Names(), "_next": 0}

    @property
    def _client(self) -> Any:
        return s3.connect(self._bucket)

    def entries(self) -> Iterator[str]:
        """See `Place.entries`."""
        self._names, self._marked_with, self._next = Names(), Names(), 0
        if self.kind == "file":
            found = iter([(self._matching, s3.mark_of(self._client.head(self._matching)))])
        else:
            found = s3.listed(self._client, self._root.rstrip("/"))
            if self.kind == "pattern":
                found = self._fitting(found)
        for key, mark in found:
            self._names.append(key[len(self._root) :])
            self._marked_with.append(mark)
        yield from self._names

    def _fitting(self, found: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        from fsspec.utils import glob_translate  # noqa: PLC0415

        patterns = expand(self._matching)
        plain = {pattern for pattern in patterns if not any(sign in pattern for sign in WILD)}
        fits = re.compile("|".join(glob_translate(pattern) for pattern in patterns if pattern not in plain) or r"(?!)")
        for key, mark in found:
            if key in plain or fits.match(key):
                plain.discard(key)
                yield key, mark
        if plain:
            raise DataError(f"s3://{self._bucket}/{min(plain)} was not found; {self.name} stands for it")

    def mark(self, name: str) -> str:
        """See `Place.mark`; it is mostly asked for in the order of the names."""
        at = self._next
        if at >= len(self._names) or self._names[at] != name:
            at = bisect.bisect_left(self._names, name)
        self._next = at + 1
        return self._marked_with[at]

    def open(self, name: str, *, seek: bool = False) -> BinaryIO:
        """See `Place.open`."""
        if not seek:
            return self.span(name, 0, None)
        key = self._root + name
        about = self._client.head(key)
        return io.BufferedReader(_Object(self._client, key, 0, about["size"], tag=about["e_tag"]), _BUFFER)

    def span(self, name: str, start: int, stop: int | None) -> BinaryIO:
        """See `Place.span`: one request, whose answer is read while it comes; without a `stop`, to the end."""
        file = _Object(self._client, self._root + name, start, stop, first=_ALL)
        if stop is None or start < stop:
            file.ask()
        return io.BufferedReader(file, _BUFFER)

    def fetch(self, names: Sequence[str]) -> list[bytes | Refused]:
        """See `Place.fetch`: many at a time. A store that fails is no fault of a picture."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._fetch, itertools.repeat(self._client), names))

    def _fetch(self, client: Any, name: str) -> bytes | Refused:
        try:
            return bytes(client.get(self._root + name).bytes())
        except Exception as error:
            if is_passing(error):
                with reported(self.full(name)):
                    raise
            return Refused(f"can't be read ({explain(error)[0]}), expected a picture")

    def full(self, name: str) -> str:
        """See `Place.full`."""
        return f"s3://{self._bucket}/{self._root}{name}"


def find_s3(name: str, expected: str) -> Place:
    """What lies at an address on S3; as `find_remote`."""
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket:
        raise DataError(f"{name} names no bucket; expected s3://bucket/name")
    with reported(name):
        client = s3.connect(bucket)
        if key and not key.endswith("/") and _is_object(client, key):
            return S3Place(name, bucket, key[: key.rfind("/") + 1], "file", key)
        if any(sign in key for sign in WILD):
            return S3Place(name, bucket, fixed(key), "pattern", key)
        folder = key.strip("/")
        if s3.is_there(client, folder):
            return S3Place(name, bucket, f"{folder}/" if folder else "", "folder")
    raise DataError(f"{name} was not found; expected {expected}")


def _is_object(client: Any, key: str) -> bool:
    try:
        return s3.head(client, key) is not None
    except Exception as error:
        failed = error
    if not is_passing(failed):
        s3.is_there(client, key)  # an answer to HEAD has no words; one to this says what is wrong, if it is refused too
    raise failed


class _Object(io.RawIOBase):
    """The bytes of an object from `start` up to `stop`, or to its end.

    The first request is for `first` bytes, or what is read at once; what is read on after it comes by another for four
    times as much. So whoever reads all makes few, and whoever reads here and there gets little more than asked for. A
    connection that breaks off is taken up again at the byte that was reached, a few times.
    """

    def __init__(
        self, client: Any, key: str, start: int, stop: int | None, *, first: int = 0, tag: str | None = None
    ) -> None:
        self._client, self._key, self._tag = client, key, tag
        self._start, self._stop, self._first = start, stop, first
        self._at = self._to = start  # the byte that comes next, and the one that is wanted
        self._held = memoryview(b"")
        self._stream: Iterator[bytes] | None = None
        self._size, self._until = first, start  # of the request

    def ask(self) -> None:
        """Make a request from here on."""
        stop = min(self._at + self._size, _ALL if self._stop is None else self._stop)
        options: dict[str, Any] = {"if_match": self._tag} if self._tag else {}
        if self._at or stop < _ALL:
            options["range"] = (self._at, stop)
        try:
            answer = self._client.get(self._key, options=options)
        except Exception as error:
            if not is_past_the_end(error):
                raise
            self._stop = self._at
            return
        self._tag, whole = answer.meta["e_tag"], answer.meta["size"]
        self._stop = whole if self._stop is None else min(self._stop, whole)
        self._until = min(stop, self._stop)
        self._stream = iter(answer.stream(min_chunk_size=_BUFFER))

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._to - self._start

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase`; what is to be done for it is done when something is read."""
        self._to = max(self._start, offset + (self._start, self._to, self._stop or 0)[whence])
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        wanted = len(buffer)
        if not 0 <= self._to - self._at <= _HOP:
            self._held, self._stream = memoryview(b""), None
            self._at, self._size = self._to, self._first
        while True:
            passed = min(self._to - self._at, len(self._held))
            self._held, self._at = self._held[passed:], self._at + passed
            if self._held or not (more := self._more(self._to - self._at + wanted)):
                break
            self._held = memoryview(more)
        size = min(wanted, len(self._held))
        buffer[:size] = self._held[:size]
        self._held, self._at = self._held[size:], self._at + size
        self._to = self._at if size else self._to
        return size

    def _more(self, wanted: int) -> bytes:
        """What comes next; nothing at the end."""
        broken = 0
        while self._stop is None or self._at < self._stop:
            if self._stream is None:
                self._size = max(wanted, self._size)
                self.ask()
            try:
                if some := next(self._stream or iter(()), b""):
                    return some
                if self._at < self._until:
                    raise ConnectionResetError  # it ended before
                self._size *= _GROWTH
            except Exception as error:
                broken += 1
                if broken > _TAKEN_UP or not (is_passing(error) or isinstance(error, ConnectionResetError)):
                    raise
                time.sleep(0.1 * 2**broken)
            self._stream = None
        return b""

    def close(self) -> None:
        """See `io.IOBase`."""
        self._held, self._stream = memoryview(b""), None
        super().close()
