"""How fast training is, beside plain Keras: `make bench-train`.

Three ways to fit the parameters of params.yaml on the same images, each in a process of its own, in turns, so that
all meet the same noise: Keras' `fit` with its defaults (no XLA, one step per execution, NumPy arrays), the product with
TensorFlow, the product with JAX. A rate leaves out the first epoch, in which the step is compiled. The yardstick is
the float32 matrix rate of the same device, measured in the same processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 5
EPOCHS = 4
SIDE = 2048  # of the square matrices of the yardstick
WAYS = {"plain fit, TensorFlow": "tensorflow", "product, TensorFlow": "tensorflow", "product, JAX": "jax"}
PLAIN = next(iter(WAYS))


def fit(way: str, seed: int) -> dict[str, Any]:
    """Train in this process; seconds of each epoch, validation loss, operations, matrix rate, device."""
    import keras
    import numpy as np  # noqa: PLC0415

    from pipeline.data.prepared import read_split  # noqa: PLC0415
    from pipeline.params import read_params  # noqa: PLC0415
    from pipeline.training.device import prepare_device, repeat_exactly, share_heap  # noqa: PLC0415
    from pipeline.training.lookup import ImageLookup  # noqa: PLC0415
    from pipeline.training.train import block_up, build_vae  # noqa: PLC0415

    if way != PLAIN:
        share_heap()
    device = prepare_device()
    settings = read_params(Path("params.yaml"))
    params = settings.train.model_copy(update={"seed": seed, "epochs": EPOCHS})
    images, validation = (np.array(read_split(Path("data/prepared"), split)[0]) for split in ("train", "validation"))
    if way == PLAIN:
        params = params.model_copy(update={"jit_compile": False, "steps_per_execution": 1})
    blocks = block_up(len(images), settings.model, params, device)
    if way == PLAIN:
        keras.utils.set_random_seed(seed)
        vae = build_vae(settings.model, params, None, blocks)
        x, v, shuffle = images, validation, None
    else:
        repeat_exactly(seed, jit_compile=params.jit_compile)
        lookup = ImageLookup(np.concatenate([images, validation]), len(images), seed)
        vae = build_vae(settings.model, params, lookup, blocks)
        x, v = blocks, np.arange(len(images), len(images) + len(validation), dtype=np.int32)
        shuffle = lookup.shuffle

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        seconds: list[float] = []  # noqa: RUF012

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
            self.start = time.perf_counter()
            if shuffle is not None:
                shuffle(epoch)

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
            self.seconds.append(time.perf_counter() - self.start)

    clock = Clock()
    batches = {"batch_size": params.batch_size} if way == PLAIN else {"shuffle": False}
    vae.fit(x, epochs=EPOCHS, callbacks=[clock], verbose=0, **batches)
    figures = vae.evaluate(v, batch_size=500, verbose=0, return_dict=True)
    kernels = [weight.shape for weight in vae.trainable_variables if len(weight.shape) == 2]
    # Forward, and backward for weights and for inputs; the image itself needs no gradient.
    operations = 6 * sum(a * b for a, b in kernels) - 2 * kernels[0][0] * kernels[0][1]
    return {
        "device": device,
        "seconds": clock.seconds[1:],
        "images": len(images),
        "val_loss": figures["loss"],
        "operations": operations,
        "matrix_rate": matrix_rate(),
    }


def matrix_rate() -> float:
    """Operations per second of float32 products on the device of this process; the best of five."""
    import keras
    import numpy as np  # noqa: PLC0415

    left = keras.ops.convert_to_tensor(np.random.default_rng(0).random((SIDE, SIDE), np.float32))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        np.asarray(keras.ops.matmul(left, left)[0, 0])  # waits for the device
        times.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(times)


def run(way: str, seed: int) -> dict[str, Any]:
    environment = {**os.environ, "KERAS_BACKEND": WAYS[way], "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.training", "--way", way, "--seed", str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(fit(arguments.way, arguments.seed)))
        return
    if not Path("data/prepared/stats.json").exists():
        sys.exit("data/prepared/ is empty; run `make repro` first")
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in range(ROUNDS):
        for way, found in results.items():
            found.append(run(way, seed))
            print(f"{way}, seed {seed}: {min(found[-1]['seconds']):.2f} s an epoch", file=sys.stderr)
    show(results)


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    yardstick = max(result["matrix_rate"] for found in results.values() for result in found)
    print(f"float32 matrix rate: {yardstick / 1e9:,.0f} GFLOP/s")
    print(f"{'':24}{'images/s':>10}{'of matrix rate':>16}{'of plain fit':>14}{'val. loss':>12}  device")
    # The fastest epoch of each process: whatever else runs here only ever makes one slower.
    rates = {way: [result["images"] / min(result["seconds"]) for result in found] for way, found in results.items()}
    for way, found in results.items():
        rate = statistics.median(rates[way])
        share = rate * found[0]["operations"] / yardstick
        ratio = statistics.median(a / b for a, b in zip(rates[way], rates[PLAIN], strict=True))
        losses = [result["val_loss"] for result in found]
        spread = f"{statistics.mean(losses):.1f} ± {statistics.stdev(losses):.1f}"
        print(f"{way:24}{rate:10,.0f}{share:16.0%}{ratio:12.2f} x{spread:>13}  {found[0]['device']}")


if __name__ == "__main__":
    main()
