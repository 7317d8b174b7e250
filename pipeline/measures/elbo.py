"""The evidence lower bound of a data set, from the two ONNX models.

Kingma & Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114, equation 10 and appendix B.
All figures are nats per image, summed over pixels or latents and averaged over images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.session import Decoder, Encoder

_BATCH = 512
# The decoder gives float32 probabilities: nearer to 0 or 1 than this they can't be told from 0 or 1.
SMALLEST = np.float32(1e-7)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Elbo:
    """Reconstruction and KL in nats per image; the negative ELBO is their sum."""

    reconstruction: float
    kl: float
    kl_per_latent: tuple[float, ...]

    @property
    def negative_elbo(self) -> float:
        """The sum of the two."""
        return self.reconstruction + self.kl

    def figures(self) -> dict[str, float]:
        """The three figures, rounded as they are reported."""
        names = ("negative_elbo", "reconstruction", "kl")
        return {name: round(getattr(self, name), 4) for name in names}


def binary_cross_entropy(image: Floats, probability: Floats) -> Floats:
    """Of grey levels in [0, 1], summed over pixels: `[n, 28, 28]` twice to `[n]`. Not a likelihood."""
    p = np.clip(probability, SMALLEST, 1 - SMALLEST)
    terms: Floats = -(image * np.log(p) + (1 - image) * np.log1p(-p))
    total: Floats = terms.sum(axis=(1, 2), dtype=np.float64)
    return total


def entropy(images: NDArray[np.uint8]) -> Floats:
    """Of grey levels of 255 as probabilities of ink, in nats, summed over pixels: uint8 `[n, 28, 28]` to `[n]`.

    It is what the cross-entropy of an image is at least, whatever reconstructs it.
    """
    x = np.arange(1, 255) / 255
    of_level = np.pad(-x * np.log(x) - (1 - x) * np.log1p(-x), 1)
    total: Floats = of_level[images].sum(axis=(1, 2))
    return total


def kl_per_latent(z_mean: Floats, z_log_var: Floats) -> Floats:
    """KL(N(z_mean, exp(z_log_var)) || N(0, 1)) of each latent: `[n, latent_dim]` twice to the same."""
    mean, log_var = z_mean.astype(np.float64), z_log_var.astype(np.float64)
    kl: Floats = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var)
    return kl


def estimate(encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], samples: int, seed: int) -> Elbo:
    """Estimate the negative ELBO of uint8 `[n, 28, 28]` with `samples` draws of the latents per image.

    The noise for image i comes from `numpy.random.default_rng([seed, i // 512])`.
    """

    def batch(start: int) -> tuple[np.float64, Floats]:
        piece = images[start : start + _BATCH]
        z_mean, z_log_var = encoder(piece)
        pixels = piece.astype(np.float32) / 255
        generator = np.random.default_rng([seed, start // _BATCH])
        reconstruction = np.float64(0)
        for _ in range(samples):
            noise = generator.standard_normal(z_mean.shape, np.float32)
            z = z_mean + np.exp(z_log_var / 2) * noise
            reconstruction += binary_cross_entropy(pixels, decoder(z.astype(np.float32))).sum() / samples
        return reconstruction, kl_per_latent(z_mean, z_log_var).sum(axis=0)

    sums = list(map_ordered(batch, range(0, len(images), _BATCH), cores()))
    per_latent = np.sum([kl for _, kl in sums], axis=0) / len(images)
    reconstruction = float(sum(reconstruction for reconstruction, _ in sums) / len(images))
    return Elbo(reconstruction, float(per_latent.sum()), tuple(map(float, per_latent)))
