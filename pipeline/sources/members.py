"""The rows of an archive, by the convention of WebDataset: members that follow each other and share a key.

`0007.png` and `0007.cls` are a picture and its label; https://github.com/webdataset/webdataset#the-webdataset-format.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.sources import kinds
from pipeline.sources.places import kind_of
from pipeline.sources.rows import Refused
from pipeline.sources.tars import Member

PICTURES = frozenset(kinds.SUFFIXES[kinds.PICTURES])
LABELS = ".cls", ".label", ".txt", ".json"
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
            row = Row(key, before + member.name, [], [])
        if picture:
            row.name = before + member.name
            row.pictures.append(member)
        else:
            row.labels.append((suffix, member))
    if row is not None:
        yield row


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
