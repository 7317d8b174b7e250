"""What runs in the processes of a Ray cluster."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import ClusterError, DataError
from pipeline.jobs.compute import blocks, many_rows, run_part, stretches
from pipeline.jobs.job import Job, Source
from pipeline.jobs.ledger import Part
from pipeline.jobs.machine import matrix_rate
from pipeline.jobs.workspace import Shelf, is_begun

_PASSED_ON = "AWS_", "GOOGLE_", "AZURE_", "FSSPEC_"

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Home:
    """Where a command runs, to be like it elsewhere: its folder, and how it reaches stores."""

    folder: str
    environment: dict[str, str]

    @classmethod
    def here(cls) -> "Home":
        """That of this process."""
        return cls(str(Path.cwd()), {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)})

    def enter(self) -> None:
        """Names of files then mean the same, where machines share them."""
        os.environ.update(self.environment)
        with contextlib.suppress(OSError):
            os.chdir(self.folder)


@dataclass(frozen=True)
class Introduction:
    """What an actor says first."""

    arithmetic: str


@dataclass(frozen=True)
class Outcome:
    """A part that an actor has finished."""

    number: int
    part: Part
    remark: str | None


def call(home: Home, function: Callable[[X], Y], item: X) -> Y:
    """One call, in another process as in this one."""
    home.enter()
    return function(item)


class Worker:
    """Makes parts on one core: one is computed while the one before it is written."""

    def __init__(self, sent: tuple[Job[Any], Shelf, str, Home]) -> None:
        self._job, self._shelf, self._on_error, home = sent
        home.enter()
        self._turn = threading.Lock()
        self._arithmetic = self._job.arithmetic()
        self._habits = contextlib.ExitStack()
        self._habits.enter_context(many_rows())
        self._began = time.process_time()

    def introduce(self) -> Introduction:
        """Who it is.

        Raises:
            ClusterError: it does not see where the parts go.
        """
        if not is_begun(self._shelf.work):
            raise ClusterError(
                f"{self._shelf.work} is not to be seen there; name an output on a disk that all machines share, or s3://"
            )
        return Introduction(self._arithmetic)

    def make(self, number: int, source: Source[Any], start: int, stop: int) -> Outcome:
        """The part of the rows from `start` up to `stop`, put in its place.

        Raises:
            PipelineError: see `engine.run`.
        """
        job = self._job
        with self._turn:
            stretched = stretches(start, stop, job.rows_per_stretch)
            made = run_part(blocks(job, source, stretched, self._on_error, 1), job.rows_per_part)
        if made.source_rows != stop - start:
            raise DataError(f"{source.name} ended in row {start + made.source_rows:,}; run the command again")
        return Outcome(number, self._shelf.put(job, number, made, self._arithmetic), made.remark)

    def account(self, seconds: float) -> tuple[float, float]:
        """Processor seconds that the parts took, and the matrix rate, measured for so many seconds; 0 without."""
        return time.process_time() - self._began, matrix_rate(1, seconds) if seconds else 0.0
