"""How far a job is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)

_SECONDS = 30.0  # between lines


class Progress:
    """Counts rows; `total` is None where only the end tells."""

    def __init__(self, name: str, total: int | None, done: int, quiet: bool, unit: str = "images") -> None:
        self._name, self._total, self._done, self._unit = name, total, done, unit
        self._first, self._start = done, time.perf_counter()
        self._next = self._start + _SECONDS
        self._bar: Any = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm  # noqa: PLC0415  (only where it shows)

            self._bar = tqdm(desc=name, total=total, initial=done, unit=f" {unit}", unit_scale=True)

    def advance(self, rows: int) -> None:
        """Count `rows` more."""
        self._done += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif time.perf_counter() > self._next:
            self._next += _SECONDS
            rate = (self._done - self._first) / (time.perf_counter() - self._start)
            left = (
                "" if self._total is None else f" of {self._total:,}, {(self._total - self._done) / rate:,.0f} s left"
            )
            log.info(
                "%s: %s %s%s, %s %s/s", self._name, f"{self._done:,}", self._unit, left, f"{rate:,.0f}", self._unit
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
