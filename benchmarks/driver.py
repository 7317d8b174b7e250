"""The driver's work for a part, by the number of actors: more than one machine holds, so that a stand-in answers.

    python -m benchmarks.driver another/exports

What the queue takes is measured with a stand-in for Ray, whose actors answer at once; what `ray.wait` takes to look
through all that is under way, with Ray itself and tasks that never start.
"""

import itertools
import json
import logging
import os
import sys
import tempfile
import time
import tracemalloc
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.small_job import SmallJob, sparse_pile
from pipeline.inference import Encoder
from pipeline.jobs.job import Cluster, Options
from pipeline.jobs.ledger import Ledger, Part
from pipeline.jobs.on_ray import Crew
from pipeline.jobs.ray_worker import Introduction, Outcome
from pipeline.jobs.store import LocalStore
from pipeline.jobs.workspace import Shelf, Workspace
from pipeline.sources.images import open_images
from pipeline.sources.places import Names

CORES = 16  # of a node of the stand-in
AT_ONCE = 2  # parts of an actor


class _Answers:
    """Takes the place of `ray`."""

    def __init__(self, actors: int) -> None:
        import ray  # noqa: PLC0415

        self.exceptions = ray.exceptions
        self._nodes = [
            {"NodeID": f"{node:056x}", "Alive": True, "NodeManagerAddress": "node", "Resources": {"CPU": CORES}}
            for node in range(-(-actors // CORES))
        ]
        self._ready: deque[Any] = deque()
        self._numbers = itertools.count()

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes

    def put(self, _: object) -> None:
        return None

    def kill(self, *_: object, **__: object) -> None:
        return None

    def remote(self, **_: object) -> Any:
        return lambda _class: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._actor))

    def _actor(self, _sent: object) -> Any:
        introduce = SimpleNamespace(remote=lambda: self._answer(Introduction("")))
        account = SimpleNamespace(remote=lambda _: self._answer((0.0, 0.0)))
        return SimpleNamespace(introduce=introduce, account=account, make=SimpleNamespace(remote=self._make))

    def _make(self, number: int, _source: object, start: int, stop: int) -> Any:
        return self._answer(Outcome(number, Part("part", 1, 1, "", "", stop - start), None))

    def _answer(self, value: object) -> Any:
        reference = next(self._numbers), value
        self._ready.append(reference)
        return reference

    def wait(self, tasks: list[Any], num_returns: int = 1, **_: object) -> tuple[list[Any], list[Any]]:
        return [self._ready.popleft() for _ in range(min(num_returns, len(self._ready), len(tasks)))], []

    def get(self, reference: Any, **_: object) -> Any:
        return reference[1]


def queue(encoder: Path, actors: int, parts: int) -> float:
    """Seconds of the driver for a part, once all actors work, without what Ray takes."""
    ends = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        rows, store = parts + AT_ONCE * actors, LocalStore(Path(folder))
        with open_images(sparse_pile(Path(folder) / "pile.npy", rows)) as source:
            crew, job = Crew(_Answers(actors), Cluster()), SmallJob("parquet", Encoder(encoder, workers=1))
            space, options = Workspace(Shelf(store, store)), Options(quiet=True)
            crew.make_parts(
                job, source, rows, space, options, lambda _: ends.append(time.process_time()), lambda _: None
            )
    return (ends[parts - 1] - ends[0]) / (parts - 1)  # the last ones find fewer and fewer to do


def waits(pending: list[int], repetitions: int = 30) -> tuple[dict[int, float], float]:
    """Seconds that `ray.wait` takes to find the one that is ready among so many; and to ask for an actor."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init("local", num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, **quiet)
    try:
        never = ray.remote(resources={"none": 1})(lambda: None)
        ready, tasks, found = ray.put(0), list[Any](), {}
        for count in sorted(pending):
            tasks += [never.remote() for _ in range(count - len(tasks))]
            start = time.process_time()
            for _ in range(repetitions):
                ray.wait([*tasks, ready])
            found[count] = (time.process_time() - start) / repetitions
        named = ray.remote(resources={"none": 1})(Crew)
        start = time.perf_counter()
        actors = [named.options(name=f"waiting-{number}").remote(None, None) for number in range(repetitions)]
        return found, (time.perf_counter() - start) / len(actors)
    finally:
        ray.shutdown()


def ledger(parts: int) -> str:
    """What the driver keeps of parts, and how long it takes to enter and to list them."""
    part = Part("part-0000000.parquet", 65_536, 1_709_000, "0" * 32, "0" * 32, 65_536, (), 0, "0" * 16, "0" * 32)
    tracemalloc.start()
    kept, begin = Ledger(), tracemalloc.get_traced_memory()[0]
    for number in range(parts):
        kept.add(number, part)
    memory = (tracemalloc.get_traced_memory()[0] - begin) / parts
    tracemalloc.stop()
    start = time.perf_counter()
    size = sum(len(json.dumps(one.listed())) + 1 for one in kept) / parts
    each = (time.perf_counter() - start) / parts
    about = f"record {len(part.record())} bytes, line of the list {size:.0f} bytes"
    return f"{parts:,} parts: {memory:.0f} bytes of memory each, {about}, {each * 1e6:.0f} us to list one"


def names(count: int) -> str:
    """What the driver keeps of pictures that are files."""
    tracemalloc.start()
    held = Names()
    for number in range(count):
        held.append(f"train/{number % 10}/{number:010d}.png")
    memory = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    return f"{count:,} names of {len(held[0])} characters: {memory:.1f} bytes of memory each"


def main() -> None:
    """Print the work by the number of actors, each of which has two parts."""
    encoder = Path(sys.argv[1] if len(sys.argv) > 1 else "exports") / "encoder"
    actors = [16, 160, 1_600, 3_200]
    waiting, asking = waits([AT_ONCE * count for count in actors])
    for count in actors:
        each = queue(encoder, count, 500)
        wait = waiting[AT_ONCE * count]
        print(f"{count:9,} actors: {each * 1e3:8.3f} ms of the queue, {wait * 1e3:8.3f} ms of ray.wait", flush=True)
    print(f"{asking * 1e3:.2f} ms to ask for an actor")
    print(ledger(200_000))
    print(names(200_000))


if __name__ == "__main__":
    main()
