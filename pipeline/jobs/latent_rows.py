"""What latents are to those who read them: a stream of rows in a fixed order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.rows import BadRow, Divisible

Floats = NDArray[np.float32]

LIMIT = 10_000.0
"""The largest latent that is decoded: float16 ends at 65,504, and models of that precision need room for products.

The prior keeps within 6 in a billion draws, and encoders give at most a few tens.
"""


@dataclass(frozen=True)
class LatentRows:
    """Rows `start` to `stop` of a source: the good ones float32 `[m, latent_dim]`, and what is wrong with others."""

    start: int
    stop: int
    z: Floats
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """Latents as they were found."""

    z: NDArray[np.floating[Any]]
    """`[n, latent_dim]`; anything in rows that hold no latents."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Why rows, counted from the first of these, hold none."""


def join(parts: Sequence[Loaded]) -> Loaded:
    """One stretch from at least one that follow each other."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.z) for part in parts)])
    reasons = {
        int(start) + row: reason
        for start, part in zip(starts, parts, strict=False)
        for row, reason in part.reasons.items()
    }
    return Loaded(np.concatenate([part.z for part in parts]), reasons)


class LatentSource(Divisible, ABC):
    """Latents that are read, or drawn, stretch by stretch, in any order; fastest from front to back."""

    name: str
    count: int
    paths: Sequence[str] = ()
    """The files, or the folder, that they come from, if any."""
    labels_from: str = ""
    passed_over: Mapping[str, int] = MappingProxyType({})
    set_aside: int = 0
    """Rows of the images that are missing here."""

    @abstractmethod
    def state(self) -> str:
        """The words that define them, or a digest of the names, sizes and times of their files."""

    @abstractmethod
    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        """Read what is to be read; called, the result gives `stop - start` rows."""

    def row_name(self, row: int) -> str:
        """What to call a row in a message."""
        return f"{self.name} row {row:,}"

    def read(self, start: int, stop: int) -> Callable[[], LatentRows]:
        """Rows of latents; those with a value that is not finite or beyond `LIMIT` are bad."""
        rows = self.load(start, stop)

        def check() -> LatentRows:
            found = rows()
            good = (np.abs(found.z) <= LIMIT).all(axis=1)  # NaN is not
            good[list(found.reasons)] = False
            if good.all():
                return LatentRows(start, stop, np.ascontiguousarray(found.z, np.float32))
            wrong = np.flatnonzero(~good).tolist()
            reasons = {row: found.reasons.get(row) or _misfit(found.z[row]) for row in wrong}
            bad = (BadRow(start + row, self.row_name(start + row), reason) for row, reason in reasons.items())
            return LatentRows(start, stop, np.ascontiguousarray(found.z[good], np.float32), tuple(bad))

        return check


def _misfit(row: NDArray[np.floating[Any]]) -> str:
    if not np.isfinite(row).all():
        return "a latent is not finite, expected numbers"
    return f"a latent is {row[np.argmax(np.abs(row))]:.3g}, expected -{LIMIT:,.0f} to {LIMIT:,.0f}"
