"""Every batch job: read -> run -> write, in order, with few rows in memory.

One thread reads ahead, one per core decodes what was read and runs the model, one writes finished parts; the main
thread puts the pieces in order. A part covers 65,536 rows of the source and depends on these alone, so that a job
can go on after any of them.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xxhash

from pipeline.errors import DataError, FormatError
from pipeline.inference.parallel import map_ordered
from pipeline.inference.progress import Progress
from pipeline.jobs.job import FAIL, Job, Options, Plan, Source, Stretch, Summary
from pipeline.jobs.machine import matrix_rate, peak_memory
from pipeline.jobs.parts import ROWS_PER_PART, Array, Columns, measure_part, part_name, write_part
from pipeline.jobs.target import Target
from pipeline.jobs.workspace import Part, Workspace, open_workspace, read_journal
from pipeline.shared.files import explained
from pipeline.sources.rows import MAX_ROWS, BadRow

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_SHORT = 5.0  # seconds; the yardstick of a shorter job would cost too much of it

T = TypeVar("T", bound=Stretch)


def plan(job: Job[T], source: Source[T], target: Target, options: Options) -> Plan:
    """What `run` would do; writes nothing.

    Raises:
        OutputError: the target holds something else.
    """
    finished = read_journal(target.workspace, _fingerprint(job, source, target, options))
    target.refuse_others(job.name, picture=job.picture is not None, resuming=finished is not None)
    total = _total(source, options)
    parts = None if total is None else -(-total // ROWS_PER_PART)
    return Plan(str(target), source.name, total, options.limit, parts, len(finished or []))


def run(job: Job[T], source: Source[T], target: Target, options: Options) -> Summary:
    """Do the job, from where an earlier run of the same job ended.

    Raises:
        DataError: the source changes or fails while it is read.
        FormatError: a bad row, unless such rows are to be set aside.
        OutputError: the target holds something else or cannot be written; another process writes there.
    """
    start = time.perf_counter()
    fingerprint = _fingerprint(job, source, target, options)
    resuming = read_journal(target.workspace, fingerprint) is not None
    target.refuse_others(job.name, picture=job.picture is not None, resuming=resuming)
    with open_workspace(target.workspace, fingerprint, target.intact, lambda: target.sent) as space:
        resumed, before = len(space.finished), sum(part.rows for part in space.finished)
        if resumed:
            log.info("going on after %s finished part(s), %s rows", resumed, f"{before:,}")
        with explained(target.workspace):
            _write_parts(job, source, target, options, space)
        if _fingerprint(job, source, target, options) != fingerprint:
            space.finished.clear()  # of two states of the source
            raise DataError(f"{source.name} changed while it was read; run the command again when it is complete")
        if not space.finished:
            raise DataError(f"{source.name} holds nothing to {job.name}")
        rows, parts = sum(part.rows for part in space.finished), len(space.finished)
        bad = sum(len(part.bad) for part in space.finished)
        about = {"schema_version": SCHEMA_VERSION, "job": job.name, "format": target.format, **job.about}
        about |= {"rows": rows, "quarantined": bad}
        picture = space.picture if job.picture is not None else None
        target.publish(space, about, picture, job.npy_column)
    seconds = time.perf_counter() - start
    rate = (rows - before) / seconds
    share = None
    if job.operations and seconds > _SHORT and not options.quiet:
        share = rate * job.operations / matrix_rate(job.workers, min(seconds / 100, 0.5))
    return Summary(
        str(target),
        rows,
        parts,
        bad,
        resumed,
        seconds,
        rate,
        share,
        peak_memory(),
        target.picture() if job.picture is not None else None,
        target.quarantine() if bad else None,
    )


def _total(source: Source[T], options: Options) -> int | None:
    """Rows to do; None if only reading tells."""
    if source.count is None or options.limit is None:
        return source.count
    return min(source.count, options.limit)


def _fingerprint(job: Job[T], source: Source[T], target: Target, options: Options) -> dict[str, Any]:
    """Whatever decides on the bytes of a part."""
    return {
        "schema_version": SCHEMA_VERSION,
        "job": job.name,
        "format": target.format,
        "target": target.identity,
        "source": source.state(),
        "count": source.count,
        "limit": options.limit,
        "on_error": options.on_error,
        **job.about,
        **job.inputs,
    }


@dataclass
class _Block:
    """What a worker made of a stretch."""

    start: int
    stop: int
    columns: Columns
    content: Array
    bad: tuple[BadRow, ...]


@dataclass
class _Pending:
    """The part that is being put together."""

    number: int
    columns: list[Columns] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    digest: Any = field(default_factory=xxhash.xxh3_128)
    source_rows: int = 0

    def add(self, block: _Block) -> None:
        """Take over a block but for its content, which only the digest needs."""
        self.digest.update(block.content.reshape(-1).view(np.uint8))
        self.columns.append(block.columns)
        self.bad += [(one.index, one.name, one.reason) for one in block.bad]
        self.source_rows += block.stop - block.start


def _write_parts(job: Job[T], source: Source[T], target: Target, options: Options, space: Workspace) -> None:
    total = _total(source, options)
    end = options.limit if total is None else total
    done = sum(part.source_rows for part in space.finished)
    part = _Pending(len(space.finished))
    blocks = _blocks(job, source, options, part.number * ROWS_PER_PART, end)
    written: Future[None] | None = None
    with (
        Progress(job.name, total, done, options.quiet) as progress,
        ThreadPoolExecutor(1) as writer,
        contextlib.closing(blocks),
    ):
        for block in blocks:
            part.add(block)
            rows = block.stop - block.start
            progress.advance(rows)
            ended = rows < MAX_ROWS or block.stop == end
            if (ended and part.source_rows) or part.source_rows == ROWS_PER_PART:
                if written is not None:
                    written.result()
                written = writer.submit(_finish, job, target, space, part)
                part = _Pending(part.number + 1)
            if ended:
                break
        if written is not None:
            written.result()


def _blocks(
    job: Job[T], source: Source[T], options: Options, start: int, end: int | None
) -> Generator[_Block, None, None]:
    """Results in order, from row `start` to `end`, or to an empty stretch."""

    def work(reading: Future[Callable[[], T]]) -> _Block:
        rows = reading.result()()
        if rows.bad and options.on_error == FAIL:
            raise FormatError(f"{rows.bad[0].name}: {rows.bad[0].reason}; --on-error quarantine sets such rows aside")
        index = np.arange(rows.start, rows.stop, dtype=np.int64)
        index = np.delete(index, [bad.index - rows.start for bad in rows.bad]) if rows.bad else index
        return _Block(rows.start, rows.stop, {"index": index, **job.work(rows)}, job.content(rows), rows.bad)

    with ThreadPoolExecutor(1) as reader:

        def reading() -> Iterator[Future[Callable[[], T]]]:
            position = start
            while end is None or position < end:
                stop = position + MAX_ROWS if end is None else min(position + MAX_ROWS, end)
                yield reader.submit(source.read, position, stop)
                position = stop

        try:
            yield from map_ordered(work, reading(), job.workers)
        finally:
            reader.shutdown(cancel_futures=True)


def _finish(job: Job[T], target: Target, space: Workspace, part: _Pending) -> None:
    """Write a part under another name, measure it, put it in its place and into the journal."""
    name = part_name(part.number, target.format)
    beside, place = space.folder / name, space.parts / name
    if part.number == 0 and job.picture is not None:
        job.picture(space.picture)
    source_digest = part.digest.hexdigest()
    write_part(beside, target.format, part.columns, {**job.metadata, "source_xxh3_128": source_digest})
    size, digest = measure_part(beside)
    beside.replace(place)
    target.keep(place)
    rows = sum(len(columns["index"]) for columns in part.columns)
    space.add(Part(name, rows, size, digest, source_digest, part.source_rows, tuple(part.bad)))
