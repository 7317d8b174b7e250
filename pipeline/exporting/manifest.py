"""manifest.json: what a bundle holds, how it was proven and where it comes from. Its schema: docs/manifest.schema.json.

`exports/` is a bundle, and so is each half by itself; the same manifest is written for each, with paths from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.exporting.check import BATCH_SIZES, Proof, Tolerance
from pipeline.exporting.price import BUDGETS, Price
from pipeline.inference.bundle import DIGEST, manifest_digest
from pipeline.shared.files import sha256, write_json
from pipeline.shared.interface import (
    DECODER,
    INTERFACES,
    IR_VERSION,
    MANIFEST_FILE,
    MIXTURE,
    MODEL_FILE,
    OPSET,
    SCHEMA_VERSION,
    TEST_DATA,
    VARIANT_FILES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.exporting.mixture import Mixture
    from pipeline.measures.elbo import Elbo


def write_manifests(
    bundle: Path, common: Mapping[str, Any], models: Mapping[str, Any], mixture: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the manifest of each half, then that of the whole, which lists the others; returns the last.

    Args:
        bundle: holds a folder per role.
        common: what is said of both halves.
        models: per role what `describe_model` gives, with paths within the folder of that role.
        mixture: what `describe_mixture` gives; it lies in the folder of the decoder.
    """
    for role, about in models.items():
        _write(bundle / role, common, {role: about}, mixture if role == DECODER.role else None)
    whole = {role: _moved(about, f"{role}/") for role, about in models.items()}
    return _write(bundle, common, whole, _moved(mixture, f"{DECODER.role}/"))


def describe_common(
    latent_dim: int, data: Mapping[str, Any], params_sha256: str, elbo: Elbo, images: int, tolerance: Tolerance
) -> dict[str, Any]:
    """What is said of both halves."""
    return {
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        "data": dict(data),
        "params_sha256": params_sha256,
        "latent_dim": latent_dim,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "validation": {**elbo.figures(), "images": images},
        "tolerance": {
            "absolute": tolerance.absolute,
            "relative": tolerance.relative,
            "batch_sizes": list(BATCH_SIZES),
        },
    }


def describe_model(role: str, latent_dim: int, proof: Proof, prices: Mapping[str, Price]) -> dict[str, Any]:
    """Interface, proof and variants of one half."""
    interface = INTERFACES[role]
    variants: dict[str, Any] = {
        "float32": {"file": VARIANT_FILES["float32"], "largest_difference": proof.largest_difference}
    }
    for name, price in prices.items():
        variants[name] = {
            "file": VARIANT_FILES[name],
            "largest_difference": price.largest_difference[role],
            "mean_difference": price.mean_difference[role],
            "negative_elbo": price.elbo.figures()["negative_elbo"],
            "budget": {
                "negative_elbo": BUDGETS[name].negative_elbo,
                "mean_difference": BUDGETS[name].mean_difference(role),
            },
        }
    return {
        "input": str(interface.input.resolved(latent_dim)),
        "outputs": [str(output.resolved(latent_dim)) for output in interface.outputs],
        "test_data": TEST_DATA,
        "variants": variants,
    }


def describe_mixture(mixture: Mixture, proof: Proof) -> dict[str, Any]:
    """Interface, proof and figures of the mixture."""
    components, latent_dim = mixture.means.shape
    return {
        "file": f"{MIXTURE.role}/{MODEL_FILE}",
        "inputs": [str(tensor.resolved(latent_dim)) for tensor in MIXTURE.inputs],
        "outputs": [str(tensor.resolved(latent_dim)) for tensor in MIXTURE.outputs],
        "test_data": f"{MIXTURE.role}/{TEST_DATA}",
        "components": components,
        "log_likelihood": {name: round(nats, 4) for name, nats in mixture.log_likelihood.items()},
        "largest_difference": proof.largest_difference,
    }


def _moved(about: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The same with paths from above."""
    moved = {**about, **{key: prefix + about[key] for key in ("file", "test_data") if key in about}}
    if "variants" in about:
        moved["variants"] = {name: _moved(variant, prefix) for name, variant in about["variants"].items()}
    return moved


def _write(
    folder: Path, common: Mapping[str, Any], models: Mapping[str, Any], mixture: Mapping[str, Any] | None
) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / MANIFEST_FILE)
    listed = [
        {"path": file.relative_to(folder).as_posix(), "bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in files
    ]
    manifest = {**common, "models": dict(models), "files": listed}
    if mixture is not None:
        manifest[MIXTURE.role] = dict(mixture)
    manifest[DIGEST] = manifest_digest(manifest)
    write_json(folder / MANIFEST_FILE, manifest)
    return manifest
