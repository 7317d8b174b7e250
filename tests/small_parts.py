"""A job of many small parts, for tests that have no time for large ones."""

import contextlib
import importlib
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.jobs.encode import EncodeJob
from pipeline.jobs.parts import Array, Columns
from pipeline.jobs.score import ScoreJob
from pipeline.sources.rows import Rows

ROWS = 256  # of a part


@dataclass(frozen=True)
class SmallParts(EncodeJob):
    """`encode`, 256 rows a part, each stretch of which takes a moment."""

    seconds: float = 0.0
    apart: bool = False
    """Whether each node of a cluster computes other last digits."""
    gate: Path | None = None
    """If given, the second half of the parts waits for this file."""
    full: Path | None = None
    """If given, the disk of one node is full: of the first that puts its name into this file."""

    @property
    def rows_per_stretch(self) -> int:
        return 64

    @property
    def rows_per_part(self) -> int:
        return ROWS

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        time.sleep(self.seconds)
        while self.gate is not None and rows.start > 20 * ROWS and not self.gate.exists():
            time.sleep(0.05)
        if self.full is not None:
            with contextlib.suppress(FileExistsError), self.full.open("x") as file:
                file.write(node())
            if rows.start and node() == self.full.read_text():
                raise OutputError("cannot write /tmp: No space left on device; free some space")
        return super().work(rows)

    def arithmetic(self) -> str:
        if not self.apart:
            return super().arithmetic()
        return node()


@dataclass(frozen=True)
class SmallScores(ScoreJob):
    """`score`, 256 rows a part."""

    @property
    def rows_per_stretch(self) -> int:
        return 64

    @property
    def rows_per_part(self) -> int:
        return ROWS


def node() -> str:
    """The node of the cluster that this process runs on."""
    return str(importlib.import_module("ray").get_runtime_context().get_node_id())
