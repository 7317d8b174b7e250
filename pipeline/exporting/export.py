"""Stage `export`: both halves as ONNX, written only when every proof holds."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import read_split, read_stats
from pipeline.errors import ExportError
from pipeline.exporting.check import BATCH_SIZES, Proof, Tolerance, prove
from pipeline.files import atomic_folder, explained, sha256, write_json
from pipeline.interface import DECODER, ENCODER, INTERFACES, IR_VERSION, MODEL_FILE, OPSET, Interface
from pipeline.training.device import prepare_device
from pipeline.training.weights import latent_dim_of, load_half

if TYPE_CHECKING:
    from pipeline.params import Export

log = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1


def export(params: Export, models: Path, prepared: Path, exports: Path) -> dict[str, Any]:
    """Convert and prove encoder and decoder, then write them and `manifest.json` to `exports`.

    Returns:
        The manifest.

    Raises:
        ExportError: a conversion or a proof failed; every failure is listed and no file is written.
    """
    prepare_device()
    tolerance = Tolerance(params.absolute_tolerance, params.relative_tolerance)
    with explained(exports):
        exports.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".export.", dir=exports))
    try:
        files = {role: scratch / f"{role}.onnx" for role in INTERFACES}
        _convert(models, files)
        proofs = _prove(files, models, prepared, tolerance)
        failures = [f"{role}: {failure}" for role, proof in proofs.items() for failure in proof.failures]
        if failures:
            raise ExportError(
                "\n- ".join([f"the export failed {len(failures)} check(s); nothing was written", *failures])
            )
        for role, file in files.items():
            with atomic_folder(exports / role, owns=[MODEL_FILE]) as beside:
                shutil.copyfile(file, beside / MODEL_FILE)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    manifest = _manifest(
        exports, read_stats(prepared), latent_dim_of(load_half(models, ENCODER.role)), proofs, tolerance
    )
    write_json(exports / MANIFEST_FILE, manifest)
    return manifest


def _convert(models: Path, files: dict[str, Path]) -> None:
    """Run the two conversions side by side, each in a fresh process."""
    children = {
        role: subprocess.Popen(
            [sys.executable, "-m", "pipeline.exporting.convert", str(models), role, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for role, file in files.items()
    }
    outputs = {role: child.communicate()[0] for role, child in children.items()}
    failed = [f"{role}: {_last_line(outputs[role])}" for role, child in children.items() if child.returncode]
    if failed:
        raise ExportError("\n- ".join(["the conversion failed; nothing was written", *failed]))


def _last_line(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.strip()), "no message")


def _prove(files: dict[str, Path], models: Path, prepared: Path, tolerance: Tolerance) -> dict[str, Proof]:
    """Both proofs, on real validation digits and on their latents."""
    images, _ = read_split(prepared, "validation")
    if len(images) < max(BATCH_SIZES):
        raise ExportError(
            f"the proof needs {max(BATCH_SIZES)} validation digits, found {len(images)}; "
            "raise prepare.validation_images"
        )
    digits = np.asarray(images[: max(BATCH_SIZES)])
    encoder, decoder = (load_half(models, interface.role) for interface in (ENCODER, DECODER))
    latents = np.asarray(encoder.predict_on_batch(digits)["z_mean"])
    proofs = {}
    for interface, half, tensors in ((ENCODER, encoder, digits), (DECODER, decoder, latents)):
        proofs[interface.role] = prove(files[interface.role], interface, half, tensors, tolerance)
        log.info("%s: largest differences %s", interface.role, proofs[interface.role].largest_difference)
    return proofs


def _manifest(
    exports: Path, data: dict[str, Any], latent_dim: int, proofs: dict[str, Proof], tolerance: Tolerance
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "data": {"source": data["source"], "files": data["files"]},
        "latent_dim": latent_dim,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "tolerance": {
            "absolute": tolerance.absolute,
            "relative": tolerance.relative,
            "batch_sizes": list(BATCH_SIZES),
        },
        "models": {role: _entry(exports, INTERFACES[role], latent_dim, proof) for role, proof in proofs.items()},
    }


def _entry(exports: Path, interface: Interface, latent_dim: int, proof: Proof) -> dict[str, Any]:
    path = exports / interface.role / MODEL_FILE
    return {
        "file": path.relative_to(exports).as_posix(),
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "input": str(interface.input.resolved(latent_dim)),
        "outputs": [str(output.resolved(latent_dim)) for output in interface.outputs],
        "largest_difference": proof.largest_difference,
    }
