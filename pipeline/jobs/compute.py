"""From rows to a part: the same wherever it runs. Nothing here knows of machines, records or folders of results.

`run_part(blocks(job, source, stretches(start, stop), ...))` makes the part of the rows from `start` up to `stop`.
"""

import contextlib
import gc
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash

from pipeline.errors import FormatError
from pipeline.inference.parallel import map_ordered
from pipeline.jobs.job import FAIL, Job, Source, Stretch
from pipeline.jobs.ledger import Part
from pipeline.jobs.parts import DIGITS, ROWS_PER_PART, Array, Columns, measure_part, part_name, write_part
from pipeline.sources.rows import MAX_ROWS, BadRow, Pixels

T = TypeVar("T", bound=Stretch)

_SWITCH_INTERVAL = 0.0005  # seconds
_OBJECTS = 100_000


@dataclass(frozen=True)
class Block:
    """What was made of a stretch."""

    start: int
    stop: int
    columns: Columns
    content: Array
    """The rows that it was made from."""
    bad: tuple[BadRow, ...]
    sheet: Pixels | None
    """The picture, of the first stretch of a job that draws one."""
    remark: str | None = None
    """What is odd about the rows, if they are the first of a part."""
    kept: Columns | None = None
    """`Job.keep`"""


@dataclass
class Made:
    """A part before it is written."""

    columns: list[Columns] = field(default_factory=list)
    """Of each stretch, in order."""
    bad: list[BadRow] = field(default_factory=list)
    digest: Any = field(default_factory=xxhash.xxh3_128)
    """Of the rows that it was made from."""
    source_rows: int = 0
    sheet: Pixels | None = None
    remark: str | None = None
    kept: list[Columns] = field(default_factory=list)


def stretches(start: int, stop: int, most: int = MAX_ROWS) -> Iterator[tuple[int, int]]:
    """Cut the rows from `start` up to `stop` into stretches of at `most` so many rows, each read at once."""
    for first in range(start, stop, most):
        yield first, min(first + most, stop)


@contextlib.contextmanager
def many_rows() -> Iterator[None]:
    """Python's own habits suit programs of few objects and few threads.

    Thousands of rows are held as objects, none of which refers back: looking for cycles among them took half of the
    time to read a tar file. And a thread that has read a picture waits for up to the switch interval to go on.
    """
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.set_threshold(_OBJECTS, *threshold[1:])
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)


def refuse_bad(bad: Sequence[BadRow], on_error: str) -> None:
    """Raise `FormatError` if a row is bad, unless `on_error` sets such rows aside."""
    if bad and on_error == FAIL:
        raise FormatError(f"{bad[0].name}: {bad[0].reason}; --on-error quarantine sets such rows aside")


def compute(job: Job[T], rows: T, on_error: str) -> Block:
    """Do the job for the rows of one stretch.

    Raises:
        FormatError: a row is bad, unless `on_error` sets such rows aside.
    """
    refuse_bad(rows.bad, on_error)
    index = np.arange(rows.start, rows.stop, dtype=np.int64)
    columns, made = job.work(rows)
    if "index" not in columns:
        index = np.delete(index, [bad.index - rows.start for bad in rows.bad]) if rows.bad else index
    sheet = job.sheet(rows, made) if rows.start == 0 and job.draws else None
    remark = job.remark(rows) if rows.start % job.rows_per_part == 0 else None
    columns = {"index": index, **columns}
    kept = job.keep(rows, columns)
    return Block(rows.start, rows.stop, columns, job.content(rows), rows.bad, sheet, remark, kept)


def blocks(
    job: Job[T],
    source: Source[T],
    cut: Iterable[tuple[int, int]],
    on_error: str,
    workers: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Generator[Block, None, None]:
    """What is made of stretches of rows, in order: one thread reads ahead, `workers` decode and compute.

    Parts are cut from this one stream, so that no thread waits at their borders. It ends where the source does.
    """

    def work(reading: Future[Callable[[], T]]) -> Block:
        return compute(job, reading.result()(), on_error)

    with ThreadPoolExecutor(1) as reader:
        asked: deque[int] = deque()

        def ahead() -> Iterator[Future[Callable[[], T]]]:
            for start, stop in cut:
                asked.append(stop - start)
                yield reader.submit(source.read, start, stop)

        try:
            for block in map_ordered(work, ahead(), workers):
                rows = block.stop - block.start
                advance(rows)
                yield block
                if rows < asked.popleft():
                    return
        finally:
            reader.shutdown(cancel_futures=True)


def run_part(blocks: Iterable[Block], rows: int = ROWS_PER_PART) -> Made:
    """Put blocks together that follow each other, until the part has so many rows or they end."""
    part = Made()
    for block in blocks:
        part.digest.update(block.content.reshape(-1).view(np.uint8))
        part.columns.append(block.columns)
        part.bad += block.bad
        part.source_rows += block.stop - block.start
        part.sheet = part.sheet if block.sheet is None else block.sheet
        part.remark = part.remark or block.remark
        part.kept += [] if block.kept is None else [block.kept]
        if part.source_rows == rows:
            break
    return part


def write(job: Job[T], number: int, made: Made, folder: Path, digits: int = DIGITS) -> Part:
    """Write a part into `folder` and measure it; to put it into its place is left to who asked for it."""
    name = part_name(number, job.format, digits)
    source_digest = made.digest.hexdigest()
    write_part(folder / name, job.format, made.columns, {**job.metadata, "source_xxh3_128": source_digest})
    size, digest = measure_part(folder / name)
    rows = sum(len(columns["index"]) for columns in made.columns)
    bad = tuple((one.index, one.name, one.reason) for one in made.bad)
    labelled = sum(int((columns["label"] >= 0).sum()) for columns in made.columns if "label" in columns)
    return Part(name, rows, size, digest, source_digest, made.source_rows, bad, labelled)
