"""The engine of every batch job on one machine: read, compute, write, in order, with few rows in memory.

One thread reads ahead, one per core decodes what was read and runs the model, one writes finished parts; the main
thread puts the pieces in order. A part covers 65,536 rows of the source, fewer where each takes more memory, and
depends on these alone, so that a job can resume after any of them.
"""

import contextlib
import gc
import itertools
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from pipeline.errors import DataError
from pipeline.inference.parallel import map_ordered
from pipeline.inference.progress import Progress
from pipeline.jobs.compute import Block, Made, compute, run_part, stretches, write
from pipeline.jobs.grid import save_png
from pipeline.jobs.job import Job, Options, Plan, Source, Stretch, Summary
from pipeline.jobs.machine import matrix_rate, peak_memory
from pipeline.jobs.target import Target
from pipeline.jobs.workspace import Workspace, open_workspace, read_journal
from pipeline.shared.files import explained
from pipeline.sources.rows import describe

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_SWITCH_INTERVAL = 0.0005  # seconds
_OBJECTS = 100_000
_SHORT = 5.0  # seconds; the yardstick of a shorter job would cost too much of it

T = TypeVar("T", bound=Stretch)


def plan(job: Job[T], source: Source[T], target: Target, options: Options) -> Plan:
    """What `run` would do; writes nothing.

    Raises:
        OutputError: the target holds something else.
    """
    finished = read_journal(target.workspace, _fingerprint(job, source, target, options))
    target.refuse_others(job.name, picture=job.draws, resuming=finished is not None)
    total = _total(source, options)
    parts = None if total is None else -(-total // job.rows_per_part)
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
    target.refuse_others(job.name, picture=job.draws, resuming=resuming)
    with (
        _many_rows(),
        open_workspace(target.workspace, fingerprint, target.intact, lambda: target.sent) as space,
    ):
        resumed, before = len(space.finished), sum(part.rows for part in space.finished)
        if resumed:
            done = sum(part.source_rows for part in space.finished)
            log.info("resuming after %s finished part(s), %s rows", resumed, f"{done:,}")
        with explained(target.workspace):
            remarks = _write_parts(job, source, target, options, space)
        if _fingerprint(job, source, target, options) != fingerprint:
            space.finished.clear()  # of two states of the source
            raise DataError(f"{source.name} changed while it was read; run the command again when it is complete")
        if not space.finished:
            raise DataError(f"{source.name} holds nothing to {job.name}")
        rows, parts = sum(part.rows for part in space.finished), len(space.finished)
        bad = sum(len(part.bad) for part in space.finished)
        labelled = sum(part.labelled for part in space.finished) if job.carries_labels else None
        about = {"schema_version": SCHEMA_VERSION, "job": job.name, "format": job.format, **job.about}
        about |= {"rows": rows, "quarantined": bad}
        picture = space.picture if job.draws else None
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
        target.picture() if job.draws else None,
        target.quarantine() if bad else None,
        labelled,
        source.labels_from or None,
        dict(source.passed_over),
        remarks,
    )


@contextlib.contextmanager
def _many_rows() -> Iterator[None]:
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
        "format": job.format,
        "target": target.identity,
        "source": source.state(),
        "count": source.count,
        "limit": options.limit,
        "on_error": options.on_error,
        **job.about,
        **job.inputs,
    }


def _write_parts(job: Job[T], source: Source[T], target: Target, options: Options, space: Workspace) -> tuple[str, ...]:
    """Returns what is odd about the rows."""
    total = _total(source, options)
    end = options.limit if total is None else total
    done = sum(part.source_rows for part in space.finished)
    written: Future[None] | None = None
    remarks: list[str] = []
    with Progress(job.name, total, done, options.quiet, job.unit) as progress, ThreadPoolExecutor(1) as writer:
        blocks = _blocks(job, source, options, len(space.finished) * job.rows_per_part, end, progress.advance)
        with contextlib.closing(blocks):
            for number in itertools.count(len(space.finished)):
                made = run_part(blocks, job.rows_per_part)
                if not made.source_rows:
                    break
                if made.remark and not remarks:  # once
                    log.warning("WARNING: %s", made.remark)
                    remarks.append(made.remark)
                if written is not None:
                    written.result()
                written = writer.submit(_finish, job, target, space, number, made)
                del made  # its memory is needed for the next
        if written is not None:
            written.result()
    if source.passed_over:
        log.warning("WARNING: passed over %s", describe(source.passed_over))
    return tuple(remarks)


def _blocks(
    job: Job[T],
    source: Source[T],
    options: Options,
    start: int,
    end: int | None,
    advance: Callable[[int], None],
) -> Generator[Block, None, None]:
    """What is made of the rows from `start` to `end`, or to the end of the source, in order.

    Parts are cut from this one stream, so that no thread waits at their borders.
    """

    def work(reading: Future[Callable[[], T]]) -> Block:
        return compute(job, reading.result()(), options.on_error)

    with ThreadPoolExecutor(1) as reader:
        cut = stretches(start, sys.maxsize if end is None else end, job.rows_per_stretch)
        ahead = (reader.submit(source.read, *rows) for rows in cut)
        try:
            for block in map_ordered(work, ahead, job.workers):
                rows = block.stop - block.start
                advance(rows)
                yield block
                if rows < job.rows_per_stretch:
                    return
        finally:
            reader.shutdown(cancel_futures=True)


def _finish(job: Job[T], target: Target, space: Workspace, number: int, made: Made) -> None:
    """Write a part under another name, then commit it."""
    if made.sheet is not None:
        save_png(made.sheet, space.picture, job.enlarged)
    space.commit(write(job, number, made, space.folder), target.keep)
