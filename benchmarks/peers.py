"""Other ways to compute the same latents, each proven equal to ours before it is timed."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.errors import MeasurementError
from pipeline.inference import Encoder
from pipeline.tools.bench import Contender

BATCH = 512
PROVEN = 1000  # images
TOLERANCE = 1e-4  # absolute and relative, as for the export: float32 sums in another order

Pixels = NDArray[np.uint8]
Latents = tuple[NDArray[np.float32], NDArray[np.float32]]
Encode = Callable[[Pixels], Latents]

SCRIPT = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
images = numpy.load(sys.argv[2], mmap_mode="r")
results = [session.run(None, {"image": images[start : start + 512]}) for start in range(0, len(images), 512)]
numpy.savez(sys.argv[3], *(numpy.concatenate(columns) for columns in zip(*results)))
"""


def peers(encoder: Path, models: Path, images: Pixels) -> list[Contender]:
    """Keras, ONNX Runtime and, where it is installed, PyTorch, on images uint8 `[n, 28, 28]` in memory.

    Args:
        encoder: the exported bundle of the encoder.
        models: the Keras weights that it was made from.
        images: to encode.

    Raises:
        MeasurementError: the latents of a peer differ from ours.
    """
    from pipeline.training.weights import load_half  # noqa: PLC0415  (TensorFlow)

    half = load_half(models, "encoder")
    found: dict[str, Encode] = {"Keras predict": keras_peer(half), "ONNX Runtime, plain loop": runtime_peer(encoder)}
    try:
        found["PyTorch"] = torch_peer(half)
    except ModuleNotFoundError:
        print("PyTorch is not installed and does not take part", file=sys.stderr)
    ours = Encoder(encoder)
    for name, encode in found.items():  # which also warms them
        prove_equal(name, encode(images[:PROVEN]), ours(images[:PROVEN]))
    return [
        Contender(name, partial(encode, images), len(images), ours.operations or 0) for name, encode in found.items()
    ]


def prove_equal(name: str, latents: Latents, ours: Latents) -> None:
    """Raise `MeasurementError` unless both pairs of float32 `[n, latent_dim]` agree within float32 rounding."""
    for output, theirs, expected in zip(("z_mean", "z_log_var"), latents, ours, strict=True):
        if theirs.shape != expected.shape:
            raise MeasurementError(
                f"{name}: {output} has shape {theirs.shape}, expected {expected.shape}; mend the peer"
            )
        if not np.allclose(theirs, expected, rtol=TOLERANCE, atol=TOLERANCE):
            largest = np.abs(theirs - expected).max()
            raise MeasurementError(
                f"{name}: {output} differs from ours by up to {largest:.2g}, expected at most {TOLERANCE:g} of it; "
                "run `dvc repro`, so that models/ and exports/ belong together"
            )


def plain_script(encoder: Path, pile: Path, images: int) -> Contender:
    """What one would write in five lines: no checks, no resume, all results in memory.

    Args:
        encoder: the exported bundle of the encoder.
        pile: an `.npy` file of uint8 `[images, 28, 28]`.
        images: how many.

    Raises:
        MeasurementError: its latents differ from ours.
    """
    result, few = pile.parent / "plain.npz", pile.parent / "few.npy"

    def run(source: Path) -> None:
        command = [sys.executable, "-c", SCRIPT, str(encoder / "model.onnx"), str(source), str(result)]
        subprocess.run(command, check=True)

    name, ours = "plain script, whole process", Encoder(encoder)
    sample = np.load(pile, mmap_mode="r")[:PROVEN]
    np.save(few, sample)
    run(few)
    with np.load(result) as file:
        prove_equal(name, (file["arr_0"], file["arr_1"]), ours(sample))
    return Contender(name, lambda: run(pile), images, ours.operations or 0)


def keras_peer(half: Any) -> Encode:
    """Keras' own `predict`."""

    def encode(images: Pixels) -> Latents:
        latents = half.predict(images, batch_size=BATCH, verbose=0)
        return latents["z_mean"], latents["z_log_var"]

    return encode


def runtime_peer(encoder: Path) -> Encode:
    """ONNX Runtime with all options as they are, batch by batch."""
    session = ort.InferenceSession(encoder / "model.onnx")

    def encode(images: Pixels) -> Latents:
        names = ["z_mean", "z_log_var"]
        return _joined([session.run(names, {"image": batch}) for batch in _batches(images)])

    return encode


def torch_peer(half: Any) -> Encode:
    """The dense layers of the Keras encoder as PyTorch functions, both heads as one product.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
    """
    import torch  # noqa: PLC0415

    def dense(*layers: Any) -> tuple[Any, Any]:
        kernels, biases = zip(*(layer.get_weights() for layer in layers), strict=True)
        return torch.from_numpy(np.concatenate(kernels, axis=1)), torch.from_numpy(np.concatenate(biases))

    heads = dense(half.get_layer("z_mean"), half.get_layer("z_log_var"))
    hidden = [
        (getattr(torch.nn.functional, layer.activation.__name__), *dense(layer))
        for layer in half.layers
        if layer.name.startswith("encoder_")
    ]

    def encode(images: Pixels) -> Latents:
        results = []
        with torch.inference_mode():
            for batch in _batches(images):
                features = torch.from_numpy(batch).flatten(1).float() / 255
                for activation, kernel, bias in hidden:
                    features = activation(torch.addmm(bias, features, kernel))
                both = torch.addmm(heads[1], features, heads[0])
                results.append([head.numpy() for head in both.chunk(2, dim=1)])
        return _joined(results)

    return encode


def _batches(images: Pixels) -> list[Pixels]:
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def _joined(results: list[list[NDArray[np.float32]]]) -> Latents:
    mean, log_var = (np.concatenate(column) for column in zip(*results, strict=True))
    return mean, log_var
