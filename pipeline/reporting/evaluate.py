"""Stage `evaluate`: figures and pictures of the test digits, from the ONNX models, and the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import STATS_FILE, read_json, read_split, read_stats
from pipeline.errors import FormatError, ModelError
from pipeline.files import atomic_file, atomic_folder, write_json
from pipeline.inference.elbo import estimate
from pipeline.inference.session import Decoder, Encoder
from pipeline.interface import MANIFEST_FILE
from pipeline.reporting.card import CARD_FILE, model_card
from pipeline.reporting.plots import scatter_latents

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.params import Evaluate

SCATTER_FILE = "latents.png"


def evaluate(params: Evaluate, exports: Path, prepared: Path, metrics: Path, plots: Path) -> dict[str, Any]:
    """Write the figures to `metrics`, the scatter of the latents into the folder `plots`, the model card to `exports`.

    Returns:
        The figures: the `source` of the data and, under `test`, `negative_elbo`, `reconstruction` and `kl` in
        nats per image with grey-level pixels, and the number of `images`.

    Raises:
        ModelError: a model is missing, damaged or has another interface, or the two have different latent sizes.
        DataError: there are no prepared test digits, or no manifest.
    """
    encoder, decoder = Encoder(exports / "encoder"), Decoder(exports / "decoder")
    if encoder.latent_dim != decoder.latent_dim:
        raise ModelError(
            f"{encoder.path} has {encoder.latent_dim} latent(s), {decoder.path} {decoder.latent_dim}; export both again"
        )
    manifest = read_json(exports / MANIFEST_FILE, "export")
    images, labels = read_split(prepared, "test")
    stats = read_stats(prepared)
    if "source" not in stats:
        raise FormatError(f"{prepared / STATS_FILE} does not name the source; run `vae prepare` again")
    source = stats["source"]
    elbo = estimate(encoder, decoder, images, params.samples, params.seed)
    test = {**elbo.figures(), "images": len(images)}
    figures = {"source": source, "test": test}
    with atomic_folder(plots, owns=[SCATTER_FILE]) as beside:
        title = f"Latents of {len(images):,} test digits ({source})"
        z_mean, _ = encoder(np.asarray(images))
        scatter_latents(z_mean, labels, elbo.kl_per_latent, title, beside / SCATTER_FILE)
    with atomic_file(exports / CARD_FILE) as beside:
        beside.write_text(model_card(manifest, test))
    write_json(metrics, figures)
    return figures
