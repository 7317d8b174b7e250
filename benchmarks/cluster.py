"""What docs/scale.md states of Ray and of S3 beside the local engine: rates, memory, and the work for each part.

    make bench-cluster
    python -m benchmarks.cluster --images 500000 --rounds 1 --parts 100,1000 another/exports

Rates are compared in turns, in this one run: each round runs all contenders, every other round backwards, and a ratio
is the median over the rounds. A command is a process from start to exit; its cluster is started before and not counted.
All on this machine: the nodes are processes, and the object store is SeaweedFS, which works on the same cores.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.processes import Peaks, descendants, processor_seconds
from benchmarks.small_job import Took, small_job, sparse_pile
from pipeline.inference.parallel import cores
from pipeline.jobs.ledger import Part
from pipeline.jobs.parts import ROWS_PER_PART
from pipeline.jobs.store import open_store
from pipeline.sources.images import open_images
from pipeline.sources.rows import MAX_ROWS
from tests.clusters import cluster
from tests.proxies import between
from tests.sources import piles
from tests.stores import BUCKET, serving

VAE = [sys.executable, "-c", "from pipeline.cli import main; main()"]
KINDS = ("pile.npy", "pile.npz", "compressed.npz", "binary.parquet", "encoded.parquet")
KINDS += ("folder_of_png", "pile.tar", "pile.tar.gz", "pile.idx.gz")
FILES = 256  # images of a part, where each is a file
SETTLING = 3.0  # seconds until the daemons of a new cluster are idle
Environment = Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """One command."""

    whole: float
    """Images a second, from its start to its exit."""
    steady: float
    """The same, from the first part of each core to the last one; NaN where no disk tells when they were written."""


def encode(images: Path | str, output: str, encoder: Path, workers: int, environment: Environment, *how: str) -> Run:
    """Encode a pile, and how fast that was."""
    command = [*VAE, "encode", str(images), "-o", output, "--encoder", str(encoder), "--json", "--quiet", *how]
    start = time.perf_counter()
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"vae encode failed: {done.stderr.strip()[-2000:]}")
    rows = json.loads(done.stdout)["rows"]
    ends = sorted(part.stat().st_mtime for part in Path(output).glob("part-*"))
    steady = float("nan")
    if len(ends) > workers:
        steady = (rows - workers * ROWS_PER_PART) / (ends[-1] - ends[workers - 1])
    return Run(rows / seconds, steady)


@contextmanager
def on_cluster(nodes: int, of: int) -> Iterator[Environment]:
    """The environment of a command on a new cluster of so many nodes, of so many cores each."""
    with cluster(nodes, of) as started:
        time.sleep(SETTLING)
        yield {**os.environ, "RAY_ADDRESS": started.address}


def race(contenders: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run all of them in turns, and print each repetition."""
    found: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            run = contenders[name]()
            found[name].append(run)
            load = os.getloadavg()[0]
            print(f"  {name:36}{run.whole:>12,.0f}{run.steady:>12,.0f} images/s   load {load:.1f}", flush=True)
    return found


def beside(found: Mapping[str, list[Run]], one: str, other: str) -> None:
    """Print the rates of one as shares of those of the other."""
    for what in ("whole", "steady"):
        shares = [getattr(a, what) / getattr(b, what) for a, b in zip(found[one], found[other], strict=True)]
        if not any(map(math.isnan, shares)):
            spread = f"{min(shares):.1%} to {max(shares):.1%}, {len(shares)} round(s)"
            print(f"{one}: {statistics.median(shares):.1%} of {other}, {what} ({spread})")


def rates(folder: Path, encoder: Path, images: int, rounds: int, most: int) -> None:
    """Ray beside the local engine, two nodes beside one, S3 beside a disk; on the same cores."""
    pile, outputs = sparse_pile(folder / "pile.npy", images), iter(range(10_000))
    two = [] if most < 2 else [most // 2]

    def new() -> str:
        return str(folder / f"out{next(outputs)}")

    def local() -> Run:
        return encode(pile, new(), encoder, most, os.environ, "--workers", str(most))

    def on_ray(nodes: int, of: int) -> Run:
        with on_cluster(nodes, of) as environment:
            return encode(pile, new(), encoder, nodes * of, environment, "--engine", "ray")

    one = f"Ray, one node of {most} core(s)"
    contenders: dict[str, Callable[[], Run]] = {f"local, {most} core(s)": local, one: lambda: on_ray(1, most)}
    contenders |= {f"Ray, two nodes of {each} core(s)": lambda each=each: on_ray(2, each) for each in two}  # type: ignore[misc]
    print(f"\nencode, {images:,} images of zeros as .npy: the whole command, and from part to part")
    found = race(contenders, rounds)
    beside(found, one, f"local, {most} core(s)")
    for each in two:
        beside(found, f"Ray, two nodes of {each} core(s)", one)

    with serving() as store:
        environment = {**os.environ, **store.environment}
        os.environ.update(store.environment)
        open_store(f"s3://{BUCKET}").replace("pile.npy", sparse_pile(folder / "copy.npy", images))
        server = next(one for one in descendants(os.getpid()) if b"weed" in Path(f"/proc/{one}/cmdline").read_bytes())
        served = list[float]()

        def on_s3() -> Run:
            before, address = processor_seconds(server), f"s3://{BUCKET}/out{next(outputs)}"
            run = encode(f"s3://{BUCKET}/pile.npy", address, encoder, most, environment, "--workers", str(most))
            served.append(processor_seconds(server) - before)
            return run

        print("\nencode from and to S3, by the local engine")
        found = race({f"local, {most} core(s)": local, "from and to S3": on_s3}, rounds)
        beside(found, "from and to S3", f"local, {most} core(s)")
        whole = statistics.median(1e6 * most / run.whole for run in found[f"local, {most} core(s)"])
        print(
            f"the server: {statistics.median(served) / images * 1e6:.2f} core-seconds a million images, beside ", end=""
        )
        print(f"{whole:.2f} of the local command")


def memory(folder: Path, encoder: Path, parts: list[int], on_ray: int) -> list[Took]:
    """The driver's peak by the number of parts, of one row each; and what else runs on a node."""
    pile, took = sparse_pile(folder / "rows.npy", max(parts)), list[Took]()
    print(f"\nthe driver, parts of one row: peak memory; on Ray up to {on_ray:,} parts")
    with on_cluster(1, 2) as environment, Peaks() as peaks:
        for count in parts:
            for ray in (False, True) if count <= on_ray else (False,):
                output = folder / f"rows-{count}-{ray}"
                one = small_job(pile, output, encoder, environment, limit=count, ray=ray)
                took += [one] if ray else []
                of = f"  {count:9,} parts, {'Ray' if ray else 'local':6}"
                print(f"{of}{one.memory / 1e6:8.0f} MB {one.seconds:8.1f} s {one.processor:8.1f} s of CPU", flush=True)
        found = peaks.bytes()
    for kind, values in sorted(found.items()):
        if kind != "other":
            print(f"  {kind:12} peak {max(values) / 1e6:6.0f} MB, {len(values)} process(es)")
    return took


def per_part(encoder: Path, took: list[Took], parts: list[int]) -> None:
    """The driver's processor time for each part, and what is kept of one."""
    if len(took) > 1:
        each = (took[-1].processor - took[0].processor) / (parts[len(took) - 1] - parts[0])
        print(f"\nthe driver on Ray, two actors: {each * 1e3:.2f} ms of CPU a part")
    with tempfile.TemporaryDirectory() as folder:
        small_job(sparse_pile(Path(folder) / "few.npy", 10), Path(folder) / "out", encoder, os.environ, rows=10)
        (listed,) = json.loads((Path(folder) / "out/_manifest.json").read_bytes())["files"]
    listed |= {"bytes": 1_709_000, "rows": ROWS_PER_PART, "source_rows": ROWS_PER_PART}
    part = Part(**listed, labelled=ROWS_PER_PART, arithmetic="f" * 16, stored="f" * 32)
    print(f"a record: {len(part.record())} bytes; a line of _files.jsonl: {len(json.dumps(part.listed())) + 1} bytes")


def network(folder: Path, encoder: Path, digits: Path) -> None:
    """Requests and bytes between a cluster and the store, counted by a proxy, for each kind of source."""
    few, many = 2, 6  # parts: what does not grow with them is left out
    every = np.tile(np.load(digits)[:MAX_ROWS], (many, 1, 1))
    print(
        f"\nfrom and to S3 by Ray, digits in parts of {MAX_ROWS:,} ({FILES} of files): bytes an image, requests a part"
    )
    print(f"  {'':16}{'size':>8}{'index':>8}{'read':>8}{'written':>9}{'GET':>8}{'HEAD':>6}{'PUT':>6}{'other':>6}")
    with serving() as store, between(store.endpoint) as (endpoint, weather), on_cluster(1, 1) as environment:
        os.environ.update(store.environment)
        through = {**environment, **store.environment, "AWS_ENDPOINT_URL": endpoint}
        for kind in KINDS:
            rows = FILES if kind.startswith("folder") else MAX_ROWS
            images = every[: many * rows]
            pile = write(folder / kind, images)
            size = sum(file.stat().st_size for file in (pile, *pile.rglob("*")) if file.is_file())
            open_store(f"s3://{BUCKET}").replace(kind, pile)
            counts = []
            for parts in (few, many):
                weather.asked, weather.received, weather.sent = [], 0, 0
                address, limit = f"s3://{BUCKET}/{kind}-{parts}", parts * rows
                small_job(f"s3://{BUCKET}/{kind}", address, encoder, through, rows, limit=limit, ray=True)
                methods = [method for method, *_ in weather.asked]
                found = [methods.count(method) for method in ("GET", "HEAD", "PUT")]
                counts.append([weather.received, weather.sent, *found, len(methods) - sum(found)])
            each = [(after - before) / (many - few) for before, after in zip(*counts, strict=True)]
            read, written = each[0] / rows, each[1] / rows
            # Which reads all of them, however few parts are made: the rest of what the smaller job read.
            first = max(0.0, counts[0][0] - few * each[0]) / len(images)
            line = f"  {kind:16}{size / len(images):8.0f}{first:8.0f}{read:8.0f}{written:9.0f}"
            print(line + f"{each[2]:8.1f}" + "".join(f"{one:6.1f}" for one in each[3:]), flush=True)


def write(path: Path, images: NDArray[np.uint8]) -> Path:
    """A pile of the kind that its name says; Parquet in groups of as many rows as parts have."""
    if path.suffix != ".parquet":
        return piles.write(path, images)
    pq.write_table(pa.table({"image": piles.column(path.stem, images)}), path, row_group_size=MAX_ROWS)
    return path


def index(folder: Path, digits: Path, rounds: int) -> None:
    """How fast a tar file is gone through before its parts are known."""
    tar = piles.write(folder / "index.tar", np.load(digits)[:10_000], [0] * 10_000)
    found = []
    for _ in range(max(rounds, 3)):
        with open_images(tar) as source:
            start = time.perf_counter()
            rows = source.measured().count or 0
            found.append(time.perf_counter() - start)
    seconds, size = statistics.median(found), tar.stat().st_size
    print(f"\nindex of a tar file: {rows / seconds:,.0f} rows/s, {size / seconds / 1e6:,.0f} MB/s on a core", end="")
    print(f" ({size / rows:,.0f} bytes a row)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, nargs="?", default=Path("exports"))
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=cores())
    parser.add_argument("--parts", default="1000,10000,100000", help="Numbers of parts, ascending.")
    parser.add_argument("--parts-on-ray", type=int, default=10_000, help="The most of these that Ray makes too.")
    parser.add_argument("--digits", type=Path, default=Path("data/prepared/test_images.npy"))
    parser.add_argument("--only", choices=["rates", "parts", "network"])
    given = parser.parse_args()
    encoder = given.exports / "encoder"
    parts = [int(count) for count in given.parts.split(",")]
    print(f"{given.cores} core(s), load {os.getloadavg()[0]:.1f}: above 1, take no rate for more than an impression")
    with tempfile.TemporaryDirectory() as folder:
        if given.only in (None, "rates"):
            rates(Path(folder), encoder, given.images, given.rounds, given.cores)
        if given.only in (None, "network"):
            network(Path(folder), encoder, given.digits)
            index(Path(folder), given.digits, given.rounds)
    if given.only in (None, "parts"):
        memory_disk = Path("/dev/shm")  # where a flush costs nothing
        with tempfile.TemporaryDirectory(dir=memory_disk if memory_disk.is_dir() else None) as folder:
            per_part(encoder, memory(Path(folder), encoder, parts, given.parts_on_ray), parts)


if __name__ == "__main__":
    main()
