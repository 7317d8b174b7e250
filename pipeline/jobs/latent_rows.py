"""What latents are to those who read them: a stream of rows in a fixed order."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.rows import BadRow

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LatentRows:
    """Rows `start` to `stop` of a source: the good ones float32 `[m, latent_dim]`, and what is wrong with others."""

    start: int
    stop: int
    z: Floats
    bad: tuple[BadRow, ...] = ()


class LatentSource(ABC):
    """Latents that are read, or drawn, stretch by stretch, in any order."""

    name: str
    count: int
    path: Path | None = None
    """The file or folder that they come from, if any."""
    set_aside: int = 0
    """Rows of the images that are missing here."""

    @abstractmethod
    def state(self) -> str:
        """The words that define them, or a digest of the names, sizes and times of their files."""

    @abstractmethod
    def load(self, start: int, stop: int) -> Callable[[], Floats]:
        """Read what is to be read; called, the result gives float32 `[stop - start, latent_dim]`."""

    def read(self, start: int, stop: int) -> Callable[[], LatentRows]:
        """Rows of latents; those with a value that is not finite are bad."""
        rows = self.load(start, stop)

        def check() -> LatentRows:
            z = rows()
            good = np.isfinite(z).all(axis=1)
            if good.all():
                return LatentRows(start, stop, z)
            bad = (int(row) + start for row in np.flatnonzero(~good))
            reason = "a latent is not finite, expected numbers"
            return LatentRows(start, stop, z[good], tuple(BadRow(i, f"{self.name} row {i:,}", reason) for i in bad))

        return check
