"""Log-likelihood of binarised images under the decoder, bounded by importance sampling, from the two ONNX models.

Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2015), arXiv:1509.00519, equation 8.
All figures are nats per image, summed over pixels and latents and averaged over images.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.progress import Progress
from pipeline.inference.session import Decoder, Encoder
from pipeline.measures.elbo import SMALLEST, kl_per_latent
from pipeline.shared.interface import PIXELS

log = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]

_DRAWS = 100  # decoded at a time: measured, their pixels stay in a core's cache
_NOISE = 1  # random numbers of [seed, image, 1]: apart from those of `elbo.estimate`, which has [seed, batch]


@dataclass(frozen=True)
class Likelihood:
    """What binarised images cost, in nats per image."""

    negative_log_likelihood: float
    """The importance-weighted bound: in expectation no less than -log p(x), nearer to it with more draws."""
    standard_error: float
    """Of the bound, over images."""
    reconstruction: float
    kl: float
    importance_samples: int
    images: int

    @property
    def negative_elbo(self) -> float:
        """Reconstruction + KL: the bound of a single draw."""
        return self.reconstruction + self.kl

    def figures(self) -> dict[str, float | int]:
        """All of them, rounded as they are reported."""
        names = ("negative_log_likelihood", "standard_error", "negative_elbo", "reconstruction", "kl")
        rounded = {name: round(getattr(self, name), 4) for name in names}
        return {**rounded, "importance_samples": self.importance_samples, "images": self.images}


def bernoulli_log_likelihood(blank: NDArray[np.float32], probability: NDArray[np.float32]) -> Floats:
    """Of one binary image under each of n decoded ones, summed over pixels.

    Args:
        blank: the image, float32 `[784]`: 0 where there is ink, 1 elsewhere.
        probability: of ink in each pixel, float32 `[n, 784]`; is overwritten.

    Returns:
        float64 `[n]`, relative to the formula in float64 within 1e-6.
    """
    np.clip(probability, SMALLEST, 1 - SMALLEST, out=probability)
    probability -= blank  # its absolute value is the probability of the pixel as it is
    # The logarithm costs most, so one does for four pixels: their product is at least 1e-28, which float32 holds.
    first, second, third, fourth = np.moveaxis(probability.reshape(-1, 4, PIXELS // 4), 1, 0)
    fours = first * second
    fours *= third
    fours *= fourth
    np.log(np.abs(fours, out=fours), out=fours)
    total: Floats = fours.sum(axis=1, dtype=np.float64)
    return total


def importance_bound(
    z_mean: Floats,
    z_log_var: Floats,
    log_likelihood: Callable[[NDArray[np.float32]], Floats],
    draws: int,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """The bound log(1/k sum_i p(x|z_i) p(z_i) / q(z_i|x)) on log p(x) of one image, z_i drawn from q = N(mean, var).

    Memory does not grow with the number of draws.

    Args:
        z_mean: of q, `[latent_dim]`.
        z_log_var: of q, `[latent_dim]`.
        log_likelihood: float32 `[n, latent_dim]` to log p(x|z), `[n]`, for any n.
        draws: k.
        generator: of the draws.

    Returns:
        The bound and, of the same draws, the mean of log p(x|z).
    """
    mean, log_var = z_mean.astype(np.float64), z_log_var.astype(np.float64)
    sigma = np.exp(log_var / 2)
    log_sum, total = -math.inf, 0.0
    for start in range(0, draws, _DRAWS):
        noise = generator.standard_normal((min(_DRAWS, draws - start), len(mean)), np.float32)
        z = mean + sigma * noise
        given = log_likelihood(z.astype(np.float32))
        # log p(z) - log q(z|x), whose 2 pi cancel.
        log_weight = given + 0.5 * (noise.astype(np.float64) ** 2 - z**2 + log_var).sum(axis=1)
        log_sum = float(np.logaddexp(log_sum, np.logaddexp.reduce(log_weight)))
        total += float(given.sum())
    return log_sum - math.log(draws), total / draws


def estimate_likelihood(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], draws: int, seed: int
) -> Likelihood:
    """Bound -log p(x) of binarised images from above.

    The noise for image i comes from `numpy.random.default_rng([seed, i, 1])`, so that the result depends neither on
    the number of cores nor, for the first images, on how many follow.

    Args:
        encoder: proposes latents.
        decoder: gives the probabilities of ink.
        images: uint8 `[n, 28, 28]`, 0 or 255, as `pipeline.data.binarise` draws them; n >= 2.
        draws: of the latents per image.
        seed: of the noise.

    Raises:
        ModelError: the decoder gives probabilities that are not numbers.
    """
    z_mean, z_log_var = encoder(images)
    blank = images.reshape(-1, PIXELS) == 0

    def bound(image: int) -> tuple[float, float]:
        background = blank[image].astype(np.float32)

        def log_likelihood(z: NDArray[np.float32]) -> Floats:
            # As the session gives it: a check and a copy of each batch would cost a tenth of the time.
            (probability,) = decoder.run(z)
            given = bernoulli_log_likelihood(background, probability.reshape(-1, PIXELS))
            if not np.isfinite(given).all():
                raise ModelError(f"{decoder.path} gives pixels that are not numbers; train and export it again")
            return given

        generator = np.random.default_rng([seed, image, _NOISE])
        return importance_bound(z_mean[image], z_log_var[image], log_likelihood, draws, generator)

    found = []
    with Progress("likelihood", len(images), 0, quiet=not log.isEnabledFor(logging.INFO)) as progress:
        for one in map_ordered(bound, range(len(images)), cores()):
            found.append(one)
            progress.advance(1)
    bounds, reconstructions = -np.array(found).T
    return Likelihood(
        float(bounds.mean()),
        float(bounds.std(ddof=1) / math.sqrt(len(bounds))),
        float(reconstructions.mean()),
        float(kl_per_latent(z_mean, z_log_var).sum(axis=1).mean()),
        draws,
        len(images),
    )
