"""Where a job works beside its output, so that what is finished survives the end of processes and machines.

.digits.partial/
  lock             held while a job runs; on a disk alone
  job.json         what the job is
  parts/           the finished parts; of a folder on a store, they lie in the result itself
  unpacked/        large compressed files of the source, on a cluster
  records/         part-00000.json and on: what each of them is
  picture.png      of the first rows, or of what was kept
  kept/            part-00000.npz and on: what that may need of each part

Whoever finishes a part, in whatever process, puts it under its name if there is none yet, and then its record. A part
counts if it has a record: in any order, and once.
"""

import contextlib
import fcntl
import io
import itertools
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from pipeline.errors import OutputError, PipelineError
from pipeline.jobs.compute import Made, write
from pipeline.jobs.grid import save_png
from pipeline.jobs.job import Job, Options
from pipeline.jobs.ledger import Ledger, Part
from pipeline.jobs.parts import DIGITS, PARQUET, Columns, measure_part, part_stem
from pipeline.jobs.store import LocalStore, Store
from pipeline.shared.files import explained, release
from pipeline.sources.rows import Pixels
from pipeline.sources.unpacking import FOLDER as UNPACKED

log = logging.getLogger(__name__)

_JOB, _LOCK, _RECORDS, _KEPT = "job.json", "lock", "records", "kept"
FINISHED, PICTURE = "parts", "picture.png"


@dataclass(frozen=True)
class Shelf:
    """Where the parts of a job and their records go: the same for all who make them, and small enough to be sent."""

    work: Store
    parts: Store
    digits: int = DIGITS
    """Of the numbers of parts."""

    def put(self, job: Job[Any], number: int, made: Made, arithmetic: str) -> Part:
        """Write a part, and its record; of two who finish the same one, the first one's stays.

        Args:
            job: what was done.
            number: of the part, from 0 on.
            made: the part.
            arithmetic: `Job.arithmetic` of this machine.

        Raises:
            OutputError: it can't be written.
        """
        with self.work.scratch() as folder, explained(folder.parent):  # not the name of a folder that is gone then
            if made.sheet is not None:
                self._draw(made.sheet, job.enlarged, folder)
            if made.kept:
                aside = folder / f"{part_stem(number, self.digits)}.npz"
                np.savez(aside, **job.best(made.kept))  # type: ignore[arg-type]
                self.work.replace(f"{_KEPT}/{aside.name}", aside)
            part = replace(write(job, number, made, folder, self.digits), arithmetic=arithmetic)
            if not self.parts.create(part.file, folder / part.file):
                part = self._adopt(part, folder)
        if isinstance(self.parts, LocalStore):
            if job.format == PARQUET:  # which is not read again
                release(self.parts.folder / part.file)
        else:
            part = replace(part, stored=_digest(self.parts.marks(part.file)))
        name = f"{_RECORDS}/{part_stem(number, self.digits)}.json"
        if not self.work.create(name, part.record()):
            part = Part.read(self.work.read(name) or b"") or part
        return part

    def draw_kept(self, job: Job[Any]) -> None:
        """Put the picture of what all parts have kept in its place, if they have."""
        kept: list[Columns] = []
        for _, content in self.work.read_all(_KEPT):
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                kept = [job.best([*kept, dict(arrays)])]
        sheet = job.sheet_of(kept[0]) if kept else None
        if sheet is not None:
            with self.work.scratch() as folder, explained(folder.parent):
                self._draw(sheet, job.enlarged, folder)

    def _draw(self, sheet: Pixels, enlarged: int, folder: Path) -> None:
        save_png(sheet, folder / PICTURE, enlarged)
        self.work.replace(PICTURE, folder / PICTURE)

    def _adopt(self, part: Part, folder: Path) -> Part:
        """What an earlier attempt has put there, whose record may be missing.

        Where files grow under their names, as behind sftp://, it may be half of one.
        """
        there = folder / f"there-{part.file}"
        if isinstance(self.parts, LocalStore):
            there = self.parts.folder / part.file
        else:
            self.parts.fetch(part.file, there)
        size, digest = measure_part(there)
        if size != part.bytes and not isinstance(self.parts, LocalStore):
            self.parts.replace(part.file, folder / part.file)
            return part
        arithmetic = part.arithmetic if digest == part.xxh3_128 else ""  # not this machine's
        return replace(part, bytes=size, xxh3_128=digest, arithmetic=arithmetic)

    def finished(self) -> Iterator[tuple[int, Part]]:
        """The parts that have a record and are still what it says, with their numbers; the others' are deleted."""
        if isinstance(self.parts, LocalStore):
            for number, part, name in self._recorded():
                with contextlib.suppress(OSError):
                    path = self.parts.folder / part.file
                    if measure_part(path) == (part.bytes, part.xxh3_128):
                        yield number, part
                        continue
                self._forget(name, part)
            return
        there = itertools.groupby(self.parts.marks(), lambda found: found[0].partition("/")[0])
        stem, stored = "", ""
        for number, part, name in self._recorded():
            while stem < part.file:
                stem, marks = next(there, ("~", iter(())))
                stored = _digest(marks)
            if (stem, stored) == (part.file, part.stored):
                yield number, part
            else:
                self._forget(name, part)

    def _recorded(self) -> Iterator[tuple[int, Part, str]]:
        for name, content in self.work.read_all(_RECORDS):
            part = Part.read(content)
            number = name.rpartition("-")[2].removesuffix(".json")
            if part is None or not number.isdecimal() or not part.file.startswith(part_stem(int(number), self.digits)):
                self.work.remove(name)
            else:
                yield int(number), part, name

    def _forget(self, name: str, part: Part) -> None:
        self.work.remove(name)
        self.parts.remove(part.file)


def _digest(marks: Iterator[tuple[str, str]]) -> str:
    """Of what a store says of the files of a part."""
    return xxhash.xxh3_128_hexdigest(repr(list(marks)).encode())


class Workspace:
    """See the module; made by `open_workspace`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.finished = Ledger()
        self.removed = False

    def todo(self, total: int | None, rows_per_part: int) -> Iterator[int]:
        """The parts that are not finished, in order; without end where the number of rows is not known."""
        parts = itertools.count() if total is None else range(-(-total // rows_per_part))
        return (number for number in parts if number not in self.finished)

    def refuse_other(self, arithmetic: str, options: Options) -> None:
        """Raise `OutputError` if finished parts come from another kind of processor, unless that is allowed."""
        if self.finished.arithmetics - {arithmetic} and not options.allow_mixed:
            raise OutputError(
                f"{self.shelf.work} holds parts from another kind of processor, whose last digits differ; go on there, "
                f"or with --allow-mixed, or delete it to begin again"
            )

    def forget(self) -> None:
        """Count no part as finished."""
        self.shelf.work.remove(_RECORDS)
        self.finished = Ledger()

    def remove(self) -> None:
        """Delete all of it, what says whose it is first and the lock last."""
        work = self.shelf.work
        self.removed = True
        work.remove(_JOB)
        if not isinstance(work, LocalStore):
            work.remove()
            return
        _empty(work.folder, {_LOCK})
        with contextlib.suppress(OSError):  # of another process, which may have come in between
            (work.folder / _LOCK).unlink()
            work.folder.rmdir()


def is_of(work: Store, job: Mapping[str, Any]) -> bool:
    """Whether the workspace in a store is that of this job."""
    return work.read(_JOB) == _written(job)


def is_begun(work: Store) -> bool:
    """Whether a job has begun there, as its workers should see."""
    return work.read(_JOB) is not None


def count_finished(work: Store) -> int:
    """How many parts have a record."""
    return sum(1 for _ in work.names(_RECORDS))


@contextlib.contextmanager
def open_workspace(shelf: Shelf, job: Mapping[str, Any]) -> Iterator[Workspace]:
    """The workspace of a shelf, with the parts that earlier runs of the same `job` finished, as far as they are intact.

    All else that is found there is deleted. When the block fails, finished parts stay; if there are none, all is
    removed.

    Raises:
        OutputError: another process works there, or nothing can be written there.
    """
    with _locked(shelf.work):
        space = Workspace(shelf)
        try:
            if not is_of(shelf.work, job):
                if shelf.work.read(_JOB) is not None:
                    log.info("%s was left by another job; starting over", shelf.work)
                _clear(shelf.work)
                shelf.work.replace(_JOB, _written(job))
            recorded = count_finished(shelf.work)
            for number, part in shelf.finished():
                space.finished.add(number, part)
            if lost := recorded - len(space.finished):
                log.info("%s finished part(s) are not what they were; making them again", lost)
            _tidy(space)
            yield space
        except BaseException:
            with contextlib.suppress(PipelineError, OSError):  # whose own failure would hide the first
                _leave(space, job)
            raise


def _leave(space: Workspace, job: Mapping[str, Any]) -> None:
    """After a failure: say what is finished, or remove all if nothing is."""
    work = space.shelf.work
    if space.removed:  # all is published, and what is there now may be another's
        return
    if finished := count_finished(work):
        log.warning("%s holds %s finished part(s); run the same command again to resume", work, finished)
        return
    begun = work.read(_JOB)  # of which half may be there
    if isinstance(work, LocalStore) or (begun is not None and _written(job).startswith(begun)):  # a store has no lock
        space.shelf.parts.remove()
        space.remove()


def _written(job: Mapping[str, Any]) -> bytes:
    return json.dumps(job).encode() + b"\n"


def _clear(work: Store) -> None:
    if isinstance(work, LocalStore):
        _empty(work.folder, {_LOCK})
    else:
        work.remove()


def _tidy(space: Workspace) -> None:
    """Delete all that the end of a process may have left on a disk besides finished parts and their picture.

    On a store, half a part leaves nothing, and a whole one is taken for what it is.
    """
    work, parts = space.shelf.work, space.shelf.parts
    if not isinstance(work, LocalStore) or not isinstance(parts, LocalStore):
        return
    _empty(work.folder, {_LOCK, _JOB, FINISHED, UNPACKED, *([_RECORDS, _KEPT, PICTURE] if len(space.finished) else [])})
    parts.folder.mkdir(exist_ok=True)
    _empty(parts.folder, {part.file for part in space.finished})


def _empty(folder: Path, keep: Collection[str]) -> None:
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(work: Store) -> Iterator[None]:
    """The kernel drops the lock with the process, however that ends.

    A store has no locks and needs none: of two that do the same job there, each takes over what the other has finished.
    """
    if not isinstance(work, LocalStore):
        yield
        return
    with explained(work.folder):
        work.folder.mkdir(parents=True, exist_ok=True)
        with (work.folder / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = os.path.samestat(os.fstat(file.fileno()), (work.folder / _LOCK).stat())
            except (BlockingIOError, FileNotFoundError):  # held, or gone with the folder of a job that just ended
                mine = False
            if not mine:
                raise OutputError(f"another process is writing in {work}; wait for it, or choose another output")
            yield
