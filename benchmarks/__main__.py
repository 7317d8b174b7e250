"""What the README states of speed: the batch jobs beside their peers, the variants, and the start of a process.

    make bench

Everything is a ratio of things measured in this one run. The jobs are whole processes, from start to exit; so is the
plain script that does the same work with ONNX Runtime. The other peers are given the images in memory and write
nothing. PyTorch takes part where it is installed. Each peer must give our latents before it is timed.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Pixels, peers, plain_script
from pipeline.inference import Decoder, Encoder
from pipeline.shared.interface import VARIANT_FILES
from pipeline.tools.bench import Measurements, measure, product_contenders, run_vae, write_pile

EXPORTS = Path("exports")
IMAGES = 1_000_000
PEER_IMAGES = 200_000
ROUNDS = 5


def compare(measurements: Measurements) -> str:
    """The jobs as multiples of each other and of the peers."""
    rate = {figure.name: figure.images_per_second for figure in measurements.figures}
    ours = ("encoder, session", "decoder, session", "vae encode", "vae generate")
    others = {name: value for name, value in rate.items() if not name.startswith(("vae", *ours))}
    lines = [f"vae encode is {rate['vae encode'] / value:.2f} x {name}" for name, value in others.items()]
    lines += [
        f"{job}, int8, is {rate[job + ', int8'] / rate[job]:.2f} x float32" for job in ("vae encode", "vae generate")
    ]
    return "\n".join(lines)


def variants(images: Pixels, z: NDArray[np.float32]) -> None:
    """Each variant beside float32, one thread."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = [name for name in ("avx512_vnni", "avx_vnni") if name in flags]
    print(f"\none core, int8 instructions: {', '.join(found) or 'none found'}")
    print(f"{'':30}{'images/s':>12}{'of float32':>20}{'spread':>8}")
    for kind, role, tensors in ((Encoder, "encoder", images), (Decoder, "decoder", z)):
        models = {name: kind(EXPORTS / role / file, workers=1) for name, file in VARIANT_FILES.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(3 * ROUNDS):
            for name, model in models.items():
                start = time.perf_counter()
                model(tensors)
                times[name].append(time.perf_counter() - start)
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["float32"], values, strict=True))
            median = statistics.median(values)
            low, _, high = statistics.quantiles(values, n=4)
            spread = (high - low) / median
            print(f"{role + ', ' + name:30}{len(tensors) / median:12,.0f}{ratio:18.2f} x{spread:8.0%}")


def cold(images: str) -> None:
    """Start to exit of the smallest jobs, beside the import that they avoid."""
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "vae --help": lambda: run_vae("--help"),
            "vae encode, 10,000 digits": lambda: run_vae("encode", images, "-o", f"{folder}/latents"),
            "import tensorflow": lambda: subprocess.run(
                [sys.executable, "-c", "import tensorflow"], check=True, capture_output=True
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, contender in work.items():
                start = time.perf_counter()
                contender()
                times[name].append(time.perf_counter() - start)
    print()
    for name, values in times.items():
        print(f"{name:30}{statistics.median(values):10.2f} s")


def main() -> None:
    if not (EXPORTS / "manifest.json").exists():
        sys.exit("exports/ is empty; run `make repro` first")
    encoder = EXPORTS / "encoder"
    with tempfile.TemporaryDirectory() as folder:
        pile = write_pile(Path(folder) / "images.npy", IMAGES)
        few = np.load(pile, mmap_mode="r")[:PEER_IMAGES].copy()
        contenders = [
            *product_contenders(EXPORTS, pile, IMAGES),
            plain_script(encoder, pile, IMAGES),
            *peers(encoder, Path("models"), few),
        ]
        measurements = measure(contenders, ROUNDS, lambda line: print(line, file=sys.stderr))
    print(measurements)
    print(compare(measurements))
    latent_dim = Decoder(EXPORTS / "decoder").latent_dim
    variants(few[:20_000], np.random.default_rng(0).standard_normal((20_000, latent_dim), np.float32))
    cold("data/prepared/test_images.npy")


if __name__ == "__main__":
    main()
