"""The parts of a job, made on this machine: read, compute, write, in order, with few rows in memory.

One thread reads ahead, one per core decodes what was read and runs the model, one writes finished parts; the main
thread puts the pieces in order.
"""

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline.jobs.compute import Made, blocks, run_part, stretches
from pipeline.jobs.job import Job, Options, Source
from pipeline.jobs.workspace import Workspace


def make_parts(
    job: Job[Any],
    source: Source[Any],
    end: int | None,
    space: Workspace,
    options: Options,
    advance: Callable[[int], None],
    note: Callable[[str | None], None],
) -> tuple[()]:
    """Make the parts that are not finished, of the rows up to `end` or to that of the source.

    `advance` is told of rows as they are done, `note` what is odd about those of a part.
    """
    arithmetic = job.arithmetic()
    space.refuse_other(arithmetic, options)
    todo = space.todo(end, job.rows_per_part)
    written: Future[None] | None = None

    def finish(number: int, made: Made) -> None:
        space.finished.add(number, space.shelf.put(job, number, made, arithmetic))

    with ThreadPoolExecutor(1) as writer:
        numbers = list[int]()

        def cut() -> Iterable[tuple[int, int]]:
            for number in todo:
                numbers.append(number)
                first = number * job.rows_per_part
                last = first + job.rows_per_part
                yield from stretches(first, last if end is None else min(last, end), job.rows_per_stretch)

        made_of = blocks(job, source, cut(), options.on_error, job.workers, advance)
        with contextlib.closing(made_of):
            while True:
                made = run_part(made_of, job.rows_per_part)
                if not made.source_rows:
                    break
                note(made.remark)
                if written is not None:
                    written.result()
                written = writer.submit(finish, numbers.pop(0), made)
                del made  # its memory is needed for the next
        if written is not None:
            written.result()
    return ()
