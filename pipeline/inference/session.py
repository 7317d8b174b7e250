"""Encoder and decoder as ONNX Runtime sessions: arrays in, arrays out."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.errors import BundleError, FormatError, ModelError
from pipeline.inference.bundle import FLOAT32, check_files, read_bundle
from pipeline.inference.tensor_file import find_external_tensor
from pipeline.interface import (
    DECODER,
    ENCODER,
    IMAGE_SHAPE,
    MANIFEST_FILE,
    MODEL_FILE,
    Interface,
    mismatches,
    read_latent_dim,
)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
T = TypeVar("T")
R = TypeVar("R")

_HALF_A_LEVEL = 0.5 / 255


class _Half:
    """A model file whose interface has been checked."""

    def __init__(self, path: Path | str, interface: Interface) -> None:
        self.path = _find(Path(path), interface)
        self._interface = interface
        self._session, self.sha256 = open_model(self.path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        problems = mismatches(interface, inputs, outputs)
        latent_dim = read_latent_dim(interface, inputs, outputs)
        role = self._session.get_modelmeta().custom_metadata_map.get("role", interface.role)
        if role != interface.role:
            problems.append(f"its metadata name the role {role!a}")
        if problems or latent_dim is None:
            raise ModelError(
                f"{self.path} is no {interface.role}: {'; '.join(problems) or 'its latent size is not fixed'}"
            )
        self.latent_dim = latent_dim

    def run(self, tensor: NDArray[np.generic]) -> list[Floats]:
        """The outputs in the order of the interface, as they are.

        Raises:
            ModelError: the model fails.
        """
        names = [output.name for output in self._interface.outputs]
        try:
            results: list[Floats] = self._session.run(names, {self._interface.input.name: tensor})
        except Exception as error:
            raise ModelError(f"{self.path} fails on a batch of {len(tensor):,}: {_one_line(error)}") from error
        return results


class Encoder(_Half):
    """Images to the means and log variances of their latents.

    Raises:
        ModelError: the file is missing, not ONNX, or has another interface.
        BundleError: a file of the folder is missing or is not the one that its manifest lists.
    """

    def __init__(self, path: Path | str) -> None:
        """Open `path`: a model file, a bundle, whose files are all checked, or a folder with `model.onnx`."""
        super().__init__(path, ENCODER)

    def __call__(self, images: Pixels) -> tuple[Floats, Floats]:
        """Encode uint8 `[n, 28, 28]` to `z_mean` and `z_log_var`, float32 `[n, latent_dim]` each.

        Raises:
            FormatError: the images have another type or shape.
            ModelError: the model fails, or gives latents that are not finite.
        """
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE:
            raise FormatError(f"images are {images.dtype}{list(images.shape)}, expected uint8[n, 28, 28]")
        z_mean, z_log_var = self.run(images)
        if not (np.isfinite(z_mean).all() and np.isfinite(z_log_var).all()):
            raise ModelError(f"{self.path} gives latents that are not finite; train and export it again")
        return z_mean, z_log_var


class Decoder(_Half):
    """Latents to images.

    Raises:
        ModelError: the file is missing, not ONNX, or has another interface.
        BundleError: a file of the folder is missing or is not the one that its manifest lists.
    """

    def __init__(self, path: Path | str) -> None:
        """Open `path`: a model file, a bundle, whose files are all checked, or a folder with `model.onnx`."""
        super().__init__(path, DECODER)

    def __call__(self, z: Floats) -> Floats:
        """Decode float32 `[n, latent_dim]` to images, float32 `[n, 28, 28]` in [0, 1].

        Raises:
            FormatError: the latents have another type or shape.
            ModelError: the model fails, or gives pixels outside [0, 1].
        """
        if z.dtype != np.float32 or z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise FormatError(f"latents are {z.dtype}{list(z.shape)}, expected float32[n, {self.latent_dim}]")
        (image,) = self.run(z)
        low, high = image.min(initial=0), image.max(initial=1)
        # Written so that NaN fails; what rounds to a byte is good enough.
        if not (low > -_HALF_A_LEVEL and high < 1 + _HALF_A_LEVEL):
            raise ModelError(f"{self.path} gives pixels from {low:.3g} to {high:.3g}, expected 0 to 1")
        return image


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of `function` in the order of `items`, `workers` at a time, few of them waiting.

    A session has one thread per call, so that as many calls as cores run side by side; that is faster
    than one call with as many threads.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def open_model(path: Path) -> tuple[ort.InferenceSession, str]:
    """A session on an ONNX file, one thread per call, and the SHA-256 of the bytes that it runs.

    Raises:
        ModelError: no such file, not ONNX, or not whole: some of its data lie in another file.
    """
    if not path.is_file():
        raise ModelError(f"{path} was not found; expected an ONNX file or a folder with {MODEL_FILE}")
    content = path.read_bytes()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        external = find_external_tensor(content)
        session = None if external else ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises a dozen unrelated classes; each means that the file cannot be run.
        raise ModelError(f"{path} is not a usable ONNX file: {_one_line(error)}") from error
    if external:
        raise ModelError(
            f"{path} keeps the data of its tensor {external} in another file; export it with its data inside"
        )
    return session, hashlib.sha256(content).hexdigest()


def _find(path: Path, interface: Interface) -> Path:
    """The file of a model; the files of a bundle are checked before one of them is opened."""
    if not (path / MANIFEST_FILE).is_file():
        return path / MODEL_FILE if path.is_dir() else path
    bundle = read_bundle(path)
    check_files(bundle)
    if interface.role not in bundle.models:
        raise BundleError(f"{path} holds the {' and '.join(bundle.models)}, expected the {interface.role}")
    return path / bundle.models[interface.role].variants[FLOAT32].file


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
