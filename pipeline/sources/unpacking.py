"""Large compressed files, unpacked once into a store, where one can begin to read anywhere.

Whoever reads from the middle of a compressed file has to unpack what lies before it: of a file in n parts that are read
by themselves, (n + 1) / 2 times all of it. Not so of zip files of pictures, Parquet and Arrow, which are compressed in
small pieces, nor of labels in a CSV file, which are held in memory. Latents are small, and are not unpacked either.
"""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from gzip import BadGzipFile

from pipeline.errors import DataError
from pipeline.shared.files import explained
from pipeline.sources.places import reported
from pipeline.sources.remote import find_place
from pipeline.sources.rows import Depot, Each
from pipeline.sources.streams import Content, Files

log = logging.getLogger(__name__)

FOLDER = "unpacked"
"""Of the store."""
_SEEN = f"{FOLDER}/seen"  # empty; who does not find it does not see the store, as a folder that is not shared
_PIECE = 1 << 20
_DAMAGED = EOFError, zlib.error, BadGzipFile, zipfile.BadZipFile

Packed = tuple[Content, int]
"""What is compressed, and how many bytes it is without."""


def unpack(depot: Depot, each: Each, packed: Sequence[Packed | None], least: int) -> list[Content | None]:
    """Where to read instead: None for what is not compressed, is smaller than `least` bytes, or is damaged.

    What lies there already, from an earlier run of the same job, is not made again. One call of `each` unpacks the
    others. The damaged stays as it is for its reader to find where, and to say so.

    Raises:
        DataError: a file can't be read; OutputError: the store can't be written.
    """
    large = [one if one and one[1] >= least else None for one in packed]
    if not any(large):
        return [None] * len(packed)
    names = {one[0]: _name(one[0]) for one in large if one}
    there = _sizes(depot)
    missing = [(names[one[0]], *one) for one in large if one and there.get(names[one[0]]) != one[1]]
    if missing:
        log.info(
            "unpacking %s file(s), %s bytes, to read them in parts", len(missing), f"{sum(m[2] for m in missing):,}"
        )
        depot.replace(_SEEN, b"")
        for _ in each(partial(_unpack, depot), missing):
            pass
        there = _sizes(depot)
    if not there:
        return [None] * len(packed)
    place = find_place(depot.full(FOLDER), "what was unpacked")
    return [Content(place, names[one[0]]) if one and there.get(names[one[0]]) == one[1] else None for one in large]


def _name(content: Content) -> str:
    return hashlib.sha256(content.identity.encode(errors="surrogatepass")).hexdigest()[:32]


def _sizes(depot: Depot) -> dict[str, int]:
    """Of what lies there whole."""
    return {name.rpartition("/")[2]: int(mark.split()[0]) for name, mark in depot.marks(FOLDER)}


def _unpack(depot: Depot, job: tuple[str, Content, int]) -> None:
    """Put the bytes of a file into the store unless it is damaged, or has another size than expected."""
    name, content, size = job
    if depot.read(_SEEN) is None:
        return
    with depot.scratch() as folder, explained(folder):
        try:
            with (folder / name).open("wb") as file:
                for piece in _pieces(content):
                    file.write(piece)
        except DataError as error:
            if not isinstance(error.__cause__, _DAMAGED):
                raise
            return
        if (folder / name).stat().st_size == size:
            depot.replace(f"{FOLDER}/{name}", folder / name)


def _pieces(content: Content) -> Iterator[bytes]:
    with Files() as files, reported(content.path):
        stream = content.open(files)
        while piece := stream.read(_PIECE):
            yield piece
