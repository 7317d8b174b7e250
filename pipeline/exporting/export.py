"""Stage `export`: both halves as ONNX with their variants, and a mixture; written only when every proof holds.

convert -> prove float32 -> derive variants -> price them -> fit and prove the mixture -> describe every file
-> manifests -> put in place
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from pipeline import __version__
from pipeline.data.prepared import read_split
from pipeline.errors import ExportError
from pipeline.exporting.check import (
    BATCH_SIZES,
    OPERATORS,
    QUANTISED_OPERATORS,
    Proof,
    Tolerance,
    by_keras,
    prove,
    structure,
)
from pipeline.exporting.describe import count_operations, describe, write_vectors
from pipeline.exporting.manifest import describe_common, describe_mixture, describe_model, write_manifests
from pipeline.exporting.mixture import MIXTURE_OPERATORS, Mixture, fit_mixture, write_mixture
from pipeline.exporting.price import BUDGETS, Price, price
from pipeline.exporting.variants import write_fp16, write_int8
from pipeline.inference.session import Decoder, Encoder
from pipeline.measures.elbo import Elbo, estimate
from pipeline.shared.files import atomic_folder, explained
from pipeline.shared.interface import (
    DECODER,
    ENCODER,
    INTERFACES,
    MANIFEST_FILE,
    MIXTURE,
    MODEL_FILE,
    OPERATIONS,
    TEST_DATA,
    VARIANT_FILES,
    Interface,
)
from pipeline.training.device import prepare_device
from pipeline.training.weights import latent_dim_of, load_half, read_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras
    from numpy.typing import NDArray

    from pipeline.params import Export

log = logging.getLogger(__name__)

_VECTORS = 64  # rows of the test vectors
_EXACT = "float32"


def export(params: Export, models: Path, prepared: Path, exports: Path) -> dict[str, Any]:
    """Convert and prove both halves, derive and price their variants, fit a mixture; write the bundle to `exports`.

    Returns:
        The manifest of the whole.

    Raises:
        ExportError: a conversion, a proof or a budget failed; every failure is listed and no file is written.
    """
    prepare_device(exact=True)
    origin = read_origin(models)
    halves = {role: load_half(models, role) for role in INTERFACES}
    train, validation = (np.asarray(read_split(prepared, split)[0]) for split in ("train", "validation"))
    if len(validation) < max(BATCH_SIZES):
        raise ExportError(
            f"the proof needs {max(BATCH_SIZES)} validation digits, found {len(validation)}; "
            "raise prepare.validation_images"
        )
    with explained(exports):
        exports.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".export.", dir=exports))
    try:
        files = _make_folders(scratch)
        _convert(models, files[_EXACT])
        tolerance = Tolerance(params.absolute_tolerance, params.relative_tolerance)
        proofs = _prove(files[_EXACT], halves, validation, tolerance)
        encoder = Encoder(files[_EXACT][ENCODER.role])
        latents = _draw_latents(encoder, train, params.seed)
        _write_variants(files, train[: params.calibration_images], latents[: params.calibration_images])
        elbo = estimate(*_open(files[_EXACT]), validation, samples=1, seed=params.seed)
        prices = {name: price(files[_EXACT], files[name], validation, params.seed) for name in BUDGETS}
        _check_prices(prices, elbo)
        mixture_file = scratch / DECODER.role / MIXTURE.role / MODEL_FILE
        held_out = _draw_latents(encoder, validation, params.seed)
        mixture = fit_mixture(latents, held_out, params.mixture_components, params.seed)
        mixture_proof = _write_mixture(mixture, mixture_file, tolerance, params.seed)
        latent_dim = latent_dim_of(halves[DECODER.role])
        params_sha256 = _digest({name: origin[name] for name in ("model", "train")})
        origins = {
            "latent_dim": str(latent_dim),
            "data_source": origin["data"]["source"],
            "data_sha256": _digest(origin["data"]["files"]),
            "params_sha256": params_sha256,
        }
        operations = {role: sum(count_operations(onnx.load(file)).values()) for role, file in files[_EXACT].items()}
        for variant, roles in files.items():
            through = (elbo if variant == _EXACT else prices[variant].elbo).negative_elbo
            for role, file in roles.items():
                figures = {OPERATIONS: str(operations[role]), "validation_negative_elbo": f"{through:.4f}"}
                _describe(file, INTERFACES[role], latent_dim, origins | figures | {"variant": variant})
        _describe(mixture_file, MIXTURE, latent_dim, origins | mixture.figures())
        _check_structure(files)
        _write_vectors(scratch, files[_EXACT], validation, params.seed)
        common = describe_common(latent_dim, origin["data"], params_sha256, elbo, len(validation), tolerance)
        about = {role: describe_model(role, latent_dim, proofs[role], prices) for role in INTERFACES}
        manifest = write_manifests(scratch, common, about, describe_mixture(mixture, mixture_proof))
        _put_in_place(scratch, exports)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _make_folders(scratch: Path) -> dict[str, dict[str, Path]]:
    """The path of each file to come, by variant and role."""
    for role in INTERFACES:
        (scratch / role).mkdir()
    return {variant: {role: scratch / role / name for role in INTERFACES} for variant, name in VARIANT_FILES.items()}


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
    _raise_if([f"{role}: {_last_line(outputs[role])}" for role, child in children.items() if child.returncode])


def _raise_if(failures: Sequence[str]) -> None:
    if failures:
        heading = f"the export failed {len(failures)} check(s); nothing was written"
        raise ExportError("\n- ".join([heading, *failures]))


def _last_line(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.strip()), "no message")


def _open(files: dict[str, Path]) -> tuple[Encoder, Decoder]:
    return Encoder(files[ENCODER.role]), Decoder(files[DECODER.role])


def _prove(
    files: dict[str, Path], halves: dict[str, keras.Model], validation: NDArray[np.uint8], tolerance: Tolerance
) -> dict[str, Proof]:
    """Both proofs, on real validation digits and on their latents."""
    digits = validation[: max(BATCH_SIZES)]
    latents = np.asarray(halves[ENCODER.role].predict_on_batch(digits)["z_mean"])
    proofs = {
        interface.role: prove(files[interface.role], interface, by_keras(halves[interface.role]), [tensors], tolerance)
        for interface, tensors in ((ENCODER, digits), (DECODER, latents))
    }
    _check_proofs(proofs)
    return proofs


def _check_proofs(proofs: dict[str, Proof]) -> None:
    for role, proof in proofs.items():
        for peer, outputs in proof.largest_difference.items():
            shown = ", ".join(f"{name} {value:.1e}" for name, value in outputs.items())
            log.info("%s: largest difference from %s: %s", role, peer, shown)
    _raise_if([f"{role}: {failure}" for role, proof in proofs.items() for failure in proof.failures])


def _draw_latents(encoder: Encoder, digits: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """One draw from q(z|x) of each digit."""
    z_mean, z_log_var = encoder(digits)
    noise = np.random.default_rng(seed).standard_normal(z_mean.shape, np.float32)
    return (z_mean + np.exp(z_log_var / 2) * noise).astype(np.float32, copy=False)


def _write_variants(files: dict[str, dict[str, Path]], digits: NDArray[np.uint8], latents: NDArray[np.float32]) -> None:
    """int8, calibrated on training digits and on draws of their latents, and fp16."""
    for interface, tensors in ((ENCODER, digits), (DECODER, latents)):
        exact = files[_EXACT][interface.role]
        write_int8(exact, files["int8"][interface.role], interface.input.name, tensors)
        write_fp16(exact, files["fp16"][interface.role])


def _check_prices(prices: dict[str, Price], exact: Elbo) -> None:
    for name, found in prices.items():
        cost = found.elbo.negative_elbo - exact.negative_elbo
        log.info("%s: costs %+.3f nats of negative ELBO on the validation digits", name, cost)
    _raise_if([failure for name, found in prices.items() for failure in found.failures(name, BUDGETS[name], exact)])


def _write_mixture(mixture: Mixture, file: Path, tolerance: Tolerance, seed: int) -> Proof:
    """The file and its test vectors, proven against NumPy and ONNX's evaluator."""
    file.parent.mkdir()
    write_mixture(mixture, file)
    generator = np.random.default_rng(seed)
    rows, latent_dim = max(BATCH_SIZES), mixture.means.shape[1]
    tensors = [generator.random(rows, np.float32), generator.standard_normal((rows, latent_dim), np.float32)]
    by_numpy = {"numpy": lambda *batch: {"z": mixture.sample(*batch)}}
    proof = prove(file, MIXTURE, by_numpy, tensors, tolerance, MIXTURE_OPERATORS)
    _check_proofs({MIXTURE.role: proof})
    nats = mixture.log_likelihood
    log.info("mixture: %.3f nats per latents of a validation digit, prior %.3f", nats["mixture"], nats["prior"])
    vectors = [tensor[:_VECTORS] for tensor in tensors]
    write_vectors(file.parent / TEST_DATA, MIXTURE, vectors, [mixture.sample(*vectors)])
    return proof


def _describe(file: Path, interface: Interface, latent_dim: int, facts: dict[str, str]) -> None:
    tensors = [tensor.resolved(latent_dim) for tensor in (*interface.inputs, *interface.outputs)]
    meanings = {f"meaning_of_{tensor.name}": f"{tensor}: {tensor.meaning}" for tensor in tensors}
    describe(file, interface, {"role": interface.role, "package_version": __version__, **facts, **meanings})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_structure(files: dict[str, dict[str, Path]]) -> None:
    failures = []
    for variant, roles in files.items():
        allowed = QUANTISED_OPERATORS if variant == "int8" else OPERATORS
        failures += [
            f"{variant} {role}: {failure}" for role, file in roles.items() for failure in structure(file, allowed)
        ]
    _raise_if(failures)


def _write_vectors(scratch: Path, files: dict[str, Path], validation: NDArray[np.uint8], seed: int) -> None:
    """Real digits for the encoder, seeded draws from the prior for the decoder."""
    encoder, decoder = _open(files)
    digits = validation[:_VECTORS]
    z = np.random.default_rng(seed).standard_normal((_VECTORS, decoder.latent_dim), np.float32)
    for interface, inputs, outputs in ((ENCODER, digits, encoder(digits)), (DECODER, z, (decoder(z),))):
        write_vectors(scratch / interface.role / TEST_DATA, interface, [inputs], outputs)


def _put_in_place(scratch: Path, exports: Path) -> None:
    for role in INTERFACES:
        with atomic_folder(exports / role, owns=["*.onnx", MANIFEST_FILE, TEST_DATA, MIXTURE.role]) as beside:
            shutil.copytree(scratch / role, beside, dirs_exist_ok=True)
    (scratch / MANIFEST_FILE).replace(exports / MANIFEST_FILE)
