"""What docs/batch.md states of large images: one beside the matrix rate, a poster beside the session, and memory.

    make bench-posters

Everything but memory is a ratio of two things measured in turn in this one run: medians over the rounds, with the
distance between the quartiles as a share of them. The memory is that of a whole process.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.renderer import Renderer, open_renderer
from pipeline.inference.session import Decoder
from pipeline.jobs.draws import QuantileGrid
from pipeline.jobs.generate import generate
from pipeline.jobs.job import Options
from pipeline.jobs.machine import matrix_rate
from pipeline.jobs.target import open_target
from pipeline.shared.spline import SIDE, centres

EXPORTS = Path("exports")
SOFTNESSES = 1.0, 0.1
PICTURE, SIDE_OF_GRID, SIZE, LARGE = 1080, 30, 400, 20_000
IMAGES_PER_CALL = 6  # of the bare session: as large as a tile of the poster
YARDSTICK = 95e9  # operations/s of the core on which 30 ms are the aim
ROUNDS = 7


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    """Distance between the quartiles, as a share of the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"spread {(high - low) / middle:.0%}"


def picture(renderer: Renderer, softness: float) -> str:
    """One image on one core, in the time that it would take where the matrix rate is `YARDSTICK`."""
    z = np.zeros((1, renderer.latent_dim), np.float32)
    found = []
    for _ in range(ROUNDS):
        rate = matrix_rate(1, 0.5)
        taken = statistics.median(seconds(lambda: renderer.pixels(z, PICTURE, softness)) for _ in range(9))
        found.append(1e3 * taken * rate / YARDSTICK)
    of = f"{PICTURE} x {PICTURE} on one core, softness {softness}"
    return f"{of}: {statistics.median(found):.1f} ms at {YARDSTICK / 1e9:.0f} GFLOP/s ({spread(found)})"


def poster(decoder: Decoder, renderer: Renderer, softness: float, folder: Path) -> str:
    """The rate of a manifold as a poster, as a share of that of the bare session on as many cores."""
    grid = QuantileGrid(SIDE_OF_GRID, decoder.latent_dim)
    z = grid.read(0, grid.count)().z
    places = centres(SIZE).astype(np.float32)
    how = np.array([SIDE / SIZE], np.float32), np.array([softness], np.float32)

    def session() -> None:
        pieces = (z[at : at + IMAGES_PER_CALL] for at in range(0, len(z), IMAGES_PER_CALL))
        for _ in map_ordered(lambda some: len(renderer.run(some, places, places, *how)), pieces, cores()):
            pass

    def job() -> None:
        target = open_target(folder / "poster.png")
        generate(decoder, grid, target, Options(quiet=True), size=SIZE, softness=softness)

    found = [seconds(session) / seconds(job) for _ in range(ROUNDS)]
    of = f"{SIDE_OF_GRID * SIZE:,} x {SIDE_OF_GRID * SIZE:,} poster on {cores()} core(s), softness {softness}"
    return f"{of}: {statistics.median(found):.0%} of the session's rate ({spread(found)})"


def memory(exports: Path, softness: float, folder: Path) -> str:
    """Of one digit so large that its pixels alone would take 400 MB."""
    command = [sys.executable, "-m", "pipeline", "generate", "--count", "1", "--size", str(LARGE), "--json", "--quiet"]
    command += ["--softness", str(softness), "--decoder", str(exports / "decoder"), "-o", str(folder / "digit.png")]
    summary = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    size = (folder / "digit.png").stat().st_size / 1e6
    return (
        f"{LARGE:,} x {LARGE:,}, softness {softness}: {summary['seconds']:.1f} s, {size:.1f} MB, "
        f"peak memory {summary['peak_memory'] / 1e6:.0f} MB"
    )


def main(exports: Path) -> None:
    """Print one line for each figure."""
    decoder = Decoder(exports / "decoder")
    renderer = open_renderer(decoder)
    with tempfile.TemporaryDirectory() as folder:
        for softness in SOFTNESSES:
            print(picture(renderer, softness), flush=True)
            print(poster(decoder, renderer, softness, Path(folder)), flush=True)
            print(memory(exports, softness, Path(folder)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else EXPORTS)
