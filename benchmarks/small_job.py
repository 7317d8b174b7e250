"""`encode` with parts of few rows, in a process of its own: for what depends on the number of parts.

python -m benchmarks.small_job pile.npy out --encoder exports/encoder --rows 1 --seconds 0.5
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.inference import Encoder
from pipeline.jobs.encode import EncodeJob
from pipeline.jobs.engine import run
from pipeline.jobs.job import Cluster, Options
from pipeline.jobs.parts import Array, Columns
from pipeline.jobs.target import open_target
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.images import open_images
from pipeline.sources.rows import MAX_ROWS, Rows


@dataclass(frozen=True)
class SmallJob(EncodeJob):
    """`encode`, with parts of so many `rows`."""

    rows: int = 1
    seconds: float = 0.0
    """That each part takes longer, whatever the machine does: so that one machine can stand for several."""

    @property
    def rows_per_stretch(self) -> int:
        """See `Job.rows_per_stretch`."""
        return min(self.rows, MAX_ROWS)

    @property
    def rows_per_part(self) -> int:
        """See `Job.rows_per_part`."""
        return self.rows

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        time.sleep(self.seconds * self.rows_per_stretch / self.rows)
        return super().work(rows)


@dataclass(frozen=True)
class Took:
    """What a small job took."""

    seconds: float
    """From the first look at the target to the end of the job: without the start of the process."""
    processor: float
    """Seconds of the driver; where nothing else computes, of the whole job."""
    memory: int
    """Bytes: the peak of the driver."""


def sparse_pile(path: Path, rows: int) -> Path:
    """Images of zeros as `.npy`, which take no room on the disk."""
    np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *IMAGE_SHAPE)).flush()
    return path


def small_job(
    pile: Path | str,
    output: Path | str,
    encoder: Path,
    environment: Mapping[str, str],
    rows: int = 1,
    seconds: float = 0.0,
    limit: int | None = None,
    *,
    ray: bool = False,
) -> Took:
    """Run one; on Ray with one actor for each core of the cluster that RAY_ADDRESS names."""
    command = [sys.executable, "-m", __name__, str(pile), str(output), "--encoder", str(encoder), "--rows", str(rows)]
    command += ["--seconds", str(seconds), *(["--limit", str(limit)] if limit else []), *(["--ray"] if ray else [])]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a small job failed: {done.stderr.strip()[-2000:]}")
    return Took(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pile")
    parser.add_argument("output")
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    options = Options(given.limit, quiet=True, cluster=Cluster() if given.ray else None)
    start = time.perf_counter()
    with open_images(given.pile) as source:
        job = SmallJob("parquet", Encoder(given.encoder, workers=1), rows=given.rows, seconds=given.seconds)
        summary = run(job, source, open_target(given.output), options)
    took = {"seconds": time.perf_counter() - start, "processor": time.process_time(), "memory": summary.peak_memory}
    print(json.dumps(took))


if __name__ == "__main__":
    main()
