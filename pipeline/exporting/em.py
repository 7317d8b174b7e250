"""Gaussian mixtures of latents by expectation maximisation, in matrix products.

The log density of a Gaussian is linear in the products of two latents, the latents and 1: its features. So the
densities of many Gaussians are one product of features and coefficients, and the sums that the next Gaussians are made
of are one product of responsibilities and features. Hundreds of Gaussians take seconds.

Each round draws from every q(z|x) afresh: a Gaussian never sees the same noise twice, and can't learn it. Covariances
have an inverse Wishart prior (Gelman et al., Bayesian Data Analysis, 3rd edition, section 3.6). Its strength is the
number of latents; its scale, which all share, is fitted too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

_ROUNDS = 12  # from k-means, two gain most of what there is to gain
_PRODUCTS = 2**32  # of two latents, in all rounds: 60,000 images of more than 77 latents have fewer rounds
_DRAWS = 4096  # in a round, at least: few images are drawn several times
_ELEMENTS = 2**19  # of the features of a block of rows: 4 MB
_LEAST = 1e-3  # images of a Gaussian: one that has lost all goes on without weight


@dataclass(frozen=True)
class Gaussians:
    """A mixture of Gaussians, float64."""

    weights: Doubles
    """`[components]`, their sum is 1."""
    means: Doubles
    """`[components, latent_dim]`"""
    covariances: Doubles
    """`[components, latent_dim, latent_dim]`"""

    def log_likelihood(self, z: NDArray[np.floating[Any]]) -> float:
        """The mean log density in nats of `z`, `[n, latent_dim]`."""
        coefficients = self._coefficients()
        total = 0.0
        for features in _features(z):
            logs = features @ coefficients
            total += float(np.logaddexp.reduce(logs, axis=1).sum())
        return total / len(z)

    def statistics(self, z: Doubles) -> Doubles:
        """Sums of the features of `z`, each row shared among the components by their responsibility."""
        coefficients = self._coefficients()
        sums = np.zeros(coefficients.T.shape)
        for features in _features(z):
            shares = features @ coefficients
            shares -= shares.max(axis=1, keepdims=True)
            np.exp(shares, out=shares)
            shares /= shares.sum(axis=1, keepdims=True)
            sums += shares.T @ features
        return sums

    def moved(self, shift: Doubles, scale: Doubles) -> Gaussians:
        """The mixture of `shift + scale * z`, both `[latent_dim]`."""
        return Gaussians(self.weights, shift + scale * self.means, self.covariances * np.outer(scale, scale))

    def _coefficients(self) -> Doubles:
        """Of the weighted log densities: `[features, components]`."""
        count, latent_dim = self.means.shape
        precisions = np.linalg.inv(self.covariances)
        linear = np.einsum("kij,kj->ki", precisions, self.means)
        _, log_determinants = np.linalg.slogdet(self.covariances)
        squares = np.einsum("ki,ki->k", linear, self.means)
        constants = np.log(self.weights) - 0.5 * (latent_dim * math.log(2 * math.pi) + log_determinants + squares)
        return np.hstack([-0.5 * precisions.reshape(count, -1), linear, constants[:, None]]).T


def fit_gaussians(z_mean: NDArray[np.float32], z_log_var: NDArray[np.float32], components: int, seed: int) -> Gaussians:
    """Fit `components` Gaussians to draws from q(z|x) of images, started by k-means.

    Args:
        z_mean: `[n, latent_dim]`, n >= components.
        z_log_var: `[n, latent_dim]`.
        components: how many.
        seed: of k-means and of the draws.
    """
    images, latent_dim = z_mean.shape
    times = -(-_DRAWS // images)
    generator = np.random.default_rng(seed)
    deviation = np.exp(z_log_var.astype(np.float64) / 2)
    shift, scale = z_mean.mean(axis=0), np.sqrt(z_mean.var(axis=0) + np.square(deviation).mean(axis=0))

    def draw() -> Doubles:
        """Rows of zero mean and unit variance, so that no latent counts for more."""
        noise = generator.standard_normal((times, images, latent_dim))
        z: Doubles = (z_mean + deviation * noise - shift) / scale
        return z.reshape(-1, latent_dim)

    z = draw()
    nearest = KMeans(components, n_init=1, max_iter=20, random_state=seed).fit_predict(z)
    sums, start = np.zeros((components, latent_dim * (latent_dim + 1) + 1)), 0
    for features in _features(z):
        chosen = nearest[start : start + len(features)]
        sums += (chosen == np.arange(components)[:, None]).astype(np.float64) @ features
        start += len(features)
    found, shared = _maximise(sums / times, None)
    rounds = max(1, min(_ROUNDS, _PRODUCTS // (len(z) * latent_dim**2)))
    for _ in range(rounds if components > 1 else 0):  # one alone has nothing to share
        found, shared = _maximise(found.statistics(draw()) / times, shared)
    return found.moved(shift, scale)


def _features(z: NDArray[np.floating[Any]]) -> Iterator[Doubles]:
    """`[rows, latent_dim * latent_dim + latent_dim + 1]` of each block of rows."""
    latent_dim = z.shape[1]
    rows = max(16, _ELEMENTS // (latent_dim * (latent_dim + 1) + 1))
    for start in range(0, len(z), rows):
        block = z[start : start + rows].astype(np.float64)
        products = np.einsum("ni,nj->nij", block, block).reshape(len(block), -1)
        yield np.hstack([products, block, np.ones((len(block), 1))])


def _maximise(sums: Doubles, shared: Doubles | None) -> tuple[Gaussians, Doubles]:
    """The most probable Gaussians given sums of features, and the scale of the covariances' prior given these.

    Were every covariance C drawn from the prior, the likeliest scale would be that whose inverse is the mean of C^-1.
    """
    latent_dim = math.isqrt(sums.shape[1])  # of its square and itself and 1
    counts = np.maximum(sums[:, -1], _LEAST)
    weights = counts / counts.sum()
    means = sums[:, -latent_dim - 1 : -1] / counts[:, None]
    scatter = sums[:, : -latent_dim - 1].reshape(-1, latent_dim, latent_dim)
    scatter = scatter - counts[:, None, None] * np.einsum("ki,kj->kij", means, means)
    if shared is None:
        shared = scatter.sum(axis=0) / counts.sum()
    covariances = (scatter + latent_dim * shared) / (counts + latent_dim)[:, None, None]
    scale = np.linalg.inv(np.einsum("k,kij->ij", weights, np.linalg.inv(covariances)))
    return Gaussians(weights, means, covariances), scale
