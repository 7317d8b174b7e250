"""What reads the latents of one file."""

from abc import ABC, abstractmethod

from pipeline.jobs.latent_rows import Loaded


class Reader(ABC):
    """The latents of an open file, read from front to back."""

    count: int
    """Rows of the file."""

    def end(self, stop: int) -> None:  # noqa: B027
        """Give up the rows from `stop` on."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Loaded:
        """The rows from `start` up to `stop`. Ranges grow and don't overlap; whoever wants to go back opens it again.

        Raises whatever its parser and the driver of its place do; the caller names the file.
        """


class Whole(Reader):
    """Latents that lie in memory."""

    def __init__(self, rows: Loaded) -> None:
        self.count, self._rows = len(rows.z), rows

    def read(self, start: int, stop: int) -> Loaded:
        """See `Reader.read`."""
        reasons = {row - start: self._rows.reasons[row] for row in self._rows.reasons if start <= row < stop}
        return Loaded(self._rows.z[start:stop], reasons)
