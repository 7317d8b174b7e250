"""Where the latents to decode come from: the prior, a mixture, a grid over the prior's quantiles, or files."""

import logging
from pathlib import Path
from typing import Literal

from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource
from pipeline.shared.interface import MODEL_FILE

log = logging.getLogger(__name__)


def choose_latents(
    latent_dim: int,
    *,
    count: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    side: int | None = None,
    fitted: Path | None = None,
    sampler: Literal["prior", "mixture"] | None = None,
) -> LatentSource:
    """Latents from the files at `path` (the first `count`), a quantile grid of `side`, or else `count` draws.

    Args:
        latent_dim: of the decoder.
        count: how many.
        seed: of the draws.
        path: of files.
        side: of a grid.
        fitted: the folder of the mixture, whether there is one or not.
        sampler: what to draw from; None takes the mixture if there is one, or else, and says so, the prior.
    """
    if path is not None:
        return open_latents(path, latent_dim, count)
    if side is not None:
        return QuantileGrid(side, latent_dim)
    if sampler is None and fitted is not None and not (fitted / MODEL_FILE).is_file():
        log.info("drawing from the prior: there is no mixture at %s", fitted / MODEL_FILE)
        sampler = "prior"
    if fitted is None or sampler == "prior":
        return prior(count or 0, seed, latent_dim)
    return mixture(fitted, count or 0, seed, latent_dim)
