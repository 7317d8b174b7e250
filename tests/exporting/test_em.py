"""The fit is held to SciPy's normal distribution and to scikit-learn's mixture."""

import numpy as np
import pytest
import sklearn.mixture
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pipeline.exporting.em import Gaussians, fit_gaussians

RNG = np.random.default_rng(0)


def some_gaussians(components: int = 5, latent_dim: int = 3) -> Gaussians:
    roots = RNG.standard_normal((components, latent_dim, latent_dim + 2))
    weights = np.arange(1.0, components + 1)
    means = 3 * RNG.standard_normal((components, latent_dim))
    return Gaussians(weights / weights.sum(), means, roots @ roots.swapaxes(1, 2))


def draw(gaussians: Gaussians, rows: int) -> NDArray[np.float32]:
    chosen = RNG.choice(len(gaussians.weights), rows, p=gaussians.weights)
    noise = RNG.standard_normal((rows, gaussians.means.shape[1]))
    factors = np.linalg.cholesky(gaussians.covariances)[chosen]
    return (gaussians.means[chosen] + np.einsum("nij,nj->ni", factors, noise)).astype(np.float32)


def exact(z_mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log variances of next to nothing: every draw is the mean."""
    return np.full_like(z_mean, -20)


def test_the_log_likelihood_is_that_of_scipy() -> None:
    gaussians = some_gaussians()
    z = draw(gaussians, 3000)
    logs = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(z)
        for weight, mean, covariance in zip(gaussians.weights, gaussians.means, gaussians.covariances, strict=True)
    ]
    assert gaussians.log_likelihood(z) == pytest.approx(logsumexp(logs, axis=0).mean(), abs=1e-9)


def test_one_gaussian_has_mean_and_covariance_of_the_draws() -> None:
    """Of means and of what q(z|x) adds; with one alone, its prior has its own scale."""
    z_mean = draw(some_gaussians(1), 50_000)
    z_log_var = np.full_like(z_mean, np.log([0.5, 1, 2]))
    fitted = fit_gaussians(z_mean, z_log_var, 1, seed=0)
    expected = np.cov(z_mean, rowvar=False) + np.diag([0.5, 1, 2])
    np.testing.assert_allclose(fitted.means[0], z_mean.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(fitted.covariances[0], expected, atol=0.03 * expected.max())


def test_many_images_are_fitted_as_well_as_by_scikit_learn() -> None:
    """The prior of the covariances counts as 3 images, which are few among 20,000; local optima differ a little."""
    gaussians = some_gaussians()
    train, held_out = draw(gaussians, 20_000), draw(gaussians, 5000)
    reference = sklearn.mixture.GaussianMixture(5, random_state=0).fit(train).score(held_out)
    assert fit_gaussians(train, exact(train), 5, seed=0).log_likelihood(held_out) > reference - 0.02


def test_few_images_are_fitted_better_than_by_scikit_learn() -> None:
    """Ten images for each Gaussian of six latents, whose covariance has 21 numbers."""
    gaussians = some_gaussians(8, 6)
    train, held_out = draw(gaussians, 80), draw(gaussians, 5000)
    reference = sklearn.mixture.GaussianMixture(8, random_state=0).fit(train).score(held_out)
    assert fit_gaussians(train, exact(train), 8, seed=0).log_likelihood(held_out) > reference + 1


def test_latents_of_any_scale_count_alike() -> None:
    gaussians = some_gaussians()
    train, scale = draw(gaussians, 5000), np.array([1e-3, 1, 1e3], np.float32)
    fitted, scaled = (
        fit_gaussians(z, exact(z) + 2 * np.log(s), 5, seed=0) for z, s in ((train, 1), (train * scale, scale))
    )
    np.testing.assert_allclose(scaled.means, fitted.means * scale, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("images", "latent_dim", "components"), [(1, 1, 1), (1, 20, 1), (3, 20, 3), (10, 64, 2)])
def test_fewer_images_than_latents_still_make_a_mixture(images: int, latent_dim: int, components: int) -> None:
    z_mean = np.zeros((images, latent_dim), np.float32)
    z_mean[:, 0] = np.arange(images)
    fitted = fit_gaussians(z_mean, np.full_like(z_mean, -3), components, seed=0)
    assert fitted.weights.sum() == pytest.approx(1)
    assert np.linalg.eigvalsh(fitted.covariances).min() > 0
