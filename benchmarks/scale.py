"""Time and cost of `vae encode` on a cluster: a model, its tables for docs/scale.md, and its check on this machine.

    python -m benchmarks.scale
    python -m benchmarks.scale --check another/exports

The check runs clusters of 1, 2 and 4 nodes of one actor on this machine. Each part sleeps, as if a slower core made it,
so that one machine has room for all; and through a proxy before SeaweedFS, where each request takes 30 ms more.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cluster import on_cluster
from benchmarks.small_job import small_job, sparse_pile
from pipeline.jobs.store import open_store
from tests.proxies import between
from tests.stores import BUCKET, serving

AT_ONCE = 2  # parts of an actor: one is computed while the other is written


@dataclass(frozen=True)
class Constants:
    """What the model knows of jobs, machines and stores: measured by `make bench-cluster`, the last three assumed."""

    rate: float = 110_000
    """Images a second that a core encodes."""
    rows: int = 65_536
    """Of a part."""
    read: float = 784
    """Bytes of an image in the source."""
    index: float = 0
    """Bytes of an image that are read before, to find out where the parts begin."""
    written: float = 26
    """Bytes of the result for an image."""
    put: float = 0.03
    """Seconds in which a part is written, once its rows are computed and without the store."""
    reads: float = 1
    """Requests to the store, one after the other, before the rows of a part are there."""
    writes: float = 4
    """The same to put it in its place: the part, what the store says of it (two), the record."""
    driver: float = 1.75e-3
    """Seconds of the driver for a part."""
    driver_actor: float = 0.5e-6
    """The same, for each actor among which it has to look."""
    start: float = 4
    """Seconds until the first part is begun."""
    start_actor: float = 3e-3
    """Seconds of the driver to start an actor."""
    end: float = 0.1e-3
    """Seconds for a part when all is put in place: it is listed, and its record deleted."""
    latency: float = 0.03
    """Seconds of a request."""
    bandwidth: float = 1.25e9
    """Bytes a second of a node's network."""
    requests: float = 3_500
    """That the store answers in a second."""


@dataclass(frozen=True)
class Prices:
    """Assumptions, of no vendor."""

    core_hour: float = 0.04
    thousand_requests: float = 0.005
    gigabyte: float = 0.0
    """Between the store and the nodes; within a region often nothing."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of a job."""

    seconds: float
    bound: str
    """What takes the time."""
    cost: float
    parts: int


def predict(images: float, nodes: int, cores: int, known: Constants, prices: Prices | None = None) -> Prediction:
    """Time and cost of a job: its start, then the slowest of four that go on side by side, then its end."""
    prices = prices or Prices()
    actors, parts = nodes * cores, math.ceil(images / known.rows)
    share = known.bandwidth / cores
    make = known.reads * known.latency + max(known.rows / known.rate, known.rows * known.read / share)
    put = known.writes * known.latency + known.put + known.rows * known.written / share
    each = max(make, (make + put) / AT_ONCE)
    asked = parts * (known.reads + known.writes)
    took = {
        "cores" if known.rows / known.rate >= known.rows * known.read / share else "network": (
            math.ceil(parts / actors) * each + put
        ),
        "driver": parts * (known.driver + known.driver_actor * actors),
        "store": asked / known.requests,
    }
    bound = max(took, key=lambda one: took[one])
    index = images * known.index / (known.bandwidth * nodes)
    hired = actors * (known.start_actor + known.driver_actor * actors)  # each is looked for among all others, too
    seconds = known.start + hired + index + took[bound] + known.end * parts
    bytes_moved = images * (known.read + known.index + known.written)
    cost = seconds / 3600 * actors * prices.core_hour + asked / 1e3 * prices.thousand_requests
    return Prediction(seconds, bound, cost + bytes_moved / 1e9 * prices.gigabyte, parts)


def table(known: Constants, prices: Prices, cores: int) -> str:
    """The predictions for many sizes, as Markdown."""
    lines = [f"| images | parts |{''.join(f' {nodes:,} node(s) |' for nodes in (1, 10, 100, 1000))}", "|---" * 6 + "|"]
    for images in (1e9, 1e10, 1e11, 1e12):
        found = [predict(images, nodes, cores, known, prices) for nodes in (1, 10, 100, 1000)]
        cells = [f" {_duration(one.seconds)}, {one.bound}, {one.cost:,.2f} |" for one in found]
        lines.append(f"| {images:,.0f} | {found[0].parts:,} |{''.join(cells)}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def check(encoder: Path, parts: int, seconds: float, rounds: int) -> None:
    """Predicted beside measured, from a disk and from a store with latency."""
    print(f"{parts} parts of {seconds} s each, median of {rounds} round(s), load {os.getloadavg()[0]:.1f}")
    for remote in (False, True):
        with tempfile.TemporaryDirectory() as folder, serving() if remote else nullcontext() as store:
            pile: str | Path = sparse_pile(Path(folder) / "pile.npy", parts)
            place, environment, delay = folder, dict(os.environ), 0.0
            with between(store.endpoint) if store else nullcontext(("", None)) as (endpoint, weather):
                if store:
                    os.environ.update(store.environment)
                    place = f"s3://{BUCKET}"
                    open_store(place).replace("pile.npy", Path(pile))
                    pile = f"{place}/pile.npy"
                    environment |= {**store.environment, "AWS_ENDPOINT_URL": endpoint}
                    os.environ["AWS_ENDPOINT_URL"] = endpoint
                    weather.latency = Constants.latency  # type: ignore[union-attr]
                    delay = _latency(place)
                _check(pile, place, encoder, environment, parts, seconds, rounds, delay)


def _check(
    pile: str | Path,
    place: str,
    encoder: Path,
    environment: Mapping[str, str],
    parts: int,
    seconds: float,
    rounds: int,
    latency: float,
) -> None:
    """On 1, 2 and 4 nodes; the start is that of a job of one part on one node."""
    known = Constants(rate=1 / seconds, rows=1, read=0, written=0, put=0.01, latency=latency, end=0, start=0)
    known = replace(known, requests=math.inf)

    def measured(nodes: int, count: int) -> float:
        found = []
        for number in range(rounds):
            with on_cluster(nodes, 1) as there:
                output = f"{place}/out-{nodes}-{count}-{number}"
                whole = {**there, **environment, "RAY_ADDRESS": there["RAY_ADDRESS"]}
                found.append(small_job(pile, output, encoder, whole, 1, seconds, count, ray=True).seconds)
        return statistics.median(found)

    first = measured(1, 1)
    known = replace(known, start=first - predict(1, 1, 1, known).seconds)
    of = place.partition(":")[0] if latency else "a disk"
    print(f"{of}: {latency * 1e3:.0f} ms a request, start {known.start:.1f} s", flush=True)
    for nodes in (1, 2, 4):
        predicted, found = predict(parts, nodes, 1, known).seconds, measured(nodes, parts)
        print(f"| {nodes} | {predicted:.1f} s | {found:.1f} s | {found / predicted - 1:+.0%} |", flush=True)


def _latency(place: str) -> float:
    """Seconds of a request for a small object."""
    store = open_store(place)
    store.create("small", b"x")
    found = []
    for _ in range(20):
        start = time.perf_counter()
        store.read("small")
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, nargs="?", default=Path("exports"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--parts", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cores", type=int, default=16, help="Of a node.")
    given = parser.parse_args()
    if given.check:
        check(given.exports / "encoder", given.parts, given.seconds, given.rounds)
    else:
        print(table(Constants(), Prices(), given.cores))


if __name__ == "__main__":
    main()
