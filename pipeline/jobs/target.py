"""Where the result of a job goes: a folder or a file, here or on a store that fsspec reaches.

A folder holds the parts and `_manifest.json`; a single file, `x.npy`, `x.npz` or `x.png`, has `x.npy.manifest.json`
beside it. The underscore hides it from readers of whole folders of Parquet. Rows that were set aside stand in
`_quarantine.jsonl` or `x.npy.quarantine.jsonl`.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import OutputError
from pipeline.jobs import parts as files
from pipeline.jobs.parts import FORMATS, NOT_WRITTEN, NPY, PARQUET, PART_GLOB, POSTER, SINGLE_FILE
from pipeline.jobs.png_stream import write_png
from pipeline.jobs.store import LocalStore, open_store
from pipeline.jobs.workspace import FINISHED, PICTURE, Shelf, Workspace
from pipeline.shared.files import atomic_file, explained, refuse_foreign, write_json

MANIFEST, QUARANTINE, FILES = "manifest.json", "quarantine.jsonl", "files.jsonl"
_ABOUT = QUARANTINE, FILES, MANIFEST  # the last one last
AUTO = "auto"
_LONGEST_NAME = 200  # with what is added to it, below the 255 bytes of most file systems
_WHOLE, _COPY = "whole", "copy.png"
_MOST_LISTED = 10_000  # files in a manifest


def open_target(path: str | Path, format_: str = AUTO) -> "Target":
    """The target at `path`; `auto` takes the format from its suffix, in either case, else Parquet.

    Raises:
        OutputError: no such format; a single file is wanted under a name that says otherwise, or the other way round;
            the name is that of a file in a format that is not written.
        DataError: no driver for the store.
    """
    suffix = PurePosixPath(str(path)).suffix.removeprefix(".").lower()
    if format_ not in (AUTO, *FORMATS):
        raise OutputError(f"there is no format {format_!r}; choose one of {', '.join(FORMATS)}")
    single = SINGLE_FILE.get(suffix)
    found = single or PARQUET if format_ in (AUTO, suffix) else format_
    if (found in SINGLE_FILE.values() or single) and found != single:
        raise OutputError(f"{path} can't hold the format {found}; name a file for npy and npz, a folder for others")
    if suffix in NOT_WRITTEN:
        raise OutputError(
            f"{path} names a file in a format that is not written; name a folder, which gets Parquet or, with --format "
            "png, pictures, or a file .npy, .npz or .png"
        )
    return RemoteTarget(str(path), found) if "://" in str(path) else LocalTarget(Path(path), found)


class Target(ABC):
    """A place for a result in one of the formats."""

    shelf: Shelf
    """Where its parts go until all are there."""

    def __init__(self, path: str, format_: str) -> None:
        self.path, self.format = path, format_
        self._place = path.rstrip("/")
        self.single = format_ in SINGLE_FILE.values()

    def __str__(self) -> str:
        """As the user typed it."""
        return self.path

    @abstractmethod
    def refuse_others(self, job: str, *, picture: bool, resuming: bool) -> None:
        """Raise `OutputError` if anything but an earlier result of this job is there, or where its `picture` goes.

        `resuming`: the workspace is that of an earlier run of the same job.
        """

    @abstractmethod
    def refuse_source(self, source: str | Path) -> None:
        """Raise `OutputError` if what is to be read lies in this target, or the other way round."""

    @abstractmethod
    def publish(self, space: Workspace, about: Mapping[str, Any], column: str, *, picture: bool) -> None:
        """Put everything in place, the manifest last, and remove the workspace.

        Args:
            space: the finished parts.
            about: what the manifest says besides the files.
            column: what an `.npy` file holds.
            picture: whether that of the first rows goes beside the result.
        """

    def picture(self) -> str:
        """Where the picture goes: beside the result, of which readers take the whole folder."""
        return f"{self._place}.png"

    def quarantine(self) -> str:
        """The file of the rows that were set aside."""
        return self._about(QUARANTINE)

    def _about(self, name: str) -> str:
        """The path of what is said of the result."""
        return f"{self._place}.{name}" if self.single else f"{self._place}/_{name}"

    def _assemble(self, parts: Sequence[Path], folder: Path, column: str) -> None:
        """Make a single file of all parts."""
        if self.format == NPY:
            files.write_npy(folder / _WHOLE, parts, column)
        elif self.format == POSTER:
            write_png(folder / _WHOLE, parts)
        else:
            files.write_npz(folder / _WHOLE, parts)

    def _describe(self, space: Workspace, folder: Path, about: Mapping[str, Any]) -> None:
        """Write into a folder what is said of the result: the manifest, and what else there is to say.

        The files of a large result are listed in a file of their own, and so are the rows that were set aside: a JSON
        object each.
        """
        if self.single:
            size, digest = files.measure_part(folder / _WHOLE)
            listed: Any = [{"file": PurePosixPath(self.path).name, "bytes": size, "xxh3_128": digest}]
        elif len(space.finished) <= _MOST_LISTED:
            listed = [part.listed() for part in space.finished]
        else:
            _write_lines(folder / FILES, (part.listed() for part in space.finished))
            size, digest = files.measure_part(folder / FILES)
            listed = {"file": f"_{FILES}", "lines": len(space.finished), "bytes": size, "xxh3_128": digest}
        if space.finished.bad:
            rows = (row for part in space.finished for row in part.bad)
            named = ({"index": index, "name": name, "reason": reason} for index, name, reason in rows)
            _write_lines(folder / QUARANTINE, named)
        write_json(folder / MANIFEST, {**about, "files": listed})


class LocalTarget(Target):
    """On a disk: everything appears by renaming."""

    def __init__(self, path: Path, format_: str) -> None:
        self._target = path.resolve()  # a link to a folder elsewhere stays one
        super().__init__(str(path), format_)
        self._folder = self._target.parent / f".{self._target.name}.partial"
        self._parts = self._folder / FINISHED
        self.shelf = Shelf(LocalStore(self._folder), LocalStore(self._parts))
        if path.is_symlink():
            self._place = str(self._target)

    def refuse_others(self, job: str, *, picture: bool, resuming: bool) -> None:  # noqa: D102
        if len(self._target.name.encode(errors="surrogateescape")) > _LONGEST_NAME:
            raise OutputError(f"the name of {self.path} is too long; choose one of at most {_LONGEST_NAME} bytes")
        if Path.cwd().is_relative_to(self._target):
            raise OutputError(f"{self.path} is where this command runs and can't be replaced; name a folder in it")
        if self.single:
            if self._target.is_dir():
                raise OutputError(f"{self.path} is a folder, expected a file to write; choose another output")
            there = self._target.exists()
        else:
            refuse_foreign(Path(self.path), owns=[PART_GLOB, *(f"_{name}" for name in _ABOUT)])
            there = self._target.is_dir() and any(self._target.iterdir())
        # A run that was killed while it put its file in place has not said yet what it is.
        if there and not (self.single and resuming) and _job_there(Path(self._about(MANIFEST))) != job:
            raise OutputError(f"{self.path} is there, and not an earlier result of `vae {job}`; choose another output")
        if picture and not there and not resuming and Path(self.picture()).exists():
            raise OutputError(f"{self.picture()} is there, and not from an earlier run; choose another output")

    def refuse_source(self, source: str | Path) -> None:  # noqa: D102
        place = Path(source).resolve()
        if "://" not in str(source) and place.exists():
            if place == self._target or self._target in place.parents:
                raise OutputError(f"{self.path} holds what is to be read; choose another output")
            if place in self._target.parents:
                raise OutputError(f"{self.path} lies in {source}, which is to be read; choose another output")

    def publish(self, space: Workspace, about: Mapping[str, Any], column: str, *, picture: bool) -> None:  # noqa: D102
        with explained(self._target):
            for part in space.finished:
                if not (self._parts / part.file).exists():
                    raise OutputError(
                        f"cannot write {self._target}: {self._parts / part.file} is gone; leave that folder alone "
                        "while a job runs, and run the same command again"
                    )
            if self.single:
                self._assemble([self._parts / part.file for part in space.finished], self._folder, column)
            self._describe(space, self._folder, about)
            if picture:
                # A copy: if the process ends before all is in place, the next run needs it again.
                shutil.copyfile(self._folder / PICTURE, self._folder / _COPY)
                (self._folder / _COPY).replace(self.picture())
            if self.single:
                (self._folder / _WHOLE).replace(self._target)
                for name in _ABOUT:
                    _replace(self._folder / name, Path(self._about(name)))
            else:
                for name in _ABOUT:
                    _replace(self._folder / name, self._parts / f"_{name}")
                if self._target.exists():
                    self._target.replace(self._folder / "replaced")
                self._parts.replace(self._target)
        space.remove()


class RemoteTarget(Target):
    """On a store: parts lie in their place as soon as they are finished, the workspace beside the result.

    A store can't put a new result in the place of an old one at once, so that an old one has to be deleted before.
    """

    def __init__(self, path: str, format_: str) -> None:
        """Connect to the store.

        Raises:
            DataError: no driver, or it can't reach the store.
            OutputError: no name in the store.
        """
        super().__init__(path, format_)
        store, _, inside = self._place.partition("://")
        above, _, self._name = inside.rpartition("/")
        above = f"{store}://{above}"
        if not self._name:
            raise OutputError(f"{path} is a whole store; name a folder or a file in it")
        result = open_store(self._place)  # first, so that a failure names what was typed
        self._above = open_store(above)
        work = f"{above}/.{self._name}.partial"
        self.shelf = Shelf(open_store(work), open_store(f"{work}/{FINISHED}") if self.single else result)

    def refuse_others(self, job: str, *, picture: bool, resuming: bool) -> None:  # noqa: D102
        for name in [self._name, f"{self._name}.png"] if picture else [self._name]:
            if not resuming and any(True for _ in self._above.names(name)):
                raise OutputError(f"{self._above}/{name} is there; delete it, or choose another output for `vae {job}`")

    def refuse_source(self, source: str | Path) -> None:  # noqa: D102
        if str(source).rstrip("/") == self._place:
            raise OutputError(f"{self.path} holds what is to be read; choose another output")

    def publish(self, space: Workspace, about: Mapping[str, Any], column: str, *, picture: bool) -> None:  # noqa: D102
        with self.shelf.work.scratch() as folder, explained(folder.parent):
            if self.single:
                for part in space.finished:
                    self.shelf.parts.fetch(part.file, folder / part.file)
                self._assemble([folder / part.file for part in space.finished], folder, column)
            self._describe(space, folder, about)
            if picture:
                self._above.replace(f"{self._name}.png", self.shelf.work.read(PICTURE) or b"")
            if self.single:
                self._above.replace(self._name, folder / _WHOLE)
            for name in _ABOUT:
                if (folder / name).exists():
                    self._above.replace(self._about(name).removeprefix(f"{self._above}/"), folder / name)
        space.remove()


def job_of(manifest: bytes) -> str | None:
    """The name of the job that wrote a manifest; None if it doesn't say."""
    try:
        content = json.loads(manifest)
    except ValueError:
        return None
    return content.get("job") if isinstance(content, dict) else None


def _job_there(manifest: Path) -> str | None:
    try:
        return job_of(manifest.read_bytes())
    except OSError:
        return None


def _replace(new: Path, old: Path) -> None:
    if new.exists():
        new.replace(old)
    else:
        old.unlink(missing_ok=True)


def _write_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    with atomic_file(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
