"""The parts that wait for a worker: in order, and again where one was lost or stumbled."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator

from pipeline.errors import FormatError, PipelineError

TRIES = 3  # of a part


class PartQueue:
    """Which part is next. Once one has failed for good, only those before it matter: the lowest bad row is told."""

    def __init__(self, numbers: Iterator[int]) -> None:
        """`numbers` grow; they are taken one by one, since there may be millions."""
        self._numbers = numbers
        self._waiting: list[int] = []  # a heap
        self._tries: Counter[int] = Counter()
        self._failure: tuple[int, PipelineError] | None = None

    def __bool__(self) -> bool:
        """Whether a part waits."""
        if not self._waiting:
            self._waiting.extend(itertools.islice(self._numbers, 1))
        return bool(self._waiting) and self.matters(self._waiting[0])

    def matters(self, number: int) -> bool:
        """Whether a part is still needed."""
        return self._failure is None or number < self._failure[0]

    def take(self) -> int:
        """The lowest part that waits."""
        return heapq.heappop(self._waiting)

    def put_back(self, number: int) -> int:
        """Let a part be made again, whose worker was lost; returns how often that has happened to it."""
        self._tries[number] += 1
        heapq.heappush(self._waiting, number)
        return self._tries[number]

    def fail(self, number: int, error: PipelineError) -> bool:
        """Note what a worker stumbled over, and whether it is for good.

        A bad row is the source's; all else may go well elsewhere, or later.
        """
        self._tries[number] += 1
        if not isinstance(error, FormatError) and self._tries[number] < TRIES:
            heapq.heappush(self._waiting, number)
            return False
        if self.matters(number):
            self._failure = number, error
        return True

    def raise_failure(self) -> None:
        """Raise what the lowest part failed over, if one did."""
        if self._failure is not None:
            raise self._failure[1]
