"""Files and folders that appear whole or not at all."""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError

_NUMBERS = r"\[\n(\s*-?\d[-+.\deE,\s]*)\]"  # as `json` indents them; no text in JSON has a line break


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a failure to write to or beside `path` into an `OutputError`."""
    try:
        yield
    except OSError as error:
        # Only a failure to write is ours to explain; reading a source inside the block is not.
        if error.filename is not None and not _concerns(Path(os.fsdecode(error.filename)), path):
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another place"
        ) from error


def _concerns(file: Path, path: Path) -> bool:
    """Whether `file` is `path`, the stand-in that is written beside it, or above or below these."""
    file, path = file.resolve(), path.resolve()
    if path.parent not in file.parents:
        return file in path.parents
    top = file.relative_to(path.parent).parts[0]
    return top == path.name or top.startswith(f".{path.name}.")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it into place if the block succeeds.

    Raises:
        OutputError: the file cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        try:
            yield beside
            flush(beside)
            make_readable(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, *, owns: Collection[str]) -> Iterator[Path]:
    """Yield a new folder beside `path` to fill; put it in place of `path` if the block succeeds.

    A folder that is already there is replaced when everything in it matches one of the globs `owns` (an
    earlier result of the same job), and refused otherwise.

    Raises:
        OutputError: `path` holds something else, or cannot be written.
    """
    refuse_foreign(path, owns=owns)
    target = path.resolve()  # a link to a folder elsewhere stays one
    if Path.cwd().is_relative_to(target):
        raise OutputError(f"{target} is where this command runs and can't be replaced; name a new folder in it")
    with explained(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield beside
            for file in beside.rglob("*"):
                flush(file)
            make_readable(beside)
            old = beside.with_name(f"{beside.name}.old")
            if target.exists():
                target.replace(old)
            beside.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def refuse_foreign(path: Path, *, owns: Collection[str]) -> None:
    """Raise `OutputError` if `path` is a file, or a folder with anything that matches none of the globs `owns`."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, a folder to write to was expected; choose another output")
    if not path.is_dir():
        return
    foreign = sorted(e.name for e in path.iterdir() if not any(fnmatch.fnmatch(e.name, own) for own in owns))
    if foreign:
        raise OutputError(
            f"{path} already holds {foreign[0]!r}, which this command did not write; choose an empty folder"
        )


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline, atomically; a list of numbers stands on one line."""
    text = re.sub(_NUMBERS, lambda found: f"[{' '.join(found[1].split())}]", json.dumps(content, indent=2))
    with atomic_file(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_readable(path: Path) -> None:
    """Give what `tempfile` made for its owner alone the mode of any other new file or folder."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def flush(path: Path) -> None:
    """Wait until the kernel has written a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def release(path: Path) -> None:
    """Let the kernel drop a file that is on the disk from its cache, for files that are not read again soon.

    Otherwise what a long job writes pushes everything else out of the memory, and each of its pages is a new one.
    """
    if not hasattr(os, "posix_fadvise"):  # as on macOS
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
