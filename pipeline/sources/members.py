"""The rows of an archive, by the convention of WebDataset: members that follow each other and share a key.

`0007.png` and `0007.cls` are a picture and its label; https://github.com/webdataset/webdataset#the-webdataset-format.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources import kinds
from pipeline.sources.places import kind_of
from pipeline.sources.rows import Refused
from pipeline.sources.tars import Member

PICTURES = frozenset(kinds.SUFFIXES[kinds.PICTURES])
LABELS = ".cls", ".label", ".txt", ".json"
_FEW = 4  # members that are no work
_SUFFIX = 6  # bytes of the longest
_PICTURES = np.array([suffix.encode() for suffix in PICTURES], f"S{_SUFFIX}")
_MASKS = {f".{word}" for word in ("seg", "mask", "depth", "normal", "normals", "instance", "semantic", "flow", "edge")}


@dataclass(slots=True)
class Row:
    """One row as it is read."""

    key: str
    name: str
    """Of its picture, or of its first member, after that of the archive."""
    pictures: list[Member]
    labels: list[tuple[str, Member]]
    """Members that may hold a label, with their suffixes."""
    header: int
    """Of its first member: where in the archive it begins."""
    skipped: Sequence[int]
    """Those of the rows right before it that are not given."""

    @property
    def folder(self) -> str:
        """The folder of the archive in which it lies."""
        return self.key.rpartition("/")[0]

    def picture(self) -> bytes | Refused:
        """The bytes of its only picture."""
        if len(self.pictures) != 1:
            return Refused(f"has {len(self.pictures)} pictures, expected one")
        member = self.pictures[0]
        return Refused(member.trouble) if member.trouble else member.content


def group(archive: str, members: Iterable[Member], pass_over: Callable[[str, str], None]) -> Iterator[Row]:
    """The rows of an archive; `pass_over` is told the name and kind of each member that belongs to none."""
    row: Row | None = None
    before = f"{archive}: "
    for member in members:
        name = member.name
        if name.startswith("./"):
            name = name[2:]
        key, suffix = split_name(name)
        picture = suffix in PICTURES
        if is_hidden(name) or not (picture or suffix in LABELS):
            pass_over(member.name, "hidden" if is_hidden(name) else suffix or kind_of(name))
            continue
        if row is None or key != row.key:
            if row is not None:
                yield row
            row = Row(key, before + member.name, [], [], member.header, member.skipped)
        if picture:
            row.name = before + member.name
            row.pictures.append(member)
        else:
            row.labels.append((suffix, member))
    if row is not None:
        yield row


def find_plain(names: NDArray[np.uint8], label: str) -> tuple[int, int, NDArray[np.int64]] | None:
    """See `Skip`: members whose rows can be counted without a look at each, as nearly all can be.

    All rows but the first and the last, which may go on elsewhere, have pictures, and no labels but with that suffix.
    The one before the last is given, to tell of the others.
    """
    if len(names) < _FEW:
        return None
    width = np.flatnonzero(names.any(axis=0)).max(initial=0) + 1
    chars = np.zeros((len(names), width + _SUFFIX), np.uint8)
    chars[:, :width] = names[:, :width]
    dots = chars == ord(".")
    # One dot, which no name or folder begins with, and no underscore at the start: so none is hidden.
    if (dots.sum(axis=1) != 1).any() or (chars[:, 0] == ord("_")).any():
        return None
    rows, dot = np.arange(len(chars)), dots.argmax(axis=1)
    before = np.arange(width) < dot[:, None]
    hidden = not dot.all() or (chars[rows, dot - 1] == ord("/")).any()
    if hidden or (chars > 127).any() or (chars[:, :width][before] == 0).any():
        return None
    suffixes = chars[rows[:, None], dot[:, None] + np.arange(_SUFFIX)].view(f"S{_SUFFIX}")[:, 0]
    pictures, labels = np.isin(suffixes, _PICTURES), suffixes == label.encode()
    keys = np.where(before, chars[:, :width], 0)
    firsts = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
    if not (pictures | labels).all() or len(firsts) < _FEW or not np.logical_or.reduceat(pictures, firsts)[1:-1].all():
        return None
    if (keys[firsts[0]] == keys[firsts[-2]]).all():
        return None  # of which one row would be made
    return int(firsts[1]), int(firsts[-2]), firsts[1:-2]


def split_name(name: str) -> tuple[str, str]:
    """The key of a member and the longest known suffix, in lower case; none where it isn't known.

    A key may hold dots, as in `b.v2.png`, where the convention splits at the first. `0007.seg.png` is no picture of a
    row but says something of its pixels: that suffix is known, and none of a picture.
    """
    dot = name.rfind(".")
    stem, suffix = name[:dot], name[dot:].lower() if dot >= 0 else ""
    if suffix in PICTURES:
        inner = stem[stem.rfind(".") :].lower() if "." in stem else ""
        return (stem[: -len(inner)], inner + suffix) if inner in _MASKS else (stem, suffix)
    return (stem, suffix) if suffix in LABELS else (name, "")


def is_hidden(name: str) -> bool:
    """Whether anything on the way to a member begins with a dot, or is what macOS puts beside its files."""
    return "/." in name or name.startswith((".", "__MACOSX/"))
