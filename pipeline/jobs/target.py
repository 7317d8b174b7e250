"""Where the result of a job goes: a folder or a file, here or on a store that fsspec reaches.

A folder holds the parts and `_manifest.json`; a single file, `x.npy`, `x.npz` or `x.png`, has `x.npy.manifest.json`
beside it. The underscore hides it from readers of whole folders of Parquet. Rows that were set aside stand in
`_quarantine.jsonl` or `x.npy.quarantine.jsonl`.
"""

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import DataError, OutputError
from pipeline.jobs import parts as files
from pipeline.jobs.parts import FORMATS, NOT_WRITTEN, NPY, PARQUET, PART_GLOB, POSTER, SINGLE_FILE
from pipeline.jobs.png_stream import write_png
from pipeline.jobs.workspace import FINISHED, Part, Workspace
from pipeline.shared.files import atomic_file, explained, refuse_foreign, release, write_json
from pipeline.sources.failures import explain
from pipeline.sources.places import reported

MANIFEST, QUARANTINE = "manifest.json", "quarantine.jsonl"
AUTO = "auto"
_LONGEST_NAME = 200  # with what is added to it, below the 255 bytes of most file systems
_WHOLE, _COPY = "whole", "copy.png"
_CHECKSUMS = ("ETag", "etag", "e_tag", "md5Hash", "crc32c", "content_md5", "checksum")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")


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

    sent = False
    """Whether anything has left the workspace."""
    identity = ""
    """What tells it from other targets that would have the same workspace."""

    def __init__(self, path: str, format_: str, workspace: Path) -> None:
        self.path, self.format, self.workspace = path, format_, workspace
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
    def keep(self, part: Path) -> str:
        """Take over a whole part, which lies in the workspace; returns what `intact` will need to know of it."""

    def intact(self, part: Part) -> bool:
        """Whether a part that the journal lists is still what it was."""
        path = self.workspace / FINISHED / part.file
        try:
            return path.exists() and files.measure_part(path) == (part.bytes, part.xxh3_128)
        except OSError:
            return False

    @abstractmethod
    def publish(self, space: Workspace, about: Mapping[str, Any], picture: Path | None, column: str) -> None:
        """Put everything in place, the manifest last, and remove the workspace.

        Args:
            space: the finished parts.
            about: what the manifest says besides the files.
            picture: a PNG file that goes beside the result.
            column: what an `.npy` file holds.
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

    def _assemble(self, space: Workspace, column: str) -> list[dict[str, Any]]:
        """Make a single file of all parts, if that is what is wanted; returns what the manifest lists as files."""
        if not self.single:
            return [part.listed() for part in space.finished]
        whole = space.folder / _WHOLE
        finished = [space.parts / part.file for part in space.finished]
        if self.format == NPY:
            files.write_npy(whole, finished, column)
        elif self.format == POSTER:
            write_png(whole, finished)
        else:
            files.write_npz(whole, finished)
        size, digest = files.measure_part(whole)
        return [{"file": PurePosixPath(self.path).name, "bytes": size, "xxh3_128": digest}]


class LocalTarget(Target):
    """On this machine: everything appears by renaming."""

    def __init__(self, path: Path, format_: str) -> None:
        self._target = path.resolve()  # a link to a folder elsewhere stays one
        super().__init__(str(path), format_, self._target.parent / f".{self._target.name}.partial")
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
            refuse_foreign(Path(self.path), owns=[PART_GLOB, f"_{MANIFEST}", f"_{QUARANTINE}"])
            there = self._target.is_dir() and any(self._target.iterdir())
        # A run that was killed while it put its file in place has not said yet what it is.
        if there and not (self.single and resuming) and _job_of(Path(self._about(MANIFEST))) != job:
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

    def keep(self, part: Path) -> str:
        """Leave it there until the end; the job does not read a Parquet part again."""
        if self.format == PARQUET:
            release(part)
        return ""

    def publish(self, space: Workspace, about: Mapping[str, Any], picture: Path | None, column: str) -> None:  # noqa: D102
        with explained(self._target):
            manifest = {**about, "files": self._assemble(space, column)}
            _write_about(space, manifest)
            if picture is not None:
                # A copy: if the process ends before all is in place, the next run needs it again.
                shutil.copyfile(picture, space.folder / _COPY)
                (space.folder / _COPY).replace(self.picture())
            if self.single:
                (space.folder / _WHOLE).replace(self._target)
                for name in (QUARANTINE, MANIFEST):
                    _replace(space.folder / name, Path(self._about(name)))
            else:
                for name in (QUARANTINE, MANIFEST):
                    _replace(space.folder / name, space.parts / f"_{name}")
                if self._target.exists():
                    self._target.replace(space.folder / "replaced")
                space.parts.replace(self._target)
        space.remove()


class RemoteTarget(Target):
    """On a store that fsspec reaches: parts are sent as they are finished, the workspace lies where the job runs.

    A store can't put a new result in the place of an old one at once, so that an old one has to be deleted before.
    """

    def __init__(self, path: str, format_: str) -> None:
        """Connect to the store.

        Raises:
            DataError: no driver, or it can't reach the store.
            OutputError: no name in the store.
        """
        import fsspec  # noqa: PLC0415

        protocol, _, rest = path.partition("://")
        name = PurePosixPath(rest).name
        if not name:
            raise OutputError(f"{path} is a whole store; name a folder or a file in it")
        try:
            self._store, self._root = fsspec.url_to_fs(path.rstrip("/"))
        except (ImportError, ValueError) as error:
            raise DataError(f"{path} can't be reached: {error}; install the driver for {protocol}://") from error
        except Exception as error:  # every driver raises its own
            found, advice = explain(error)
            raise DataError(f"{path} can't be reached: {found}; {advice}") from error
        self.identity = path
        # Of the same name in two stores, neither may take the other's for its own.
        digest = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:8]
        super().__init__(path, format_, Path.cwd() / f".{name}.{digest}.partial")

    def refuse_others(self, job: str, *, picture: bool, resuming: bool) -> None:  # noqa: D102
        for place in [self.path, self.picture()] if picture else [self.path]:
            with reported(place):  # a store may want rights or a network
                there = not resuming and self._store.exists(place) and self._store.find(place)
            if there:
                raise OutputError(f"{place} is there; delete it, or choose another output for `vae {job}`")

    def refuse_source(self, source: str | Path) -> None:  # noqa: D102
        if str(source).rstrip("/") == self.path.rstrip("/"):
            raise OutputError(f"{self.path} holds what is to be read; choose another output")

    def keep(self, part: Path) -> str:
        """Send it; what the store then says of it tells at the next run whether it was replaced since."""
        if self.single:
            return ""
        for file in sorted(part.iterdir()) if part.is_dir() else [part]:
            self._send(file, f"{self.path.rstrip('/')}/{file.relative_to(part.parent).as_posix()}")
            file.unlink()
        if part.is_dir():
            part.rmdir()
        return self._stored(part.name)

    def intact(self, part: Part) -> bool:  # noqa: D102
        return super().intact(part) if self.single else self._stored(part.file) == part.stored

    def _stored(self, part: str) -> str:
        """A digest of what the store says of the files of a part: sizes, and checksums or else times of change."""
        with reported(f"{self.path}/{part}"):
            self._store.invalidate_cache()
            found = self._store.find(f"{self._root}/{part}", detail=True)
        facts = sorted((name, about["size"], *_identity(about)) for name, about in found.items())
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def publish(self, space: Workspace, about: Mapping[str, Any], picture: Path | None, column: str) -> None:  # noqa: D102
        manifest = {**about, "files": self._assemble(space, column)}
        if picture is not None:
            self._send(picture, self.picture())
        if self.single:
            self._send(space.folder / _WHOLE, self.path)
        _write_about(space, manifest)
        for name in (QUARANTINE, MANIFEST):
            if (space.folder / name).exists():
                self._send(space.folder / name, self._about(name))
        space.remove()

    def _send(self, file: Path, to: str) -> None:
        try:
            self._store.makedirs(str(PurePosixPath(self._store._strip_protocol(to)).parent), exist_ok=True)
            self._store.put_file(str(file), self._store._strip_protocol(to))
            self.sent = True
        except Exception as error:  # every driver raises its own
            raise OutputError(
                f"cannot write {to}: {explain(error)[0]}; run the same command again to resume"
            ) from error


def _identity(about: Mapping[str, Any]) -> list[str]:
    """What tells an object from another of the same name and size, by the keys of the drivers of fsspec."""
    for keys in (_CHECKSUMS, _TIMES):
        if found := [f"{key}={about[key]}" for key in keys if about.get(key)]:
            return found
    return []


def _job_of(manifest: Path) -> str | None:
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("job") if isinstance(content, dict) else None


def _replace(new: Path, old: Path) -> None:
    if new.exists():
        new.replace(old)
    else:
        old.unlink(missing_ok=True)


def _write_about(space: Workspace, manifest: Mapping[str, Any]) -> None:
    """In the workspace: the manifest, and a JSON object for each row that was set aside, if there is any."""

    def lines() -> Iterator[str]:
        for part in space.finished:
            for index, name, reason in part.bad:
                yield json.dumps({"index": index, "name": name, "reason": reason}) + "\n"

    write_json(space.folder / MANIFEST, manifest)
    if any(part.bad for part in space.finished):
        with atomic_file(space.folder / QUARANTINE) as beside, beside.open("w", encoding="utf-8") as file:
            file.writelines(lines())
