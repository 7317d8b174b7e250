"""The folder beside an output in which a job works, so that what is finished survives the end of the process.

.digits.partial/
  lock             held while a job runs
  journal.jsonl    what the job is, then a line for each finished part
  parts/           the finished parts
  picture.png      of the first rows
"""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from pipeline.shared.files import atomic_file, explained

log = logging.getLogger(__name__)

_JOURNAL, _LOCK = "journal.jsonl", "lock"
FINISHED, PICTURE = "parts", "picture.png"


@dataclass(frozen=True)
class Part:
    """A finished part, as the journal has it."""

    file: str
    rows: int
    bytes: int
    xxh3_128: str
    source_xxh3_128: str
    """Of the pixels, or latents, that it was made from, rows in order."""
    source_rows: int
    bad: tuple[tuple[int, str, str], ...] = ()
    """Rows that were set aside: index, name, reason."""
    labelled: int = 0
    """Rows that have a label."""
    stored: str = ""
    """What a store says of it, as `Target.keep` returns it; empty where it lies in the workspace."""

    def listed(self) -> dict[str, Any]:
        """As a manifest lists it."""
        return {name: value for name, value in asdict(self).items() if name not in ("bad", "labelled", "stored")}


class Workspace:
    """See the module; made by `open_workspace`."""

    def __init__(self, folder: Path, finished: list[Part]) -> None:
        self.folder = folder
        self.parts = folder / FINISHED
        self.picture = folder / PICTURE
        self.finished = finished

    def commit(self, part: Part, keep: Callable[[Path], str]) -> None:
        """Put a part that was written into the folder in its place, let the target `keep` it, and add it."""
        place = self.parts / part.file
        (self.folder / part.file).replace(place)
        self.add(replace(part, stored=keep(place)))

    def add(self, part: Part) -> None:
        """Enter a part in the journal that lies, whole, where it belongs."""
        with (self.folder / _JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(part)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.finished.append(part)

    def remove(self) -> None:
        """Delete the folder and all in it, what says whose it is first and the lock last."""
        _delete([self.folder / _JOURNAL])
        _delete(entry for entry in _entries(self.folder) if entry.name != _LOCK)
        with contextlib.suppress(OSError):  # of another process, which may have come in between
            (self.folder / _LOCK).unlink()
            self.folder.rmdir()


def read_journal(folder: Path, job: Mapping[str, Any]) -> list[Part] | None:
    """The parts that the journal in `folder` lists; None if there is no journal, or it is another job's.

    A last line that is not whole, since the process ended while it was written, does not count, and no line after one
    that is missing.
    """
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0] != json.dumps(job):
        return None
    parts: list[Part] = []
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        for number, line in enumerate(lines[1:]):
            entry = json.loads(line)
            if not entry["file"].startswith(f"part-{number:05d}"):
                break
            parts.append(Part(**{**entry, "bad": tuple((int(i), str(n), str(r)) for i, n, r in entry["bad"])}))
    return parts


@contextlib.contextmanager
def open_workspace(
    folder: Path, job: Mapping[str, Any], intact: Callable[[Part], bool], keep: Callable[[], bool] = lambda: False
) -> Iterator[Workspace]:
    """The workspace in `folder`, with the parts that an earlier run of the same `job` finished, as far as `intact`.

    All else that is found there is deleted. When the block fails, finished parts stay; if there are none, the folder
    is removed, unless the journal is to be kept.

    Raises:
        OutputError: another process works there, or the folder cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            space = Workspace(folder, [])
            try:
                found = read_journal(folder, job)
                if found is None and (folder / _JOURNAL).exists():
                    log.info("%s was left by another job; starting over", folder)
                space.finished.extend(itertools.takewhile(intact, found or []))
                if lost := len(found or []) - len(space.finished):
                    log.info("%s finished part(s) are not what they were; making them again", lost)
                _tidy(space)
                # Written again, since its last line may be torn.
                with atomic_file(folder / _JOURNAL) as journal:
                    entries = [job, *map(asdict, space.finished)]
                    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
                yield space
            except BaseException:
                if folder.exists() and (space.finished or keep()):
                    log.warning(
                        "%s holds %s finished part(s); run the same command again to resume",
                        folder,
                        len(space.finished),
                    )
                else:
                    space.remove()
                raise


def _tidy(space: Workspace) -> None:
    """Delete all that the end of a process may have left besides finished parts and their picture."""
    known = {_LOCK, *([_JOURNAL, FINISHED, PICTURE] if space.finished else [])}
    _delete(entry for entry in space.folder.iterdir() if entry.name not in known)
    space.parts.mkdir(exist_ok=True)
    listed = {part.file for part in space.finished}
    _delete(entry for entry in space.parts.iterdir() if entry.name not in listed)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _delete(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The kernel drops the lock with the process, however that ends."""
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat())
        except (BlockingIOError, FileNotFoundError):  # held, or gone with the folder of a job that just ended
            mine = False
        if not mine:
            raise OutputError(f"another process is writing in {folder}; wait for it, or choose another output")
        yield
