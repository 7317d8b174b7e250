"""Encoder and decoder on ONNX Runtime: arrays in, arrays out, on all cores, whatever their size."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.errors import BundleError, FormatError, ModelError
from pipeline.inference.bundle import FLOAT32, check_files, read_bundle
from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.tensor_file import find_external_tensor
from pipeline.shared.interface import (
    DECODER,
    ENCODER,
    IMAGE_SHAPE,
    MANIFEST_FILE,
    MODEL_FILE,
    OPERATIONS,
    VARIANT_FILES,
    Interface,
    mismatches,
    read_latent_dim,
)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

ROWS_PER_CALL = 4096  # of one thread; a larger array is shared among the cores
AUTO = "auto"

_HALF_A_LEVEL = 0.5 / 255
# As integers, the bits of 0 and of positive floats grow with their value, those of negative ones and NaN are larger.
_HIGHEST = np.float32(1 + _HALF_A_LEVEL).view(np.uint32)


class _Half:
    """A model file whose interface has been checked.

    Attributes:
        latent_dim: how many latents.
        sha256: of the model file's bytes.
        operations: floating-point operations per image, if the file says so.
    """

    _interface: Interface
    _batch_size: int  # measured: with more rows what a layer gives leaves the cache, with fewer the matrix units wait

    def __init__(
        self,
        path: Path | str,
        *,
        precision: str = FLOAT32,
        provider: str = AUTO,
        workers: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Open a model.

        Args:
            path: a model file, a bundle, whose files are all checked, or a folder with `model.onnx`.
            precision: `float32`, or another variant that the bundle holds: `int8`, `fp16`.
            provider: of ONNX Runtime: `cpu`, `cuda`, ...; `auto` takes the first that is there.
            workers: threads for arrays of more than 4,096 rows; by default one per core.
            batch_size: rows per call of ONNX Runtime. Changes speed, not results.

        Raises:
            ModelError: the file is missing, not ONNX, or has another interface; the provider is not there.
            BundleError: a file of the folder is missing or is not the one that its manifest lists.
        """
        if precision not in VARIANT_FILES:
            raise ModelError(f"there is no precision {precision!r}; choose one of {', '.join(VARIANT_FILES)}")
        for name, value in (("workers", workers), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        interface = self._interface
        self.path = _find(Path(path), interface, precision)
        self.precision = precision
        self.workers = workers or cores()
        self.batch_size = batch_size or self._batch_size
        self._session, self.sha256 = open_model(self.path, provider)
        self.provider = _short(self._session.get_providers()[0])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        about = self._session.get_modelmeta().custom_metadata_map
        problems = mismatches(interface, inputs, outputs)
        latent_dim = read_latent_dim(interface, inputs, outputs)
        role = about.get("role", interface.role)
        if role != interface.role:
            problems.append(f"its metadata name the role {role!a}")
        if problems or latent_dim is None:
            raise ModelError(
                f"{self.path} is no {interface.role}: {'; '.join(problems) or 'its latent size is not fixed'}"
            )
        self.latent_dim = latent_dim
        operations = about.get(OPERATIONS, "")
        self.operations = int(operations) if operations.isdecimal() else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, the model is opened there, if its file is the same."""
        return _reopen, (type(self), self.path, self.sha256, self.precision, self.provider, self.batch_size)

    def about(self) -> dict[str, str | int]:
        """What decides on the results, for manifests."""
        return {
            "sha256": self.sha256,
            "latent_dim": self.latent_dim,
            "precision": self.precision,
            "provider": self.provider,
        }

    def run(self, tensor: NDArray[np.generic]) -> list[Floats]:
        """The outputs of one batch in the order of the interface, as they are.

        Raises:
            ModelError: the model fails.
        """
        names = [output.name for output in self._interface.outputs]
        try:
            results: list[Floats] = self._session.run(names, {self._interface.input.name: tensor})
        except Exception as error:
            raise ModelError(f"{self.path} fails on a batch of {len(tensor):,}: {_one_line(error)}") from error
        return results

    def _each_batch(self, count: int, work: Callable[[slice], None]) -> None:
        """Call `work` for batches that make up `count` rows, on this thread if they are few."""

        def several(start: int) -> None:
            end = min(start + ROWS_PER_CALL, count)
            for first in range(start, end, self.batch_size):
                work(slice(first, min(first + self.batch_size, end)))

        if count <= ROWS_PER_CALL:
            several(0)
        else:
            for _ in map_ordered(several, range(0, count, ROWS_PER_CALL), self.workers):
                pass


def _reopen(model: type[_Half], path: Path, sha256: str, precision: str, provider: str, batch_size: int) -> _Half:
    opened = model(path, provider=provider, batch_size=batch_size)
    opened.precision = precision
    if opened.sha256 != sha256:
        raise ModelError(f"{path} is another file here than where the job was started; copy the model here again")
    return opened


class Encoder(_Half):
    """Images to the means and log variances of their latents."""

    _interface, _batch_size = ENCODER, 256

    def __call__(self, images: Pixels) -> tuple[Floats, Floats]:
        """Encode uint8 `[n, 28, 28]` to `z_mean` and `z_log_var`, float32 `[n, latent_dim]` each.

        Raises:
            FormatError: the images have another type or shape.
            ModelError: the model fails, or gives latents that are not finite.
        """
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE:
            raise FormatError(f"images are {images.dtype}{list(images.shape)}, expected uint8[n, 28, 28]")
        z_mean, z_log_var = (np.empty((len(images), self.latent_dim), np.float32) for _ in range(2))

        def encode(rows: slice) -> None:
            z_mean[rows], z_log_var[rows] = self.run(images[rows])

        self._each_batch(len(images), encode)
        if not (np.isfinite(z_mean).all() and np.isfinite(z_log_var).all()):
            raise ModelError(f"{self.path} gives latents that are not finite; train and export it again")
        return z_mean, z_log_var


class Decoder(_Half):
    """Latents to images."""

    _interface, _batch_size = DECODER, 128

    def __call__(self, z: Floats) -> Floats:
        """Decode float32 `[n, latent_dim]` to images, float32 `[n, 28, 28]` in [0, 1].

        Raises:
            FormatError: the latents have another type or shape.
            ModelError: the model fails, or gives pixels outside [0, 1].
        """
        images = np.empty((len(z), *IMAGE_SHAPE), np.float32)

        def decode(rows: slice) -> None:
            images[rows] = self._decode(z[rows])

        self._check(z)
        self._each_batch(len(z), decode)
        return images

    def pixels(self, z: Floats) -> Pixels:
        """Decode float32 `[n, latent_dim]` to grey levels, uint8 `[n, 28, 28]`; errors are those of a call."""
        images = np.empty((len(z), *IMAGE_SHAPE), np.uint8)

        def decode(rows: slice) -> None:
            to_bytes(self._decode(z[rows]), out=images[rows])

        self._check(z)
        self._each_batch(len(z), decode)
        return images

    def _check(self, z: Floats) -> None:
        if z.dtype != np.float32 or z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise FormatError(f"latents are {z.dtype}{list(z.shape)}, expected float32[n, {self.latent_dim}]")

    def _decode(self, z: Floats) -> Floats:
        (image,) = self.run(z)
        if image.size and not image.view(np.uint32).max() < _HIGHEST:
            low, high = image.min(initial=0), image.max(initial=1)
            # Written so that NaN fails; what rounds to a byte is good enough.
            if not (low > -_HALF_A_LEVEL and high < 1 + _HALF_A_LEVEL):
                raise ModelError(f"{self.path} gives pixels from {low:.3g} to {high:.3g}, expected 0 to 1")
        return image


def to_bytes(images: Floats, out: Pixels | None = None) -> Pixels:
    """Grey levels in [0, 1], float32, to the nearest of 0 to 255; `images` is overwritten if `out` is given."""
    levels = np.multiply(images, np.float32(255), out=images if out is not None else None)
    np.rint(levels, out=levels)
    if out is None:
        return levels.astype(np.uint8)
    np.copyto(out, levels, casting="unsafe")
    return out


def open_model(path: Path, provider: str = "cpu") -> tuple[ort.InferenceSession, str]:
    """A session on an ONNX file, one thread per call, and the SHA-256 of the bytes that it runs.

    Raises:
        ModelError: no such file, not ONNX, or not whole: some of its data lie in another file; or no such provider.
    """
    if not path.is_file():
        raise ModelError(f"{path} was not found; expected an ONNX file or a folder with {MODEL_FILE}")
    providers = _providers(provider)
    content = path.read_bytes()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        external = find_external_tensor(content)
        session = None if external else ort.InferenceSession(content, options, providers=providers)
    except Exception as error:
        # ONNX Runtime raises a dozen unrelated classes; each means that the file cannot be run.
        raise ModelError(f"{path} is not a usable ONNX file: {_one_line(error)}") from error
    if external:
        raise ModelError(
            f"{path} keeps the data of its tensor {external} in another file; export it with its data inside"
        )
    return session, hashlib.sha256(content).hexdigest()


def _providers(wanted: str) -> list[str]:
    """ONNX Runtime's names of the provider that is wanted and of the CPU, which takes what the other can't."""
    # In ONNX Runtime's order, fastest first. Azure runs nothing here, TensorRT builds an engine for minutes.
    available = {_short(name): name for name in ort.get_available_providers() if not name.startswith("Azure")}
    choice = next(name for name in available if name != "tensorrt") if wanted == AUTO else wanted
    if choice not in available:
        raise ModelError(
            f"ONNX Runtime has no provider {wanted!r} here, it has {', '.join(available)}; "
            "choose one of them or install another build of ONNX Runtime"
        )
    return list(dict.fromkeys([available[choice], available["cpu"]]))


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").lower()


def _find(path: Path, interface: Interface, precision: str) -> Path:
    """The file of a model; the files of a bundle are checked before one of them is opened."""
    if not (path / MANIFEST_FILE).is_file():
        if precision != FLOAT32:
            raise ModelError(f"{path} holds no {MANIFEST_FILE} that names its {precision} variant; give a bundle")
        return path / MODEL_FILE if path.is_dir() else path
    bundle = read_bundle(path)
    check_files(bundle)
    if interface.role not in bundle.models:
        raise BundleError(f"{path} holds the {' and '.join(bundle.models)}, expected the {interface.role}")
    variants = bundle.models[interface.role].variants
    if precision not in variants:
        raise BundleError(f"{path} holds the variants {', '.join(variants)}, not {precision}; choose one of them")
    return path / variants[precision].file


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
