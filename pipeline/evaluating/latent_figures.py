"""How the model uses its latents: which of them are active, and how far their aggregate is from the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.parallel import cores, map_ordered
from pipeline.measures.elbo import kl_per_latent

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.floating[Any]]

# Burda et al. (2015), arXiv:1509.00519, section 5.2: the posterior mean of an active latent varies by more than this.
ACTIVE_VARIANCE = 0.01
_BLOCK = 128  # draws whose density under all posteriors is computed at a time
_STREAM = 3  # of random numbers, independent of those in `elbo.estimate` and in the likelihood


@dataclass(frozen=True)
class Aggregate:
    """KL(q(z) || p(z)) in nats, where q(z) is the mean of the images' posteriors, and the rest of the mean KL.

    Hoffman & Johnson, ELBO surgery (2016): the mean KL is the sum of this divergence and the mutual information between
    image and latents.
    """

    kl: float
    standard_error: float
    mutual_information: float


def active(z_mean: Floats) -> NDArray[np.bool_]:
    """Whether each latent is active: `[n, latent_dim]` to `[latent_dim]`."""
    in_use: NDArray[np.bool_] = z_mean.var(axis=0, dtype=np.float64) > ACTIVE_VARIANCE
    return in_use


def aggregate_posterior(z_mean: Floats, z_log_var: Floats, seed: int) -> Aggregate:
    """Estimate the divergence from one draw per image, with noise from `numpy.random.default_rng([seed, 0, 3])`.

    Each draw is evaluated under the full mixture of n Gaussians, so the cost grows with n^2.

    Args:
        z_mean: float32 `[n, latent_dim]`, n >= 2.
        z_log_var: float32 `[n, latent_dim]`.
        seed: of the draws.
    """
    mean, log_var = z_mean.astype(np.float64), z_log_var.astype(np.float64)
    n = len(mean)
    noise = np.random.default_rng([seed, 0, _STREAM]).standard_normal(mean.shape)
    z = mean + np.exp(log_var / 2) * noise
    # log N(z; mean, var) = z^2 . (-1 / 2 var) + z . (mean / var) + constant: one matrix product for all pairs.
    precision = np.exp(-log_var)
    weights = np.concatenate([-precision / 2, mean * precision], axis=1).T
    constants = -0.5 * (mean**2 * precision + log_var).sum(axis=1) - math.log(n)

    def log_ratio(start: int) -> Floats:
        """Values of log q(z) - log p(z) for the draws from `start`; their factors of 2 pi cancel."""
        rows = z[start : start + _BLOCK]
        terms = np.concatenate([rows**2, rows], axis=1) @ weights
        terms += constants
        top = terms.max(axis=1)
        terms -= top[:, None]
        ratio: Floats = top + np.log(np.exp(terms, out=terms).sum(axis=1)) + 0.5 * (rows**2).sum(axis=1)
        return ratio

    ratios = np.concatenate(list(map_ordered(log_ratio, range(0, n, _BLOCK), cores())))
    kl = float(ratios.mean())
    mean_kl = float(kl_per_latent(mean, log_var).sum(axis=1).mean())
    return Aggregate(kl, float(ratios.std(ddof=1) / math.sqrt(n)), mean_kl - kl)


def latent_figures(z_mean: Floats, z_log_var: Floats, seed: int) -> dict[str, Any]:
    """The figures of the test images' latents, rounded; `note` names the inactive latents, if there are any."""
    kl = kl_per_latent(z_mean, z_log_var).mean(axis=0)
    in_use = active(z_mean)
    aggregate = aggregate_posterior(z_mean, z_log_var, seed)
    figures = {
        "kl_per_latent": [round(float(nats), 4) for nats in kl],
        "active": int(in_use.sum()),
        "active_share": round(float(in_use.mean()), 4),
        "aggregate_kl": round(aggregate.kl, 4),
        "aggregate_kl_standard_error": round(aggregate.standard_error, 4),
        "mutual_information": round(aggregate.mutual_information, 4),
    }
    if not in_use.all():
        figures["note"] = _note(np.flatnonzero(~in_use).tolist(), kl[~in_use].tolist())
    return figures


def _note(latents: Sequence[int], kl: Sequence[float]) -> str:
    names = ", ".join(map(str, latents))
    return (
        f"latents not in use: {names} (counted from 0); the means of their posteriors vary by at most "
        f"{ACTIVE_VARIANCE} over images, their KL is {min(kl):.4f} to {max(kl):.4f} nats: they stay at the prior, "
        "and the decoder learns nothing from them"
    )
