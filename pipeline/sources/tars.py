"""The members of tar files, from their headers: many at a time, which `tarfile` can't, and strictly, which it isn't.

https://www.gnu.org/software/tar/manual/html_node/Standard.html, and POSIX.1-2017 for the extended headers of `pax`.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from gzip import BadGzipFile
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError

LARGEST = 64 << 20  # bytes of one member; the content of larger ones is passed over
_BLOCK = 512
_AT_ONCE = 1 << 20
_SUM = slice(148, 156)
_PLAIN, _BARE = b"0\x007", b"123456"  # files; and what has no content, whatever the size in its header
_MAGIC, _WITHOUT, _FILES = (np.frombuffer(some, np.uint8) for some in (b"ustar", _BARE, _PLAIN))
_OCTAL = 8 ** np.arange(10, -1, -1)
_FOLDER, _NAME = ord("5"), ord("L")
_SPARSE = ord("S")
_MORE = b"xXgLK"  # a header that says more of the member after it
_MOST = 1 << 20  # bytes that such a header may take
_NO_FILE = "is no plain file, expected one"


class Member(NamedTuple):
    """A member of an archive that is no folder."""

    name: str
    archive: bytes
    """The stretch of the archive in which its content lies."""
    start: int
    stop: int
    trouble: str = ""
    """Why its content can't be had."""
    header: int = 0
    """Where its first header begins, in bytes of the archive."""
    skipped: Sequence[int] = ()
    """The first headers of the rows right before it, of which no member is given."""

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return self.archive[self.start : self.stop]


Skip = Callable[[NDArray[np.uint8]], tuple[int, int, NDArray[np.int64]] | None]
"""Which of the members of some names, uint8 `[n, 100]`, need not be given: the first, the one after the last, and those
that begin a row; None if it can't tell."""
_Header = tuple[int, int, int, int]
"""A header in a stretch of the archive: where it begins, where the content after it ends, its kind, its size.

A plain tuple, since there is one for every member of every archive.
"""


class Tar:
    """A tar file, read member by member.

    Args:
        path: for messages.
        file: the archive, uncompressed, whose `read` gives as much as is asked for unless it ends.
        start: where in the archive it begins, at a header.
        part: whether it may end before the archive does, where a member ends.
        skip: which members need not be given.
    """

    def __init__(
        self, path: str, file: IO[bytes], start: int = 0, *, part: bool = False, skip: Skip = lambda _: None
    ) -> None:
        self._path, self._file, self._part, self._skip = path, file, part, skip
        self._content, self._offset = b"", start  # what is read and not yet given, and where in the archive it begins
        self._name: str | None = None  # of the next member, where more than its own header says it
        self._header = -1  # the first of these, if there are any

    @property
    def offset(self) -> int:
        """Where the next member begins, or the end of the archive."""
        return self._offset

    def members(self) -> Iterator[Member]:
        """The members in their order, but for folders.

        Raises:
            FormatError: it is damaged, truncated, or goes on after its end. What came before has been given by then.
        """
        try:
            yield from self._members()
        except (EOFError, zlib.error, BadGzipFile) as error:
            raise FormatError(f"{self._path} is truncated or damaged ({error}); fetch it again") from error

    def _members(self) -> Iterator[Member]:
        while True:
            headers = _walk(self._content)
            blocks = _blocks(self._content, headers)
            sound = _count_sound(blocks)
            incomplete = headers[sound - 1] if sound and headers[sound - 1][1] > len(self._content) else None
            whole = sound - (incomplete is not None)
            yield from self._given(headers[:whole], blocks)
            self._drop(headers[whole - 1][1] if whole else 0)
            if incomplete is None and len(self._content) >= _BLOCK:
                return self._expect_end()
            at, end, kind, size = incomplete or (0, 0, 0, 0)
            missing = end - at - len(self._content) if incomplete else 0
            if incomplete and size > (_MOST if kind in _MORE else LARGEST):
                yield self._pass_over(incomplete, blocks[sound - 1], missing)
            elif self._part and not self._content:
                self._content = self._file.read(_AT_ONCE)
                if not self._content:
                    return
            else:
                self._content += self._read(max(_AT_ONCE, missing))

    def _given(self, headers: list[_Header], blocks: NDArray[np.uint8]) -> Iterator[Member]:
        """The members at these headers but for those that are skipped."""
        blocks = blocks[: len(headers)]
        plain = np.isin(blocks[:, 156], _FILES).all() and not blocks[:, 345].any()
        skipped = self._skip(blocks[:, :100]) if plain and self._header < 0 else None
        if skipped is None:
            yield from self._named(headers, blocks)
            return
        start, stop, firsts = skipped
        yield from self._named(headers[:start], blocks[:start])
        begins = [self._offset + headers[first][0] for first in firsts.tolist()]
        for number, member in enumerate(self._named(headers[stop:], blocks[stop:])):
            yield member if number else member._replace(skipped=begins)

    def _named(self, headers: list[_Header], blocks: NDArray[np.uint8]) -> Iterator[Member]:
        content, offset = self._content, self._offset
        names = np.ascontiguousarray(blocks[:, :100]).view("S100")[:, 0].tolist()  # up to their last byte that isn't 0
        names = [name if b"\0" not in name else name.partition(b"\0")[0] for name in names]
        prefixed = (blocks[:, 345] != 0).tolist()
        for index, (header, name) in enumerate(zip(headers, names, strict=False)):
            at, _, kind, size = header
            if kind in _MORE:
                self._note(at, kind, content[at + _BLOCK : at + _BLOCK + size])
                self._header = self._header if self._header >= 0 else self._offset + at
                continue
            if self._name is None and not prefixed[index] and name.isascii():
                whole = name.decode()  # nearly all
            else:
                given, self._name = self._name, None
                whole = given or _name(name, blocks[index], prefixed=prefixed[index])
            first, self._header = self._header if self._header >= 0 else offset + at, -1
            if kind == _FOLDER or (whole.endswith("/") and kind in _PLAIN):
                continue
            if kind == _SPARSE:
                raise self._unread(whole)
            start = at + _BLOCK
            yield Member(whole, content, start, start + size, "" if kind in _PLAIN else _NO_FILE, first)

    def _note(self, at: int, kind: int, content: bytes) -> None:
        """Keep what a header says of the member after it."""
        if kind == _NAME:
            self._name = _text(content)
        elif kind in b"xX":
            try:
                more = dict(_records(content))
            except ValueError:
                raise self._damaged(self._offset + at) from None
            if any(key.startswith("GNU.sparse") for key in more) or "size" in more:
                raise self._unread(more.get("GNU.sparse.name", more.get("path", "a member")))
            self._name = more.get("path", self._name)

    def _pass_over(self, header: _Header, block: NDArray[np.uint8], missing: int) -> Member:
        _, _, kind, size = header
        if kind in _MORE:
            raise self._damaged(self._offset)
        first, self._header = self._header if self._header >= 0 else self._offset, -1
        given, self._name = self._name, None
        name = given or _name(bytes(block[:100]), block, prefixed=bool(block[345]))
        self._drop(len(self._content))
        while missing:
            missing -= len(self._read(min(missing, _AT_ONCE), keep=False))
        return Member(name, b"", 0, 0, f"takes {size:,} bytes, expected at most {LARGEST:,}", first)

    def _read(self, size: int, *, keep: bool = True) -> bytes:
        found = self._file.read(size)
        if not found:
            raise self._damaged(self._offset + len(self._content))
        self._offset += 0 if keep else len(found)
        return found

    def _drop(self, size: int) -> None:
        self._content = self._content[size:]
        self._offset += size

    def _expect_end(self) -> None:
        """An archive ends in blocks of zeros alone: anything else here is a damaged header, or another archive."""
        rest = self._content
        while rest:
            if rest.count(0) < len(rest):
                raise self._damaged(self._offset)
            rest = self._file.read(_AT_ONCE)

    def _damaged(self, at: int) -> FormatError:
        return FormatError(
            f"{self._path} is truncated or damaged at byte {at:,}, or several archives in one; "
            "fetch it again or name them one by one"
        )

    def _unread(self, name: str) -> FormatError:
        return FormatError(
            f"{self._path} holds {name} as a sparse file or with its size in an extended header, expected plain "
            "members; write it again with `tar --format=gnu`"
        )


def _walk(content: bytes) -> list[_Header]:
    """Every header from the start on, by the sizes that they state; the content of the last may not be all there."""
    return _walk_at_once(content) or _walk_one_by_one(content)


def _walk_at_once(content: bytes) -> list[_Header]:
    """The same, if all headers but none else are marked as such and each leads to the next; none if not."""
    blocks = np.frombuffer(content, np.uint8, len(content) // _BLOCK * _BLOCK).reshape(-1, _BLOCK)
    marked = np.flatnonzero(blocks[:, 257] == _MAGIC[0])
    marked = marked[(blocks[marked, 257:262] == _MAGIC).all(axis=1)]
    headers = blocks[marked]
    digits = headers[:, 124:135] - np.uint8(ord("0"))
    if not len(marked) or (digits > 7).any():
        return []
    kinds = headers[:, 156]
    sizes = np.where(np.isin(kinds, _WITHOUT), 0, digits @ _OCTAL)
    starts = marked * _BLOCK
    ends = starts + _BLOCK + -(-sizes // _BLOCK) * _BLOCK
    if starts[0] or (ends[:-1] != starts[1:]).any() or ends[-1] <= len(content) - _BLOCK:
        return []
    return list(zip(starts.tolist(), ends.tolist(), kinds.tolist(), sizes.tolist(), strict=True))


def _walk_one_by_one(content: bytes) -> list[_Header]:
    headers, at, last = [], 0, len(content) - _BLOCK
    while at <= last:
        try:
            size = int(content[at + 124 : at + 135], 8)
        except ValueError:
            size = _number(content[at + 124 : at + 136])
        kind = content[at + 156]
        if kind in _BARE or size < 0:
            size = 0
        end = at + _BLOCK + -(-size // _BLOCK) * _BLOCK
        headers.append((at, end, kind, size))
        at = end
    return headers


def _blocks(content: bytes, headers: list[_Header]) -> NDArray[np.uint8]:
    """The bytes of the headers: uint8 `[n, 512]`."""
    whole = np.frombuffer(content, np.uint8, len(content) // _BLOCK * _BLOCK).reshape(-1, _BLOCK)
    return whole[[header[0] // _BLOCK for header in headers]]


def _count_sound(blocks: NDArray[np.uint8]) -> int:
    """How many headers there are before the first that doesn't match its checksum: the sum of its bytes."""
    sums = (
        blocks.sum(axis=1, dtype=np.uint32).astype(np.int64)
        - blocks[:, _SUM].sum(axis=1, dtype=np.int64)
        + 8 * ord(" ")
    )
    digits = blocks[:, 148:154].astype(np.int64) - ord("0")
    stated = np.where((digits >> 3).any(axis=1), -1, digits @ (8 ** np.arange(5, -1, -1)))
    for index in np.flatnonzero(sums != stated).tolist():
        # Other ways of writing it, and the sum of signed bytes as some programs take it.
        signed = sums[index] - 256 * int((np.delete(blocks[index], np.arange(148, 156)) > 127).sum())
        if _number(bytes(blocks[index, _SUM])) not in (sums[index], signed):
            return int(index)
    return len(blocks)


def _number(field: bytes) -> int:
    """What a field says: octal digits, or, for what doesn't fit into them, 0x80 and the number itself; -1 for none."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip()
    return int(text or b"0", 8) if all(digit in b"01234567" for digit in text) else -1


def _name(name: bytes, block: NDArray[np.uint8], *, prefixed: bool) -> str:
    """The name in a header, in two pieces where that is noted."""
    prefix = bytes(block[345:500]) if prefixed and bytes(block[257:263]) == b"ustar\0" else b""
    return f"{_text(prefix)}/{_text(name)}" if prefix else _text(name)


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """The keys and values of an extended header; each record begins with its length.

    Raises:
        ValueError: it isn't made like that.
    """
    while content:
        digits, _, rest = content.partition(b" ")
        length = int(digits)
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if length > len(content) or not equals or not rest:
            raise ValueError
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        content = content[length:]
