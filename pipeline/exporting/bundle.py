"""A bundle from weights: both halves, scorer, renderer and mixture as ONNX, variants, each proven and described.

convert -> prove float32 -> derive variants -> price them -> fit and prove the mixture -> describe every file
-> vectors -> manifests
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from pipeline import __version__
from pipeline.data.prepared import read_split
from pipeline.exporting.afresh import convert_afresh
from pipeline.exporting.check import (
    BATCH_SIZES,
    OPERATORS,
    QUANTISED_OPERATORS,
    Proof,
    by_keras,
    check_proofs,
    prove,
    refuse,
    structure,
)
from pipeline.exporting.describe import describe_files, digest
from pipeline.exporting.manifest import describe_model, write_manifests
from pipeline.exporting.mixture import MIXTURE_OPERATORS, GaussianMixture, draw_inputs, fit_mixture, write_mixture
from pipeline.exporting.price import BUDGETS, Price, price
from pipeline.exporting.renderer import RENDERER_OPERATORS, prove_renderer
from pipeline.exporting.scorer import SCORER_BUDGETS, SCORER_OPERATORS, ScorerPrice, after_products, price_scorer
from pipeline.exporting.variants import write_fp16, write_int8
from pipeline.exporting.vectors import write_vectors
from pipeline.inference.appearance import Appearance
from pipeline.inference.manifest import Manifest, Tolerance
from pipeline.inference.session import Decoder, Encoder
from pipeline.measures.elbo import Elbo, estimate
from pipeline.shared.interface import (
    DECODER,
    ENCODER,
    FLOAT32,
    HALVES,
    IMAGE_SHAPE,
    IR_VERSION,
    MIXTURE,
    OPSET,
    RENDERER,
    ROLES,
    SCORER,
    VARIANT_FILES,
)
from pipeline.training.scorer import build_scorer
from pipeline.training.weights import latent_dim_of, load_half, read_origin

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from pipeline.params import Export
    from pipeline.shared.interface import Interface

log = logging.getLogger(__name__)

_OF_WHAT = ("model", "train", "sharpen")  # parameters by which a bundle is known, of those that it has

Files = dict[str, dict[str, "Path"]]  # by variant and role


@dataclass(frozen=True)
class Trained:
    """Weights to be exported, read before anything is written."""

    folder: Path
    halves: Mapping[str, keras.Model]
    origin: Mapping[str, Any]


def read_trained(folder: Path) -> Trained:
    """Read what `vae train` wrote to a folder.

    Raises:
        ModelError: a file is missing or damaged.
    """
    return Trained(folder, {role: load_half(folder, role) for role in HALVES}, read_origin(folder))


def write_bundle(
    params: Export,
    trained: Trained,
    prepared: Path,
    folder: Path,
    roles: Mapping[str, Interface],
    without: Collection[str] = (),
) -> dict[str, Any]:
    """Convert and prove the models of each role, derive and price variants, fit a mixture; write all to `folder`.

    Args:
        params: what a converted model is held to.
        trained: what is to be converted.
        prepared: the prepared arrays.
        folder: an empty one.
        roles: what the bundle holds, and where in it.
        without: roles that are made, since the proofs and prices of others need them, but left out in the end.

    Returns:
        The manifest of the whole.

    Raises:
        ExportError: a conversion, a proof or a budget failed; every failure is listed.
    """
    train = np.asarray(read_split(prepared, "train")[0])
    validation, labels = read_split(prepared, "validation")
    validation = np.asarray(validation)
    files = _make_folders(folder, roles)
    scored = SCORER.role in roles
    convert_afresh(trained.folder, files[FLOAT32], [role for role in roles if role != MIXTURE.role])
    tolerance = Tolerance(params.absolute_tolerance, params.relative_tolerance, BATCH_SIZES)
    proofs = _prove(files[FLOAT32], trained, validation, tolerance)
    encoder, decoder = Encoder(files[FLOAT32][ENCODER.role]), Decoder(files[FLOAT32][DECODER.role])
    latents = _draw_latents(encoder, train, params.seed)
    calibration: dict[str, NDArray[Any]] = {ENCODER.role: train, DECODER.role: latents}
    calibration |= {SCORER.role: train} if scored else {}
    _write_variants(files, {role: rows[: params.calibration_images] for role, rows in calibration.items()})
    elbo = estimate(encoder, decoder, validation, samples=1, seed=params.seed)
    prices = {name: price(files[FLOAT32], files[name], validation, params.seed) for name in BUDGETS}
    of_scorer = _price_scorer(files, validation, labels, params.seed) if scored else {}
    _check_prices(prices, elbo)
    held_out = _draw_latents(encoder, validation, params.seed)
    mixture = fit_mixture(encoder(train), held_out, params.mixture_components, params.seed)
    write_mixture(mixture, files[FLOAT32][MIXTURE.role])
    proofs[MIXTURE.role] = _prove_mixture(mixture, files[FLOAT32][MIXTURE.role], tolerance, params.seed)
    about = Manifest(
        latent_dim_of(trained.halves[DECODER.role]),
        tolerance,
        {},
        package_version=__version__,
        data=trained.origin["data"],
        params_sha256=digest({name: trained.origin[name] for name in _OF_WHAT if name in trained.origin}),
        opset=OPSET,
        ir_version=IR_VERSION,
        validation={**elbo.figures(), "images": len(validation)},
    )
    looks = Appearance.of(train).facts()
    own = {
        name: {
            ENCODER.role: looks,
            MIXTURE.role: mixture.figures(),
            SCORER.role: {**looks, **(of_scorer[name].usual.facts() if scored else {})},
        }
        for name in files
    }
    # Of a decoder whose encoder lies elsewhere, and tells of another decoder.
    through = {} if ENCODER.role in without else {FLOAT32: elbo, **{name: one.elbo for name, one in prices.items()}}
    describe_files(files, about, roles, through, own)
    _check_structure(files)
    folders = {role: folder / one.folder for role, one in roles.items()}
    write_vectors(folders, encoder, decoder, mixture, validation, params.seed)
    facts = {MIXTURE.role: mixture.facts()}
    variants = {role: {name: one.variant(name, role) for name, one in prices.items()} for role in HALVES}
    if scored:
        facts[SCORER.role] = of_scorer[FLOAT32].facts()
        variants[SCORER.role] = {name: one.variant(name) for name, one in of_scorer.items()}
    entries = {}
    for role, one in roles.items():
        if role in without:
            shutil.rmtree(folders[role])
        else:
            entries[role] = describe_model(one, proofs[role], variants.get(role, {}), facts.get(role))
    return write_manifests(folder, about, entries)


def _make_folders(folder: Path, roles: Mapping[str, Interface]) -> Files:
    """The path of each file to come."""
    files: Files = {variant: {} for variant in VARIANT_FILES}
    for interface in roles.values():
        (folder / interface.folder).mkdir(parents=True, exist_ok=True)
        for variant in interface.variants:
            files[variant][interface.role] = folder / interface.folder / VARIANT_FILES[variant]
    return files


def _prove(
    files: dict[str, Path],
    trained: Trained,
    validation: NDArray[np.uint8],
    tolerance: Tolerance,
) -> dict[str, Proof]:
    """Proofs of what Keras has, on validation images and their latents; few of them come again."""
    images = np.resize(validation, (max(BATCH_SIZES), *IMAGE_SHAPE))
    latents = np.asarray(trained.halves[ENCODER.role].predict_on_batch(images)["z_mean"])
    proofs = {
        interface.role: prove(
            files[interface.role], interface, by_keras(trained.halves[interface.role]), [tensors], tolerance
        )
        for interface, tensors in ((ENCODER, images), (DECODER, latents))
    }
    proofs[RENDERER.role] = prove_renderer(files[RENDERER.role], trained.folder, latents, tolerance)
    if SCORER.role in files:
        scorer = by_keras(build_scorer(*(trained.halves[role] for role in HALVES)))
        proofs[SCORER.role] = prove(files[SCORER.role], SCORER, scorer, [images], tolerance, SCORER_OPERATORS)
    check_proofs(proofs)
    return proofs


def _draw_latents(encoder: Encoder, images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """One draw from q(z|x) of each image."""
    z_mean, z_log_var = encoder(images)
    noise = np.random.default_rng(seed).standard_normal(z_mean.shape, np.float32)
    return (z_mean + np.exp(z_log_var / 2) * noise).astype(np.float32, copy=False)


def _write_variants(files: Files, calibration: Mapping[str, NDArray[np.generic]]) -> None:
    """int8, calibrated on training images and on draws of their latents, and fp16."""
    for role, tensors in calibration.items():
        exact = files[FLOAT32][role]
        write_int8(exact, files["int8"][role], ROLES[role].input.name, tensors)
        write_fp16(exact, files["fp16"][role], after_products(onnx.load(exact)) if role == SCORER.role else ())


def _check_prices(prices: dict[str, Price], exact: Elbo) -> None:
    for name, found in prices.items():
        cost = found.elbo.negative_elbo - exact.negative_elbo
        log.info("%s: costs %+.3f nats of negative ELBO on the validation images", name, cost)
    refuse([failure for name, found in prices.items() for failure in found.failures(name, BUDGETS[name], exact)])


def _price_scorer(
    files: Files, validation: NDArray[np.uint8], labels: NDArray[np.uint8] | None, seed: int
) -> dict[str, ScorerPrice]:
    scorers = {name: of_variant[SCORER.role] for name, of_variant in files.items()}
    prices = price_scorer(scorers, validation, None if labels is None else np.asarray(labels), seed)
    exact = prices[FLOAT32]
    log.info("area under the curve of the scorer: %.4f, mean over corruptions", exact.area_under_curve)
    refuse([failure for name in SCORER_BUDGETS for failure in prices[name].failures(name, exact)])
    return prices


def _prove_mixture(mixture: GaussianMixture, file: Path, tolerance: Tolerance, seed: int) -> Proof:
    """Against NumPy and ONNX's evaluator."""
    by_numpy = {"numpy": lambda *batch: {"z": mixture.sample(*batch)}}
    tensors = draw_inputs(mixture.latent_dim, max(BATCH_SIZES), seed)
    proof = prove(file, MIXTURE, by_numpy, tensors, tolerance, MIXTURE_OPERATORS)
    check_proofs({MIXTURE.role: proof})
    nats = mixture.log_likelihood
    log.info("log-likelihood of validation latents: mixture %.3f nats, prior %.3f", nats["mixture"], nats["prior"])
    return proof


_OPERATORS = {
    MIXTURE.role: MIXTURE_OPERATORS,
    RENDERER.role: RENDERER_OPERATORS,
    SCORER.role: SCORER_OPERATORS | QUANTISED_OPERATORS,
}


def _check_structure(files: Files) -> None:
    allowed = {"int8": QUANTISED_OPERATORS}
    refuse(
        [
            f"{variant} {role}: {failure}"
            for variant, roles in files.items()
            for role, file in roles.items()
            for failure in structure(file, _OPERATORS.get(role) or allowed.get(variant, OPERATORS))
        ]
    )
