"""Bundles: a folder of models with a manifest that says what each file is, byte for byte."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipeline.errors import BundleError
from pipeline.shared.files import sha256
from pipeline.shared.interface import INTERFACES, MANIFEST_FILE, MIXTURE, SCHEMA_VERSION, Interface

T = TypeVar("T")

FLOAT32 = "float32"
DIGEST = "manifest_sha256"


@dataclass(frozen=True)
class ListedFile:
    """A file as the manifest lists it; `path` is relative to the bundle's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Variant:
    """One file of a model; a variant other than float32 may differ from the test vectors by its budget."""

    file: str
    mean_difference: float | None


@dataclass(frozen=True)
class Model:
    """One half of the autoencoder, or the mixture, its test vectors and the files that compute it."""

    interface: Interface
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variants: dict[str, Variant]


@dataclass(frozen=True)
class Bundle:
    """What a manifest says.

    The float32 models reproduce their test vectors within `absolute` + `relative` * |value|.
    """

    folder: Path
    latent_dim: int
    absolute: float
    relative: float
    models: dict[str, Model]
    mixture: Model | None
    """Of float32 alone; with the decoder, but for bundles older than mixtures."""
    files: tuple[ListedFile, ...]


def read_bundle(folder: Path) -> Bundle:
    """Read the manifest of a bundle; the files that it lists are left to `check_files`.

    Raises:
        BundleError: no manifest, or not one of a schema that this release knows.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(f"{path} was not found; expected a folder that `vae export` wrote")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}; take the bundle anew") from error
    try:
        return _bundle(folder, content)
    except _ManifestError as error:
        raise BundleError(f"{path} {error}") from error


def check_files(bundle: Bundle) -> None:
    """Compare every listed file with its size and SHA-256; files that are not listed do not matter.

    Raises:
        BundleError: a file is missing or has other bytes.
    """
    for listed in bundle.files:
        path = bundle.folder / listed.path
        if not path.is_file():
            raise BundleError(f"{path} is missing, {MANIFEST_FILE} lists it; take the bundle anew")
        size = path.stat().st_size
        if size != listed.bytes:
            raise BundleError(f"{path} has {size:,} bytes, expected {listed.bytes:,}; take the bundle anew")
        found = sha256(path)
        if found != listed.sha256:
            raise BundleError(
                f"{path} has the SHA-256 {found[:12]}..., expected {listed.sha256[:12]}...; take the bundle anew"
            )


def manifest_digest(content: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its own entry for it, as JSON with sorted keys and no spaces."""
    rest = {key: value for key, value in content.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _ManifestError(Exception):
    """What is wrong with a manifest; the reader knows its path."""


def _bundle(folder: Path, content: Any) -> Bundle:
    manifest = _Entry(content, "")
    version = manifest.take("schema_version", int)
    if version > SCHEMA_VERSION:
        raise _ManifestError(
            f"has the schema {version}, this release knows {SCHEMA_VERSION}; install a newer release of the package"
        )
    if version != SCHEMA_VERSION:
        raise _ManifestError(f"has the schema {version}, expected {SCHEMA_VERSION}; run `vae export` again")
    if manifest.take(DIGEST, str) != manifest_digest(content):
        raise _ManifestError(f"is not what its {DIGEST} says; take the bundle anew")
    latent_dim = manifest.take("latent_dim", int)
    tolerance = manifest.entry("tolerance")
    files = tuple(_listed(entry) for entry in manifest.entries("files"))
    models = {role: _model(role, entry, latent_dim) for role, entry in manifest.named("models")}
    if not models:
        raise _ManifestError("lists no model; run `vae export` again")
    mixture = _mixture(manifest.entry(MIXTURE.role), latent_dim) if MIXTURE.role in content else None
    listed = {file.path for file in files}
    for model in [*models.values(), *([mixture] if mixture else [])]:
        for path in (*model.inputs, *model.outputs, *(variant.file for variant in model.variants.values())):
            if path not in listed:
                raise _ManifestError(f"does not list {path} under files; take the bundle anew")
    absolute, relative = (tolerance.number(part) for part in ("absolute", "relative"))
    return Bundle(folder, latent_dim, absolute, relative, models, mixture, files)


def _listed(entry: "_Entry") -> ListedFile:
    return ListedFile(entry.path("path"), entry.take("bytes", int), entry.take("sha256", str))


def _model(role: str, entry: "_Entry", latent_dim: int) -> Model:
    interface = INTERFACES.get(role)
    if interface is None:
        raise _ManifestError(f"lists the model {role!r}, expected {' or '.join(INTERFACES)}")
    _check_tensors(interface, [entry.take("input", str), *entry.take("outputs", list)], latent_dim)
    variants = {
        name: Variant(
            variant.path("file"), None if name == FLOAT32 else variant.entry("budget").number("mean_difference")
        )
        for name, variant in entry.named("variants")
    }
    if FLOAT32 not in variants:
        raise _ManifestError(f"lists no {FLOAT32} variant of the {role}")
    return _with_vectors(interface, entry, variants)


def _mixture(entry: "_Entry", latent_dim: int) -> Model:
    _check_tensors(MIXTURE, [*entry.take("inputs", list), *entry.take("outputs", list)], latent_dim)
    return _with_vectors(MIXTURE, entry, {FLOAT32: Variant(entry.path("file"), None)})


def _check_tensors(interface: Interface, found: list[Any], latent_dim: int) -> None:
    expected = [str(tensor.resolved(latent_dim)) for tensor in (*interface.inputs, *interface.outputs)]
    if found != expected:
        raise _ManifestError(f"says that the {interface.role} has {found}, expected {expected}")


def _with_vectors(interface: Interface, entry: "_Entry", variants: dict[str, Variant]) -> Model:
    folder = entry.path("test_data")
    inputs = tuple(f"{folder}/input_{number}.pb" for number in range(len(interface.inputs)))
    outputs = tuple(f"{folder}/output_{number}.pb" for number in range(len(interface.outputs)))
    return Model(interface, inputs, outputs, variants)


class _Entry:
    """An object of the manifest whose members are taken by name and type."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise _ManifestError(f"needs {where or 'its top'} as an object, found {type(content).__name__}")
        self._content, self._where = content, where

    def take(self, key: str, type_: type[T]) -> T:
        value = self._content.get(key)
        if not isinstance(value, type_) or isinstance(value, bool):
            found = type(value).__name__ if key in self._content else "nothing"
            raise _ManifestError(f"needs {self._name(key)} as {type_.__name__}, found {found}; take the bundle anew")
        return value

    def number(self, key: str) -> float:
        value = self._content.get(key)
        number = float(value) if isinstance(value, int | float) and abs(value) < 1e9 else math.nan
        if not number >= 0:
            raise _ManifestError(f"needs {self._name(key)} as a number from 0 on, found {value!r}")
        return number

    def path(self, key: str) -> str:
        """A POSIX path that does not leave the bundle."""
        path = self.take(key, str)
        parts = PurePosixPath(path)
        if not path.isprintable() or "\\" in path or parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise _ManifestError(f"has {self._name(key)} {path!a}, expected a path within the folder")
        return path

    def entry(self, key: str) -> "_Entry":
        return _Entry(self._content.get(key), self._name(key))

    def entries(self, key: str) -> "list[_Entry]":
        return [_Entry(value, f"{self._name(key)}[{place}]") for place, value in enumerate(self.take(key, list))]

    def named(self, key: str) -> "list[tuple[str, _Entry]]":
        entry = self.entry(key)
        strange = next((name for name in entry._content if not name.isidentifier()), None)
        if strange is not None:
            raise _ManifestError(f"has the name {strange!a} in {self._name(key)}, expected a word")
        return [(name, _Entry(value, entry._name(name))) for name, value in entry._content.items()]

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
