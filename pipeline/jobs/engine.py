"""The engine of every batch job: what is done already, making the other parts, publishing them all.

A part covers 65,536 rows of the source, fewer where each takes more memory, and depends on these alone, so that it is
the same wherever it is made: on this machine (`local.py`) or on a cluster (`on_ray.py`), and a job can resume from any
of them.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from pipeline.errors import DataError
from pipeline.inference.progress import Progress
from pipeline.jobs import local
from pipeline.jobs.compute import many_rows
from pipeline.jobs.job import Job, Node, Options, Plan, Source, Stretch, Summary
from pipeline.jobs.machine import matrix_rate, peak_memory
from pipeline.jobs.parts import DIGITS
from pipeline.jobs.target import Target
from pipeline.jobs.workspace import Shelf, Workspace, count_finished, is_of, open_workspace
from pipeline.sources.rows import Each, describe

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_SHORT = 5.0  # seconds; the yardstick of a shorter job would cost too much of it

T = TypeVar("T", bound=Stretch)


def plan(job: Job[T], source: Source[T], target: Target, options: Options) -> Plan:
    """What `run` would do; writes nothing.

    Raises:
        OutputError: the target holds something else.
    """
    resuming = is_of(target.shelf.work, _fingerprint(job, source, source.count, options))
    target.refuse_others(job.name, picture=job.draws, resuming=resuming)
    total = _total(source, options)
    parts = None if total is None else -(-total // job.rows_per_part)
    finished = count_finished(target.shelf.work) if resuming else 0
    return Plan(str(target), source.name, total, options.limit, parts, finished)


def run(job: Job[T], source: Source[T], target: Target, options: Options) -> Summary:
    """Do the job, from where earlier runs of the same job ended.

    Raises:
        DataError: the source changes or fails while it is read.
        FormatError: a bad row, unless such rows are to be set aside.
        OutputError: the target holds something else or cannot be written; another process writes there.
        ClusterError: no cluster, or what it lacks.
    """
    start = time.perf_counter()
    count = source.count  # before it is measured: a job may be begun by one engine and ended by another
    fingerprint = _fingerprint(job, source, count, options)
    resuming = is_of(target.shelf.work, fingerprint)
    target.refuse_others(job.name, picture=job.draws, resuming=resuming)
    with contextlib.ExitStack() as stack:
        make_parts: Callable[..., tuple[Node, ...]] = local.make_parts
        each: Each | None = None
        if options.cluster is not None:
            from pipeline.jobs.on_ray import connected  # noqa: PLC0415  (where Ray is wanted, and then alone)

            cluster = stack.enter_context(connected(options.cluster))
            make_parts, each = cluster.make_parts, cluster.each
            source = source.measured(each)
        stack.enter_context(many_rows())
        shelf = _shelf(job, source, target, options)
        space = stack.enter_context(open_workspace(shelf, fingerprint))
        resumed, before = len(space.finished), space.finished.rows
        if resumed:
            log.info("resuming after %s finished part(s), %s rows", resumed, f"{space.finished.source_rows:,}")
        if each is not None and options.limit is None:  # of a file of which few rows are wanted, all would be unpacked
            source = source.unpacked(shelf.work, each)
        remarks, nodes = _make_parts(make_parts, job, source, options, space)
        if _fingerprint(job, source, count, options) != fingerprint:
            space.forget()  # parts of two states of the source
            raise DataError(f"{source.name} changed while it was read; run the command again when it is complete")
        if not len(space.finished):
            raise DataError(f"{source.name} holds nothing to {job.name}")
        done = space.finished
        about = {"schema_version": SCHEMA_VERSION, "job": job.name, "format": job.format, **job.about}
        about |= {"rows": done.rows, "quarantined": done.bad}
        if len(done.arithmetics) > 1:
            about |= {"mixed_arithmetic": len(done.arithmetics)}
        rows, parts, bad = done.rows, len(done), done.bad
        shelf.draw_kept(job)
        target.publish(space, about, job.npy_column, picture=job.draws)
    seconds = time.perf_counter() - start
    rate = (rows - before) / seconds
    share = None
    if job.operations and seconds > _SHORT and not options.quiet and not nodes:
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
        done.labelled if job.carries_labels else None,
        source.labels_from or None,
        dict(source.passed_over),
        remarks,
        nodes,
    )


def _make_parts(
    make_parts: Callable[..., tuple[Node, ...]], job: Job[T], source: Source[T], options: Options, space: Workspace
) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """What is odd about the rows, and which machines of a cluster have made them."""
    total = _total(source, options)
    remarks: list[str] = []

    def note(remark: str | None) -> None:
        if remark and not remarks:  # once
            log.warning("WARNING: %s", remark)
            remarks.append(remark)

    end = options.limit if total is None else total
    done = space.finished.source_rows
    with Progress(job.name, total, done, options.quiet, job.unit) as progress:
        nodes = make_parts(job, source, end, space, options, progress.advance, note)
    if source.passed_over:
        log.warning("WARNING: passed over %s", describe(source.passed_over))
    return tuple(remarks), nodes


def _shelf(job: Job[T], source: Source[T], target: Target, options: Options) -> Shelf:
    """That of the target, with names long enough for all parts."""
    total = _total(source, options)
    last = 0 if total is None else (total - 1) // job.rows_per_part
    return replace(target.shelf, digits=max(DIGITS, len(str(last))))


def _total(source: Source[T], options: Options) -> int | None:
    """Rows to do; None if only reading tells."""
    if source.count is None or options.limit is None:
        return source.count
    return min(source.count, options.limit)


def _fingerprint(job: Job[T], source: Source[T], count: int | None, options: Options) -> dict[str, Any]:
    """Whatever decides on the bytes of a part."""
    return {
        "schema_version": SCHEMA_VERSION,
        "job": job.name,
        "format": job.format,
        "source": source.state(),
        "count": count,
        "limit": options.limit,
        "on_error": options.on_error,
        **job.about,
        **job.inputs,
    }
