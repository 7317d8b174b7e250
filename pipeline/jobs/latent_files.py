"""Latents in files: those of the batch jobs, or anybody's; on a disk or behind an address."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DataError, FormatError
from pipeline.jobs.latent_arrays import read_npy, read_npz
from pipeline.jobs.latent_readers import Reader
from pipeline.jobs.latent_rows import LatentSource, Loaded, join
from pipeline.jobs.latent_tables import ParquetReader, read_csv, read_ipc
from pipeline.jobs.target import MANIFEST
from pipeline.sources.places import Names, Place, find_local, reported
from pipeline.sources.remote import find_remote
from pipeline.sources.rows import Refused
from pipeline.sources.stack import Plain, Stack
from pipeline.sources.streams import Files

_EXPECTED = "latents as .npy, .npz, .parquet, .arrow, .feather or .csv, or a folder or pattern of such files"


class _Kind(NamedTuple):
    """A format."""

    name: str
    suffixes: tuple[str, ...]
    start: bytes
    """How its files begin."""
    read: Callable[[Files, Place, str, int], Reader]


_KINDS = (
    _Kind(".npy", (".npy",), b"\x93NUMPY", read_npy),
    _Kind(".npz", (".npz",), b"PK\x03\x04", read_npz),
    _Kind("Parquet", (".parquet",), b"PAR1", ParquetReader),
    _Kind("Arrow", (".arrow", ".feather"), b"ARROW1", read_ipc),
    _Kind("CSV", (".csv", ".tsv"), b"", read_csv),
)
_SUFFIXES = tuple(suffix for kind in _KINDS for suffix in kind.suffixes)


def open_latents(path: str | Path, latent_dim: int, count: int | None = None) -> LatentSource:
    """Latents in files, float16 to float64 or integers; see `docs/batch.md` for their formats.

    Args:
        path: a file, a folder with all that lies below it in the order of the paths, or a pattern; or an address.
        latent_dim: how many latents are expected.
        count: how many rows to take from the start; all, if it is not given.

    Raises:
        DataError: nothing there, no row, fewer than `count`, or not readable.
        FormatError: another type or latent size, or fewer rows than its manifest says.
    """
    name = str(path)
    place = find_remote(name, _EXPECTED) if "://" in name else find_local(name, _EXPECTED)
    source = FileLatents(place, latent_dim)
    if source.count == 0:
        raise DataError(f"{path} holds no latents")
    if count is not None:
        if count > source.count:
            raise DataError(f"{path} holds {source.count:,} latents, --count asks for {count:,}")
        source.count = count
    return source


class FileLatents(LatentSource):
    """The rows of files of one format, one after the other."""

    _opened: tuple[int, Reader, Files] | None = None
    _last: int | None = None
    """The row after the last of a cut."""

    def __init__(self, place: Place, latent_dim: int) -> None:
        self.name, self.latent_dim = place.name, latent_dim
        self._place = place
        self._kind, names = _files(place)
        self.paths = [place.full(name) for name in names] if place.kind == "pattern" else [place.name]
        self._row = 0  # of the open file: the next that it gives
        known = [Plain()] * len(names)
        self._files = Stack(names, (), known)
        self._files = Stack(names, [self._open(file).count for file in range(len(names))], known)
        self.count = self._files.stop
        self.set_aside = _check_manifest(place, names[0], self.count)

    def state(self) -> str:
        """See `LatentSource.state`."""
        return self._place.state(self._kind.suffixes)

    def row_name(self, row: int) -> str:
        """See `LatentSource.row_name`: the row of a file."""
        file = self._files.of(row)
        return f"{self._path(file)} row {row - self._files.starts[file]:,}"

    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        """See `LatentSource.load`."""
        parts = [self._read(*piece) for piece in self._files.pieces(start, stop)]
        return lambda: join(parts)

    def _keep(self, start: int, stop: int) -> None:
        self._files, self._last, self.paths = self._files.cut(start, stop), stop, ()

    def _path(self, file: int) -> str:
        return self._place.full(self._files.names[file])

    def _read(self, file: int, start: int, stop: int) -> Loaded:
        reader = self._open(file, start)
        if reader.count != self._files.starts[file + 1] - self._files.starts[file]:
            raise FormatError(f"{self._path(file)} holds another number of rows than at the start; leave it unchanged")
        self._row = stop
        with reported(f"{self._path(file)} (at row {start:,})"):
            return reader.read(start, stop)

    def _open(self, file: int, row: int = 0) -> Reader:
        """What reads a file from a row on: one is open at a time, and opened again to go back in it."""
        if self._opened is not None:
            opened, reader, stream = self._opened
            if opened == file and self._row <= row:
                return reader
            self._opened = None
            stream.close()
        with reported(self._path(file)):
            stream = Files()
            try:
                reader = self._kind.read(stream, self._place, self._files.names[file], self.latent_dim)
            except BaseException:
                stream.close()
                raise
        if self._last is not None:
            reader.end(min(reader.count, self._last - self._files.starts[file]))
        self._opened, self._row = (file, reader, stream), 0
        return reader


def _files(place: Place) -> tuple[_Kind, Names]:
    """The format of the files at a place, and their names."""
    with reported(place.name):
        names = list(place.files(_SUFFIXES))
        if place.kind == "file":
            return _kind_of(place, names[0]), Names(names)
    names = [name for name in names if not any(part.startswith("_") for part in name.split("/"))]
    kinds = [kind for kind in _KINDS if any(place.ends(name, kind.suffixes) for name in names)]
    if not kinds:
        raise DataError(f"{place.name} holds no latents; expected {_EXPECTED}")
    if len(kinds) > 1:
        found = " and ".join(kind.name for kind in kinds)
        raise DataError(f"{place.name} holds {found} files; choose with a pattern like *{kinds[0].suffixes[0]}")
    return kinds[0], Names(names)


def _kind_of(place: Place, name: str) -> _Kind:
    """The format of a file: by its name, or else by its first bytes."""
    for kind in _KINDS:
        if place.ends(name, kind.suffixes):
            return kind
    with place.open(name) as file:
        start = file.read(8)
    for kind in _KINDS:
        if kind.start and start.startswith(kind.start):
            return kind
    raise FormatError(f"{place.full(name)} begins with {start!r}; expected {_EXPECTED}")


def _check_manifest(place: Place, name: str, count: int) -> int:
    """How many rows the job that wrote the latents set aside; a part may be missing, which only its manifest tells."""
    if place.kind == "pattern" or "?" in name:  # of an address: what would be asked for is something else
        return 0
    about = f"_{MANIFEST}" if place.kind == "folder" else f"{name}.{MANIFEST}"
    (content,) = place.fetch([about])
    if isinstance(content, Refused):
        return 0
    try:
        manifest = json.loads(content)
        rows, quarantined = int(manifest["rows"]), int(manifest["quarantined"])
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{place.full(about)} is damaged; run the job that wrote it again") from error
    if rows != count:
        raise FormatError(
            f"{place.name} holds {count:,} rows, its manifest lists {rows:,}; run the job that wrote it again"
        )
    return quarantined
