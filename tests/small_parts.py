"""A job of many small parts, for tests that have no time for large ones."""

import importlib
import time
from dataclasses import dataclass

from pipeline.jobs.encode import EncodeJob
from pipeline.jobs.parts import Array, Columns
from pipeline.sources.rows import Rows

ROWS = 256  # of a part


@dataclass(frozen=True)
class SmallParts(EncodeJob):
    """`encode`, 256 rows a part, each stretch of which takes a moment."""

    seconds: float = 0.0
    apart: bool = False
    """Whether each node of a cluster computes other last digits."""

    @property
    def rows_per_stretch(self) -> int:
        return 64

    @property
    def rows_per_part(self) -> int:
        return ROWS

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        time.sleep(self.seconds)
        return super().work(rows)

    def arithmetic(self) -> str:
        if not self.apart:
            return super().arithmetic()
        return str(importlib.import_module("ray").get_runtime_context().get_node_id())
