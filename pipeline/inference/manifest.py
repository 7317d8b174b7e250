"""manifest.json: what a bundle holds, how it was proven and where it comes from, read and written in one place.

Its schema for other programs is docs/manifest.schema.json. `exports/` is a bundle, and so is each half by itself;
paths are relative to the folder of the manifest.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import BundleError
from pipeline.inference.strict_json import ContentError, Object
from pipeline.shared.files import write_json
from pipeline.shared.interface import (
    FLOAT32,
    MANIFEST_FILE,
    ROLES,
    SCHEMA_VERSION,
    TEST_DATA,
    Interface,
    test_data,
)

DIGEST = "manifest_sha256"
Differences = Mapping[str, Any]


@dataclass(frozen=True)
class ListedFile:
    """A file of the bundle."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Budget:
    """What a variant may cost at most."""

    negative_elbo: float | None
    """Nats above float32, both halves being of the variant."""
    mean_difference: float
    """Of any output."""
    area_under_curve: float | None = None
    """Of a scorer: below float32."""


@dataclass(frozen=True)
class Variant:
    """One file of a model; a variant other than float32 may differ from the test vectors by its budget."""

    file: str
    largest_difference: Differences = field(default_factory=dict)
    mean_difference: Differences | None = None
    negative_elbo: float | None = None
    area_under_curve: float | None = None
    """Of a scorer, between validation images and what corruptions make of them: the mean over these."""
    budget: Budget | None = None


@dataclass(frozen=True)
class Entry:
    """One model of the bundle: its test vectors and the files that compute it."""

    interface: Interface
    test_data: tuple[str, ...]
    """Folders of test vectors, one or more."""
    variants: Mapping[str, Variant]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is said of it."""

    @property
    def vectors(self) -> tuple[tuple[str, ...], ...]:
        """The files of each set of test vectors: inputs, then outputs, in the order of the interface."""
        tensors = {"input": self.interface.inputs, "output": self.interface.outputs}
        names = [f"{kind}_{number}.pb" for kind, some in tensors.items() for number in range(len(some))]
        return tuple(tuple(f"{folder}/{name}" for name in names) for folder in self.test_data)

    def moved(self, prefix: str) -> "Entry":
        """The same with paths from a folder above."""
        variants = {name: replace(one, file=prefix + one.file) for name, one in self.variants.items()}
        return replace(self, test_data=tuple(prefix + folder for folder in self.test_data), variants=variants)


@dataclass(frozen=True)
class Tolerance:
    """`|found - expected| <= absolute + relative * |expected|` must hold for every element."""

    absolute: float
    relative: float
    batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a manifest says; older ones may lack what is None here."""

    latent_dim: int
    tolerance: Tolerance
    """Within which the float32 models reproduce their test vectors."""
    models: Mapping[str, Entry]
    files: tuple[ListedFile, ...] = ()
    package_version: str | None = None
    data: Mapping[str, Any] | None = None
    params_sha256: str | None = None
    opset: int | None = None
    ir_version: int | None = None
    validation: Mapping[str, Any] | None = None

    def checksums(self, folder: Path) -> dict[Path, str]:
        """The SHA-256 of each file that it lists, by its path, where it lies in `folder`."""
        return {folder / file.path: file.sha256 for file in self.files}


def manifest_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own entry for it, as JSON with sorted keys and no spaces."""
    rest = {key: value for key, value in content.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Write `manifest.json` into `folder`; returns its content."""
    content = _without_none(
        {
            "schema_version": SCHEMA_VERSION,
            "package_version": manifest.package_version,
            "data": manifest.data,
            "params_sha256": manifest.params_sha256,
            "latent_dim": manifest.latent_dim,
            "opset": manifest.opset,
            "ir_version": manifest.ir_version,
            "validation": manifest.validation,
            "tolerance": asdict(manifest.tolerance),
            "models": {
                role: _listed_model(entry, manifest.latent_dim)
                for role, entry in manifest.models.items()
                if not entry.interface.apart
            },
            "files": [asdict(file) for file in manifest.files],
            **{
                role: _listed_apart(entry, manifest.latent_dim)
                for role, entry in manifest.models.items()
                if entry.interface.apart
            },
        }
    )
    content[DIGEST] = manifest_digest(content)
    write_json(folder / MANIFEST_FILE, content)
    return content


def _listed_model(entry: Entry, latent_dim: int) -> dict[str, Any]:
    inputs, outputs = _tensors(entry.interface, latent_dim)
    return {
        **({"input": inputs[0]} if len(inputs) == 1 else {"inputs": inputs}),
        "outputs": outputs,
        "test_data": entry.test_data[0],
        "variants": {name: _listed_variant(variant) for name, variant in entry.variants.items()},
        **entry.facts,
    }


def _listed_variant(variant: Variant) -> dict[str, Any]:
    budget = {} if variant.budget is None else {"budget": _without_none(asdict(variant.budget))}
    return {**_without_none(asdict(replace(variant, budget=None))), **budget}


def _listed_apart(entry: Entry, latent_dim: int) -> dict[str, Any]:
    inputs, outputs = _tensors(entry.interface, latent_dim)
    variant = entry.variants[FLOAT32]
    return {
        "file": variant.file,
        "inputs": inputs,
        "outputs": outputs,
        "test_data": entry.test_data[0],
        **entry.facts,
        "largest_difference": variant.largest_difference,
    }


def _tensors(interface: Interface, latent_dim: int) -> tuple[list[str], list[str]]:
    inputs, outputs = (
        [str(tensor.resolved(latent_dim)) for tensor in tensors] for tensors in (interface.inputs, interface.outputs)
    )
    return inputs, outputs


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle strictly.

    Raises:
        BundleError: there is none, or it is not of a schema that this release knows.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(f"{path} was not found; expected a folder that `vae export` wrote")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}; download the bundle again") from error
    try:
        return _manifest(content)
    except ContentError as error:
        raise BundleError(f"{path} {error}") from error


def _manifest(content: Any) -> Manifest:
    top = Object(content, "")
    version = top.take("schema_version", int)
    if version > SCHEMA_VERSION:
        raise ContentError(
            f"has the schema {version}, this release knows {SCHEMA_VERSION}; install a newer release of the package"
        )
    if version != SCHEMA_VERSION:
        raise ContentError(f"has the schema {version}, expected {SCHEMA_VERSION}; run `vae export` again")
    if top.take(DIGEST, str) != manifest_digest(content):
        raise ContentError(f"is not what its {DIGEST} says; download the bundle again")
    latent_dim = top.take("latent_dim", int)
    tolerance = top.object("tolerance")
    sizes = tolerance.get("batch_sizes")
    files = tuple(
        ListedFile(entry.path("path"), entry.take("bytes", int), entry.take("sha256", str))
        for entry in top.objects("files")
    )
    models = {role: _model(role, entry, latent_dim) for role, entry in top.named("models")}
    models |= {
        role: _model_apart(interface, top.object(role), latent_dim)
        for role, interface in ROLES.items()
        if interface.apart and role in content
    }
    if not models:
        raise ContentError("lists no model; run `vae export` again")
    listed = {file.path for file in files}
    models = {role: replace(entry, test_data=_all_sets(entry.test_data[0], listed)) for role, entry in models.items()}
    for entry in models.values():
        for path in (*itertools.chain(*entry.vectors), *(variant.file for variant in entry.variants.values())):
            if path not in listed:
                raise ContentError(f"does not list {path} under files; download the bundle again")
    return Manifest(
        latent_dim,
        Tolerance(
            tolerance.number("absolute"), tolerance.number("relative"), tuple(sizes) if isinstance(sizes, list) else ()
        ),
        models,
        files,
        **{
            key: top.get(key)
            for key in ("package_version", "data", "params_sha256", "opset", "ir_version", "validation")
        },
    )


def _model(role: str, entry: Object, latent_dim: int) -> Entry:
    interface = ROLES.get(role)
    known = [name for name, one in ROLES.items() if not one.apart]
    if interface is None or interface.apart:
        raise ContentError(f"lists the model {role!r}, expected {' or '.join(known)}")
    inputs = [entry.take("input", str)] if len(interface.inputs) == 1 else entry.take("inputs", list)
    _check_tensors(interface, [*inputs, *entry.take("outputs", list)], latent_dim)
    variants = {name: _variant(name, variant) for name, variant in entry.named("variants")}
    if FLOAT32 not in variants:
        raise ContentError(f"lists no {FLOAT32} variant of the {role}")
    said = ("input", "inputs", "outputs", "test_data", "variants")
    return Entry(interface, (entry.path("test_data"),), variants, _facts(entry, said))


def _facts(entry: Object, said: Collection[str]) -> dict[str, Any]:
    """What an entry says besides what each does."""
    return {key: value for key, value in entry.content.items() if key not in said}


def _all_sets(first: str, listed: Collection[str]) -> tuple[str, ...]:
    """The first folder of test vectors, and those beside it with the next numbers, as far as they are listed."""
    folders = (f"{first.removesuffix(TEST_DATA)}{test_data(number)}" for number in itertools.count(1))
    if not first.endswith(TEST_DATA):
        return (first,)
    return (first, *itertools.takewhile(lambda folder: f"{folder}/input_0.pb" in listed, folders))


def _variant(name: str, entry: Object) -> Variant:
    budget = None
    if name != FLOAT32:
        limits = entry.object("budget")
        area = _number_if_any(limits, "area_under_curve")
        budget = Budget(limits.get("negative_elbo"), limits.number("mean_difference"), area)
    return Variant(
        entry.path("file"),
        entry.get("largest_difference") or {},
        entry.get("mean_difference"),
        entry.get("negative_elbo"),
        _number_if_any(entry, "area_under_curve"),
        budget,
    )


def _number_if_any(entry: Object, key: str) -> float | None:
    return entry.number(key) if key in entry.content else None


def _model_apart(interface: Interface, entry: Object, latent_dim: int) -> Entry:
    _check_tensors(interface, [*entry.take("inputs", list), *entry.take("outputs", list)], latent_dim)
    file, test_data = entry.path("file"), entry.path("test_data")
    said = ("file", "inputs", "outputs", "test_data", "largest_difference")
    variants = {FLOAT32: Variant(file, entry.get("largest_difference") or {})}
    return Entry(interface, (test_data,), variants, _facts(entry, said))


def _check_tensors(interface: Interface, found: list[Any], latent_dim: int) -> None:
    inputs, outputs = _tensors(interface, latent_dim)
    if found != [*inputs, *outputs]:
        raise ContentError(f"says that the {interface.role} has {found}, expected {[*inputs, *outputs]}")
