"""A model on ONNX Runtime: a file whose interface has been checked, and what it is."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.errors import BundleError, ModelError
from pipeline.inference.bundle import open_bundle
from pipeline.inference.parallel import cores
from pipeline.inference.tensor_file import find_external_tensors
from pipeline.shared.interface import (
    FLOAT32,
    MANIFEST_FILE,
    MODEL_FILE,
    OPERATIONS,
    VARIANT_FILES,
    Interface,
    mismatches,
    read_latent_dim,
)
from pipeline.shared.text import one_line

Floats = NDArray[np.float32]

AUTO = "auto"


class OnnxModel:
    """A model file whose interface has been checked. Pickled, it takes the bytes of its files along.

    Attributes:
        interface: of its role.
        latent_dim: how many latents; 0 if the role has none.
        sha256: of the model file's bytes.
        operations: floating-point operations per image, if the file says so.
        facts: what the file says of itself.
    """

    def __init__(
        self,
        path: Path | str,
        interface: Interface,
        *,
        precision: str = FLOAT32,
        provider: str = AUTO,
        workers: int | None = None,
        batch_size: int = 512,
        listed: Mapping[Path, str] | None = None,
    ) -> None:
        """Open a model.

        Args:
            path: a model file, a bundle, whose files are all checked, or a folder with `model.onnx`.
            interface: what the file must take and give.
            precision: `float32`, or another variant that the bundle holds: `int8`, `fp16`.
            provider: of ONNX Runtime: `cpu`, `cuda`, ...; `auto` takes the first that is there.
            workers: threads for many rows; by default one per core.
            batch_size: rows per call of ONNX Runtime. Changes speed, not results.
            listed: files, by SHA-256, in which a model file may keep data; by default those of the bundle.

        Raises:
            ModelError: the file is missing, not ONNX, or has another interface; the provider is not there.
            BundleError: a file of the folder is missing or is not the one that its manifest lists.
        """
        if precision not in VARIANT_FILES:
            raise ModelError(f"there is no precision {precision!r}; choose one of {', '.join(VARIANT_FILES)}")
        for name, value in (("workers", workers), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        self.interface = interface
        self.path, bundled = _find(Path(path), interface, precision)
        self.precision = precision
        self.workers = workers or cores()
        self.batch_size = batch_size
        self._listed = bundled if listed is None else listed
        self._session, self.sha256 = open_session(self.path, provider, self._listed)
        self.provider = _short(self._session.get_providers()[0])
        self.facts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.latent_dim = self._check()
        operations = self.facts.get(OPERATIONS, "")
        self.operations = int(operations) if operations.isdecimal() else None

    def __getstate__(self) -> dict[str, Any]:
        """All of it, the bytes of its files in place of the session."""
        files, sha256 = read_model(self.path, self._listed)
        if sha256 != self.sha256:
            raise ModelError(f"{self.path} has changed since it was opened; run the command again")
        return {**self.__dict__, "_session": files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = start_session(self.path, state["_session"], self.provider)

    def about(self) -> dict[str, str | int]:
        """What decides on the results, for manifests."""
        return {
            "sha256": self.sha256,
            **({"latent_dim": self.latent_dim} if self.latent_dim else {}),
            "precision": self.precision,
            "provider": self.provider,
        }

    def run(self, *tensors: NDArray[np.generic]) -> list[Floats]:
        """The outputs of one batch in the order of the interface, as they are; `tensors` in that order too.

        Raises:
            ModelError: the model fails.
        """
        names = [output.name for output in self.interface.outputs]
        fed = {tensor.name: values for tensor, values in zip(self.interface.inputs, tensors, strict=True)}
        try:
            results: list[Floats] = self._session.run(names, fed)
        except Exception as error:
            # ONNX Runtime raises a dozen unrelated classes.
            raise ModelError(f"{self.path} fails on a batch of {len(tensors[0]):,}: {one_line(error)}") from error
        for name, result in zip(names, results, strict=True):  # what it declares of its rows may say nothing
            if result.shape[:1] != tensors[0].shape[:1]:
                raise ModelError(
                    f"{self.path} gives {name} as {list(result.shape)} for a batch of {len(tensors[0]):,}; "
                    "export it for batches of any size"
                )
        return results

    def _check(self) -> int:
        """Hold the file to the interface; returns its latent size."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        problems = mismatches(self.interface, inputs, outputs)
        latent_dim = read_latent_dim(self.interface, inputs, outputs)
        role = self.facts.get("role", self.interface.role)
        if role != self.interface.role:
            problems.append(f"its metadata name the role {role!a}")
        if latent_dim is None and self.interface.latent is not None and not problems:
            problems.append("its latent size is not fixed")
        if problems:
            raise ModelError(f"{self.path} is no {self.interface.role}: {'; '.join(problems)}")
        return latent_dim or 0


def open_session(
    path: Path, provider: str = "cpu", listed: Mapping[Path, str] | None = None
) -> tuple[ort.InferenceSession, str]:
    """A session on an ONNX file, one thread per call, and the SHA-256 of the bytes that it runs.

    Args:
        path: the file.
        provider: of ONNX Runtime.
        listed: files, by SHA-256, in which it may keep data. If it does, the checksum is that of the checksums of the
            model and of these files, in the order of their names.

    Raises:
        ModelError: no such file, not ONNX, or some of its data lie in a file that is not listed; or no such provider.
    """
    files, sha256 = read_model(path, listed or {})
    return start_session(path, files, provider), sha256


ModelFiles = tuple[bytes, dict[str, bytes]]
"""The content of a model file, and of those in which it keeps data, by the names that it has for them."""


def read_model(path: Path, listed: Mapping[Path, str]) -> tuple[ModelFiles, str]:
    """The bytes of a model and their SHA-256; see `open_session`."""
    if not path.is_file():
        raise ModelError(f"{path} was not found; expected an ONNX file or a folder with {MODEL_FILE}")
    content = path.read_bytes()
    with _usable(path):
        data = _read_data(path, find_external_tensors(content), listed)
    digests = [hashlib.sha256(one).hexdigest() for one in (content, *(data[name] for name in sorted(data)))]
    return (content, data), hashlib.sha256("".join(digests).encode()).hexdigest() if data else digests[0]


def start_session(path: Path, files: ModelFiles, provider: str) -> ort.InferenceSession:
    """A session on the bytes of a model, one thread per call; `path` is for messages."""
    content, data = files
    providers = _providers(provider)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with _usable(path):
        if data:  # as bytes, so that what runs is what was checked
            options.add_external_initializers_from_files_in_memory(
                list(data), list(data.values()), list(map(len, data.values()))
            )
        return ort.InferenceSession(content, options, providers=providers)


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        # ONNX Runtime raises a dozen unrelated classes; each means that the file cannot be run.
        raise ModelError(f"{path} is not a usable ONNX file: {one_line(error)}") from error


def _read_data(path: Path, tensors: list[tuple[str, str]], listed: Mapping[Path, str]) -> dict[str, bytes]:
    """The contents of the files in which a model keeps data, by the names that it has for them."""
    data: dict[str, bytes] = {}
    for tensor, name in tensors:
        file = path.parent / name
        # A listed path does not leave the folder; nor must a link, or a name that is written in another way.
        linked = any(part.is_symlink() for part in (file, *file.parents) if path.parent in part.parents)
        if not name or name != PurePosixPath(name).as_posix() or file not in listed or linked:
            raise ModelError(
                f"{path} keeps the data of its tensor {tensor} in another file; export it with its data inside, or "
                f"give a bundle whose {MANIFEST_FILE} lists that file, in the folder of the model and no link"
            )
        if name not in data:
            data[name] = file.read_bytes()
            if hashlib.sha256(data[name]).hexdigest() != listed[file]:
                raise BundleError(f"{file} was changed while it was read; download the bundle again")
    return data


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


def _find(path: Path, interface: Interface, precision: str) -> tuple[Path, dict[Path, str]]:
    """The file of a model, and the checksums of its bundle, whose files are checked before one of them is opened."""
    if not (path / MANIFEST_FILE).is_file():
        if precision != FLOAT32:
            raise ModelError(f"{path} holds no {MANIFEST_FILE} that names its {precision} variant; give a bundle")
        return path / MODEL_FILE if path.is_dir() else path, {}
    bundle = open_bundle(path)
    if interface.role not in bundle.models:
        raise BundleError(f"{path} holds the {' and '.join(bundle.models)}, expected the {interface.role}")
    variants = bundle.models[interface.role].variants
    if precision not in variants:
        raise BundleError(f"{path} holds the variants {', '.join(variants)}, not {precision}; choose one of them")
    return path / variants[precision].file, bundle.checksums(path)
