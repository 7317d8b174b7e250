"""Stage `evaluate`: figures and pictures of the test digits, from the ONNX models."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import STATS_FILE, read_split, read_stats
from pipeline.errors import FormatError, ModelError
from pipeline.files import atomic_folder, write_json
from pipeline.inference.session import Decoder, Encoder
from pipeline.reporting.elbo import estimate
from pipeline.reporting.plots import scatter_latents

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.params import Evaluate

log = logging.getLogger(__name__)

SCATTER_FILE = "latents.png"


def evaluate(params: Evaluate, exports: Path, prepared: Path, metrics: Path, plots: Path) -> dict[str, Any]:
    """Write the figures to `metrics` as JSON and the scatter of the latents into the folder `plots`.

    Returns:
        The figures: the `source` of the data and, under `test`, `negative_elbo`, `reconstruction` and `kl` in
        nats per image with grey-level pixels, and the number of `images`.

    Raises:
        ModelError: a model is missing or has another interface, or the two have different latent sizes.
        DataError: there are no prepared test digits.
    """
    encoder, decoder = Encoder(exports / "encoder"), Decoder(exports / "decoder")
    if encoder.latent_dim != decoder.latent_dim:
        raise ModelError(
            f"{encoder.path} has {encoder.latent_dim} latent(s), {decoder.path} {decoder.latent_dim}; export both again"
        )
    images, labels = read_split(prepared, "test")
    stats = read_stats(prepared)
    if "source" not in stats:
        raise FormatError(f"{prepared / STATS_FILE} does not name the source; run `vae prepare` again")
    source = stats["source"]
    elbo = estimate(encoder, decoder, images, params.samples, params.seed)
    figures = {
        "source": source,
        "test": {
            "negative_elbo": round(elbo.negative_elbo, 4),
            "reconstruction": round(elbo.reconstruction, 4),
            "kl": round(elbo.kl, 4),
            "images": len(images),
        },
    }
    with atomic_folder(plots, owns=[SCATTER_FILE]) as beside:
        title = f"Latents of {len(images):,} test digits ({source})"
        z_mean, _ = encoder(np.asarray(images))
        scatter_latents(z_mean, labels, elbo.kl_per_latent, title, beside / SCATTER_FILE)
    write_json(metrics, figures)
    return figures
