"""Work on all cores: how many there are, and a map over them that keeps the order."""

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores(system: Path = Path("/")) -> int:
    """How many processors this process may keep busy: the CPU affinity, or a smaller quota of its control group.

    Args:
        system: the root of the file system in which the kernel shows control groups.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(system))))


def _quota(system: Path) -> float:
    """Processors by the kernel's bandwidth limit, of version 2 or 1, of this group or one above; infinite without."""
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = system / "sys/fs/cgroup"
        if controllers:
            top /= controllers if (top / controllers).is_dir() else "cpu"
        group = top / path.lstrip("/")
        # A container often sees its own group mounted as the top, under another path than the one it is told.
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            quota = min(quota, _limit(folder))
    return quota


def _limit(group: Path) -> float:
    """Of one group, infinite if it has none: `max` and -1 say so."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((group / file).read_text() for file in files).split()
            if int(quota) > 0:
                return int(quota) / int(period)
    return math.inf


def map_ordered(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of `function` in the order of `items`, `workers` at a time, few of them waiting.

    ONNX Runtime is given one thread per call, so that as many calls as cores run side by side; that is faster
    than one call with as many threads.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
