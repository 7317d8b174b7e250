"""Rates of the batch jobs and of training as ratios, all measured in this one run.

    make bench

The yardstick is the machine's own float32 matrix rate: products of the encoder's first layer, all cores, the
best of NumPy and ONNX Runtime. Every figure is the median of several rounds, in which the contenders take turns.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.inference import Decoder, Encoder
from pipeline.inference.session import cores, map_ordered
from pipeline.interface import VARIANT_FILES
from pipeline.training.weights import load_half

EXPORTS = Path("exports")
ROUNDS = 5
BATCH = 512
IMAGES = 200_000
VAE = str(Path(sys.executable).parent / "vae")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def on_all_cores(product: Callable[[int], object], count: int) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(product, range(count)))


def matrix_contenders() -> dict[str, Callable[[], object]]:
    """512 x 784 times 784 x 512, as often as `IMAGES` needs it."""
    generator = np.random.default_rng(0)
    left, right = (generator.random(shape, np.float32) for shape in ((BATCH, 784), (784, 512)))
    shapes = [("a", left.shape), ("b", right.shape), ("c", (BATCH, 512))]
    a, _, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    weight = helper.make_tensor("b", TensorProto.FLOAT, right.shape, right.tobytes(), raw=True)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a], [c], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    count = IMAGES // BATCH
    return {
        "matrix, ONNX Runtime": lambda: on_all_cores(lambda _: session.run(None, {"a": left}), count),
        "matrix, NumPy": lambda: [left @ right for _ in range(count)],
    }


def operations(model: Encoder | Decoder) -> int:
    """Floating-point operations per image: two per weight of a dense network."""
    return 2 * sum(int(np.prod(w.dims)) for w in onnx.load(model.path).graph.initializer if len(w.dims) == 2)


def main() -> None:
    if not (EXPORTS / "manifest.json").exists():
        sys.exit("exports/ is empty; run `make repro` first")
    encoder, decoder = Encoder(EXPORTS / "encoder"), Decoder(EXPORTS / "decoder")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, 28, 28), np.uint8)
    z = generator.standard_normal((IMAGES, decoder.latent_dim), np.float32)
    starts = range(0, IMAGES, BATCH)

    def drain(function: Callable[[int], object]) -> None:
        for _ in map_ordered(function, starts, cores()):
            pass

    half = load_half(Path("models"), "encoder")
    with tempfile.TemporaryDirectory() as folder:
        pile, out = f"{folder}/images.npy", f"{folder}/out"
        np.save(pile, images)
        work = {
            **matrix_contenders(),
            "encode, session": lambda: drain(lambda start: encoder(images[start : start + BATCH])),
            "decode, session": lambda: drain(lambda start: decoder(z[start : start + BATCH])),
            "vae encode, whole process": lambda: run(VAE, "encode", pile, "-o", out, "-q"),
            "vae generate, whole process": lambda: run(VAE, "generate", "--count", str(IMAGES), "-o", f"{out}-g", "-q"),
            "Keras predict": lambda: half.predict(images, batch_size=BATCH, verbose=0),
        }
        for name in ("encode, session", "Keras predict"):
            work[name]()  # warm up
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, contender in work.items():
                times[name].append(seconds(contender))
    medians = {name: statistics.median(values) for name, values in times.items()}
    flops_encode, flops_decode = operations(encoder), operations(decoder)
    product = 2 * 784 * 512 * (IMAGES // BATCH) * BATCH
    rate = max(product / medians[name] for name in medians if name.startswith("matrix"))
    print(f"{cores()} cores, {rate / 1e9:.0f} GFLOP/s float32, {IMAGES:,} images\n")
    print(f"{'':30}{'images/s':>12}{'of the matrix rate':>20}{'spread':>8}")
    for name, median in medians.items():
        per_image = product / IMAGES if name.startswith("matrix") else flops_encode
        per_image = flops_decode if "decode" in name or "generate" in name else per_image
        spread = (max(times[name]) - min(times[name])) / median
        print(f"{name:30}{IMAGES / median:12,.0f}{IMAGES * per_image / median / rate:20.0%}{spread:8.0%}")
    print(f"\nvae encode is {medians['Keras predict'] / medians['vae encode, whole process']:.1f} x Keras predict")
    variants(images[:20_000], z[:20_000])
    cold()


def variants(images: NDArray[np.uint8], z: NDArray[np.float32]) -> None:
    """Each variant beside float32, one thread."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = [name for name in ("avx512_vnni", "avx_vnni") if name in flags]
    print(f"\none core, int8 instructions: {', '.join(found) or 'none found'}")
    print(f"{'':30}{'images/s':>12}{'of float32':>20}{'spread':>8}")
    for kind, role, tensors in ((Encoder, "encoder", images), (Decoder, "decoder", z)):
        models = {name: kind(EXPORTS / role / file) for name, file in VARIANT_FILES.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(3 * ROUNDS):
            for name, model in models.items():
                batches = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
                times[name].append(seconds(lambda model=model, batches=batches: [model(batch) for batch in batches]))
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["float32"], values, strict=True))
            median = statistics.median(values)
            spread = (max(values) - min(values)) / median
            print(f"{role + ', ' + name:30}{len(tensors) / median:12,.0f}{ratio:18.2f} x{spread:8.0%}")


def cold() -> None:
    """Start to exit of the smallest jobs, beside the import that they avoid."""
    images = "data/prepared/test_images.npy"
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "vae --help": lambda: run(VAE, "--help"),
            "vae encode, 10,000 digits": lambda: run(VAE, "encode", images, "-o", f"{folder}/latents", "-q"),
            "import tensorflow": lambda: run(sys.executable, "-c", "import tensorflow"),
        }
        times = {name: [seconds(contender) for _ in range(ROUNDS)] for name, contender in work.items()}
    print()
    for name, values in times.items():
        print(f"{name:30}{statistics.median(values):10.2f} s")


if __name__ == "__main__":
    main()
