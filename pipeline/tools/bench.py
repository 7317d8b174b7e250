"""How fast this machine encodes, decodes and scores, as shares of what it can do; all measured in one run.

The yardstick is the rate of float32 matrix products on all cores, the better of ONNX Runtime's and NumPy's, measured
again before each contender in each round. A figure is the median over the rounds. If the rounds differ too much, more
are run; if they still differ after 15, the run fails rather than print an unreliable figure.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MeasurementError
from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.session import Decoder, Encoder, Scorer, check_pair
from pipeline.jobs.machine import matrix_rate, numpy_matrix_rate
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.rows import MAX_ROWS

_YARDSTICK_SECONDS = 1.0
_MOST_ROUNDS = 15
WIDEST = 0.15
"""Of the distance between the quartiles, as a share of the median."""
_PATTERN = 10_000  # images, repeated


@dataclass(frozen=True)
class Contender:
    """Some work on `images` images that takes `operations` floating-point operations each, and what precedes it."""

    name: str
    work: Callable[[], object]
    images: int
    operations: int
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Speed:
    """The result for one contender: medians over the rounds."""

    name: str
    images: int
    seconds: float
    images_per_second: float
    matrix_share: float
    """Images per second, as a share of what the matrix rate allows for the model's operations."""
    spread: float
    """Distance between the quartiles of `matrix_share`, as a share of it."""


@dataclass(frozen=True)
class Measurements:
    """All figures of a run."""

    workers: int
    matrix_gflops: float
    rounds: int
    figures: tuple[Speed, ...]

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        row = "{:<32}{:>11}{:>10}{:>12}{:>11}{:>8}"
        lines = [
            f"{self.workers} core(s), float32 matrix products at {self.matrix_gflops:.0f} GFLOP/s, "
            f"median of {self.rounds} rounds",
            "",
            row.format("", "images", "seconds", "images/s", "of matrix", "spread"),
        ]
        for one in self.figures:
            rate = f"{one.images_per_second:,.0f}"
            share, spread = f"{one.matrix_share:.0%}", f"{one.spread:.0%}"
            lines.append(row.format(one.name, f"{one.images:,}", f"{one.seconds:.2f}", rate, share, spread))
        return "\n".join(lines)


def bench(bundle: Path, images: int, rounds: int, log: Callable[[str], object]) -> Measurements:
    """Measure the bare sessions, and the jobs as whole processes from start to exit, on `images` images.

    Args:
        bundle: holds both halves and the scorer, and says their operations.
        images: how many; a file of 784 bytes each is written to the temporary folder.
        rounds: the least number of rounds.
        log: called with a line on each step of the measurement.

    Raises:
        MeasurementError: the rounds of a contender differ too much, or the models don't state their operations.
    """
    with tempfile.TemporaryDirectory() as folder:
        log(f"writing {images * 784 / 1e6:,.0f} MB of images")
        pile = write_pile(Path(folder) / "images.npy", images)
        return measure(product_contenders(bundle, pile, images), rounds, log)


def product_contenders(bundle: Path, pile: Path, images: int) -> list[Contender]:
    """The bare sessions, and each job as people run it.

    Raises:
        MeasurementError: the models don't state their operations.
        ModelError: a half can't be used, or they are not of one model.
    """
    encoder, decoder = Encoder(bundle / "encoder"), Decoder(bundle / "decoder")
    check_pair(encoder, decoder)
    scorer = Scorer(bundle / "scorer")
    check_pair(encoder, scorer)
    if encoder.operations is None or decoder.operations is None or scorer.operations is None:
        raise MeasurementError(f"the models in {bundle} don't say their operations; run `vae export` again")
    warm = min(images, 200_000)  # in memory
    few = np.load(pile, mmap_mode="r")[:warm].copy()
    z = np.random.default_rng(0).standard_normal((warm, decoder.latent_dim), np.float32)

    def drain(model: Callable[[Any], object], rows: NDArray[Any]) -> None:
        """Drop the results: keeping them takes as long as computing them."""
        for _ in map_ordered(lambda at: model(rows[at : at + MAX_ROWS]), range(0, warm, MAX_ROWS), cores()):
            pass

    def job(name: str, operations: int, *arguments: str) -> Contender:
        result = pile.parent / "result"

        def clear() -> None:
            """Deleting 784 MB may take half a second and is no part of the job."""
            shutil.rmtree(result, ignore_errors=True)
            result.with_name("result.png").unlink(missing_ok=True)

        return Contender(name, lambda: run_vae(*arguments, "-o", str(result), "--quiet"), images, operations, clear)

    generate = ("generate", "--decoder", str(bundle / "decoder"), "--count", str(images))
    encode = ("encode", str(pile), "--encoder", str(bundle / "encoder"))
    score = ("score", str(pile), "--scorer", str(bundle / "scorer"))
    return [
        Contender("encoder, session", lambda: drain(encoder, few), warm, encoder.operations),
        Contender("decoder, session", lambda: drain(decoder.pixels, z), warm, decoder.operations),
        Contender("scorer, session", lambda: drain(scorer, few), warm, scorer.operations),
        job("vae encode", encoder.operations, *encode),
        job("vae encode, int8", encoder.operations, *encode, "--precision", "int8"),
        job("vae generate", decoder.operations, *generate),
        job("vae generate, int8", decoder.operations, *generate, "--precision", "int8"),
        job("vae score", scorer.operations, *score),
        job("vae score, int8", scorer.operations, *score, "--precision", "int8"),
    ]


def write_pile(path: Path, images: int) -> Path:
    """An `.npy` file of `images` images of noise, of which 10,000 differ."""
    pattern = np.random.default_rng(0).integers(0, 256, (min(_PATTERN, images), *IMAGE_SHAPE), np.uint8)
    header = np.lib.format.header_data_from_array_1_0(pattern) | {"shape": (images, *IMAGE_SHAPE)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, images, len(pattern)):
            file.write(pattern[: images - start].data)
    return path


def run_vae(*arguments: str) -> None:
    """Run a command of this package as a process of its own."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(f"vae {arguments[0]} failed: {done.stderr.strip()}")


def measure(contenders: Sequence[Contender], rounds: int, log: Callable[[str], object]) -> Measurements:
    """Run the contenders in turns for at least `rounds` rounds, until the rounds of each agree.

    Raises:
        MeasurementError: the rounds of a contender still differ after 15.
    """
    workers = cores()
    rates: list[float] = []
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    shares: dict[str, list[float]] = {one.name: [] for one in contenders}
    while len(rates) < rounds * len(contenders) or _disagreeing(shares):
        if len(rates) >= _MOST_ROUNDS * len(contenders):
            name, spread = _disagreeing(shares)[0]
            raise MeasurementError(
                f"{name}: the rounds differ by {spread:.0%} between the quartiles, expected at most {WIDEST:.0%}; "
                "end other work on this machine and measure again"
            )
        log(f"round {len(rates) // len(contenders) + 1}")
        for one in contenders:
            one.prepare()
            rate = max(matrix_rate(workers, _YARDSTICK_SECONDS / 2), numpy_matrix_rate(_YARDSTICK_SECONDS / 2))
            start = time.perf_counter()
            one.work()
            taken = time.perf_counter() - start
            rates.append(rate)
            seconds[one.name].append(taken)
            shares[one.name].append(one.images * one.operations / taken / rate)
    figures = []
    for one in contenders:
        median = statistics.median(seconds[one.name])
        share = statistics.median(shares[one.name])
        figures.append(Speed(one.name, one.images, median, one.images / median, share, spread_of(shares[one.name])))
    return Measurements(workers, statistics.median(rates) / 1e9, len(rates) // len(contenders), tuple(figures))


def _disagreeing(shares: dict[str, list[float]]) -> list[tuple[str, float]]:
    return [(name, spread_of(values)) for name, values in shares.items() if spread_of(values) > WIDEST]


def spread_of(values: Sequence[float]) -> float:
    """The distance between the quartiles of positive values, as a share of their median; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)
