"""Where the latents to decode come from: the prior, a mixture, a grid over the prior's quantiles, or files."""

from pathlib import Path

from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource


def choose_latents(
    latent_dim: int,
    *,
    count: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    side: int | None = None,
    fitted: Path | None = None,
) -> LatentSource:
    """Latents from the files at `path` (the first `count`), a quantile grid of `side`, or else `count` draws.

    These are from the mixture `fitted`, or without one from the prior.
    """
    if path is not None:
        return open_latents(path, latent_dim, count)
    if side is not None:
        return QuantileGrid(side, latent_dim)
    if fitted is not None:
        return mixture(fitted, count or 0, seed, latent_dim)
    return prior(count or 0, seed, latent_dim)
