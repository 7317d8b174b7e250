"""Stage `sharpen`: a second decoder, taught by a discriminator, as a bundle of its own beside the first."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import read_about, read_split
from pipeline.errors import ModelError, ParamsError
from pipeline.exporting.bundle import Trained, read_trained, write_bundle
from pipeline.inference.bundle import open_bundle
from pipeline.inference.mixture import Mixture
from pipeline.measures.judge import open_judge
from pipeline.measures.samples import NEIGHBOURS, Comparison
from pipeline.shared.files import atomic_folder, refuse_foreign
from pipeline.shared.interface import (
    AT_GENERATOR,
    DECODER,
    ENCODER,
    MANIFEST_FILE,
    MIXTURE,
    RENDERER,
    TEST_DATA,
)
from pipeline.training.device import prepare_device, share_heap
from pipeline.training.sharpen import fit_generator
from pipeline.training.weights import load_half, save_half

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.measures.judge import Judge
    from pipeline.params import Export, Sharpen

    Floats = NDArray[np.float32]
    Pixels = NDArray[np.uint8]

CARD_FILE = "README.md"
_OWN = ("*.onnx", MANIFEST_FILE, CARD_FILE, f"{TEST_DATA[:-1]}*", ENCODER.role, MIXTURE.role, RENDERER.role)
_DRAWN = 100_000  # latents to learn from; then they come again
_COMPARED = 5_000  # validation images at most


def sharpen(
    params: Sharpen,
    export: Export,
    models: Path,
    exports: Path,
    prepared: Path,
    judge: Path,
    folder: Path,
    report: Path,
    verbose: int | str = "auto",
) -> dict[str, Any]:
    """Train a generator and write it to `folder`, with all that the decoder of a bundle has, and a card.

    It takes the latents of the encoder in `exports`, and learns to decode draws from the mixture there. If the encoder
    is trained too, it learns from draws of N(0, I), and its bundle gets an encoder and a mixture of its own.

    Args:
        params: how it is fitted.
        export: what a converted model is held to.
        models: the trained weights, from which it starts.
        exports: the bundle of these.
        prepared: the prepared arrays.
        judge: the folder of the judge, by which the epoch is chosen.
        folder: where the bundle goes; what a killed run resumes from lies beside it.
        report: where DVCLive logs each epoch.
        verbose: progress of `fit`, as Keras counts it.

    Returns:
        What `fit_generator` returns, and the `manifest` of the bundle.

    Raises:
        ParamsError: an encoder that is frozen and never was trained.
        BundleError: `exports` is damaged.
        ModelError: `exports` was not made of `models`.
        TrainingError: a loss is not finite, or one network left the other behind.
        ExportError: a conversion, a proof or a budget failed.
        OutputError: `folder` or `report` holds something else.
    """
    if params.encoder == "frozen" and params.start == "nothing":
        raise ParamsError("sharpen.start is nothing, but sharpen.encoder frozen: set it to trained, or start trained")
    refuse_foreign(folder, owns=_OWN)
    share_heap()
    prepare_device()
    trained, bundle = read_trained(models), open_bundle(exports)
    if (
        bundle.data != trained.origin["data"]
        or bundle.latent_dim != trained.halves[ENCODER.role].output["z_mean"].shape[-1]
    ):
        raise ModelError(f"{exports} was not exported from {models}; run `vae export` again")
    train, validation = (np.asarray(read_split(prepared, split)[0]) for split in ("train", "validation"))
    draw = _sampler(params, exports, bundle.latent_dim)
    judged_by, _ = open_judge(judge)
    partial = folder.with_name(f".{folder.name}.partial")
    weights = partial / "weights"
    chosen = fit_generator(
        params,
        (trained.halves[ENCODER.role], trained.halves[DECODER.role]),
        train,
        draw(_DRAWN, 0),
        _score(judged_by, validation, draw),
        weights,
        report,
        {"data": trained.origin["data"], "judge": None if judged_by is None else judged_by.sha256},
        verbose,
    )
    prepare_device(exact=True)
    own = params.encoder == "trained"
    if not own:
        save_half(trained.halves[ENCODER.role], weights)
    halves = {role: load_half(weights, role) for role in trained.halves}
    origin = {**trained.origin, **({"sharpen": params.model_dump(mode="json")} if own else {})}
    sharpened = Trained(weights, halves, origin)
    with atomic_folder(folder, owns=_OWN) as beside:
        manifest = write_bundle(export, sharpened, prepared, beside, AT_GENERATOR, () if own else (ENCODER.role,))
        (beside / CARD_FILE).write_text(_card(read_about(prepared).noun, manifest, chosen, own=own), encoding="utf-8")
    shutil.rmtree(partial)
    return {**chosen, "manifest": manifest}


def _sampler(params: Sharpen, exports: Path, latent_dim: int) -> Callable[[int, int], Floats]:
    """Draws so many latents, float32 `[n, latent_dim]`, as images will be drawn; each number has its own."""
    mixture = Mixture(exports / MIXTURE.folder) if params.encoder == "frozen" else None

    def draw(count: int, number: int) -> Floats:
        generator = np.random.default_rng([params.seed, number])
        noise = generator.standard_normal((count, latent_dim), np.float32)
        return noise if mixture is None else mixture.run(generator.random(count, np.float32), noise)[0]

    return draw


def _score(
    judge: Judge | None, validation: Pixels, draw: Callable[[int, int], Floats]
) -> Callable[[Callable[[Floats], Pixels]], Mapping[str, float]]:
    """What compares decoded draws with as many validation images."""
    real = validation[:_COMPARED]
    compare = Comparison(real, judge if len(real) > NEIGHBOURS else None)
    return lambda decode: compare(decode(draw(len(real), 1)))


def _card(noun: str, manifest: Mapping[str, Any], chosen: Mapping[str, float], *, own: bool) -> str:
    """The card of the folder, as Markdown; figures of test images are in that of the whole bundle."""
    validation = manifest["validation"]
    figures = {
        "cross-entropy of reconstructions, nats": f"{validation['reconstruction']:.2f}",
        "edge ratio: 1 as sharp as real ones": f"{chosen['val_edge_ratio']:.3f}",
    }
    if "val_frechet_distance" in chosen:
        figures["Frechet distance of samples, in the features of the judge"] = f"{chosen['val_frechet_distance']:.2f}"
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    encoder = "`encoder/` here" if own else "the encoder of the bundle that this folder lies in"
    return f"""# Generator of {noun}s

A second decoder with the interface of the first (`z` to `image`), which a discriminator taught to draw {noun}s as sharp
as real ones (Larsen et al. 2016, arXiv:1512.09300). The decoder is for the ELBO and reconstructions, the generator for
the eye. Its latents are those of {encoder}.

| {validation["images"]:,} validation {noun}s | |
|---|---|
{rows}

`model.onnx` and its int8 and fp16 variants take latents, `mixture/` draws them, `renderer/` draws images of any size.
`vae verify .` checks every file. SHA-256 of the parameters: `{manifest["params_sha256"]}`.
"""
