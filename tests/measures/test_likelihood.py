import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from pipeline.errors import ModelError
from pipeline.inference import Decoder, Encoder
from pipeline.measures import likelihood as module
from pipeline.measures.elbo import kl_per_latent
from pipeline.measures.likelihood import (
    bernoulli_log_likelihood,
    estimate_likelihood,
    importance_bound,
)
from tests import onnx_models

Floats = NDArray[np.float64]

IMAGES = np.random.default_rng(5).integers(0, 2, (12, 28, 28), np.uint8) * np.uint8(255)

# A linear-Gaussian decoder, x|z ~ N(W z + b, noise^2 I), under z ~ N(0, I): Bishop, Pattern Recognition and Machine
# Learning (2006), equations 12.35 and 12.42, give p(x) and the posterior. Columns of W are orthogonal, so that the
# posterior is as the encoder's: with a diagonal covariance.
W = np.array([[1.5, 0], [0, 0.7], [0, -0.7], [-1.5, 0]])
B = np.array([0.3, -0.2, 0.5, 0])
NOISE = 0.6
X = np.array([1.2, -0.4, 0.1, -0.9])
VARIANCE = 1 / (1 + (W**2).sum(axis=0) / NOISE**2)
MEAN = VARIANCE * (W.T @ (X - B)) / NOISE**2
LOG_P = multivariate_normal(B, W @ W.T + NOISE**2 * np.eye(4)).logpdf(X)


def linear_gaussian(z: NDArray[np.float32]) -> Floats:
    squares = (((X - B - z.astype(np.float64) @ W.T) / NOISE) ** 2).sum(axis=1)
    return -0.5 * squares - 4 * math.log(NOISE * math.sqrt(2 * math.pi))


def bounds(
    mean: Floats, variance: Floats, given: Callable[[NDArray[np.float32]], Floats], draws: int, images: int
) -> Floats:
    """As many independent bounds on the same image."""
    generators = np.random.default_rng(0).spawn(images)
    return np.array([importance_bound(mean, np.log(variance), given, draws, g)[0] for g in generators])


@pytest.mark.parametrize("draws", [1, 7, 250])
def test_the_exact_posterior_gives_log_p_with_any_draw(draws: int) -> None:
    """Every weight is p(x): the bound has no variance but that of float32 latents."""
    found = bounds(MEAN, VARIANCE, linear_gaussian, draws, images=20)
    np.testing.assert_allclose(found, LOG_P, atol=2e-6)


def test_a_wrong_proposal_needs_many_draws() -> None:
    """Off by one standard deviation and twice as wide: within 5 standard errors at k = 2,000."""
    found = bounds(MEAN + np.sqrt(VARIANCE), 4 * VARIANCE, linear_gaussian, 2000, images=50)
    assert found.std() < 0.1
    assert abs(found.mean() - LOG_P) < 5 * found.std() / math.sqrt(50)


def test_the_bound_grows_with_the_number_of_draws_and_stays_below() -> None:
    """Burda et al. (2015), theorem 1; the first is the ELBO, log p(x) less the KL of proposal and posterior."""
    mean, variance = MEAN - np.sqrt(VARIANCE), 3 * VARIANCE
    by_draws = [bounds(mean, variance, linear_gaussian, draws, images=500).mean() for draws in (1, 4, 16, 64)]
    assert by_draws == sorted(by_draws)
    assert by_draws[-1] < LOG_P + 0.02
    gap = 0.5 * (3 + 1 - 1 - math.log(3)) * 2  # of two latents, between N(-1, 3) and N(0, 1) in units of the posterior
    assert by_draws[0] == pytest.approx(LOG_P - gap, abs=0.3)


def test_the_second_figure_is_the_mean_log_likelihood_of_the_draws() -> None:
    """E[log p(x|z)] of a Gaussian: that at the mean, less half the spread of W z over the noise's variance."""
    _, found = importance_bound(MEAN, np.log(VARIANCE), linear_gaussian, 20_000, np.random.default_rng(0))
    at_mean = norm.logpdf(X, W @ MEAN + B, NOISE).sum()
    assert found == pytest.approx(at_mean - 0.5 * ((W**2) @ VARIANCE).sum() / NOISE**2, abs=0.05)


def test_reconstruction_and_kl_are_the_bound_of_one_draw() -> None:
    """The KL in closed form is the Monte Carlo mean of what the bound adds to log p(x|z)."""
    mean, variance = np.array([0.8, -1.3]), np.array([0.4, 1.7])
    pairs = [
        importance_bound(mean, np.log(variance), linear_gaussian, 1, g) for g in np.random.default_rng(1).spawn(1000)
    ]
    difference = np.array([given - bound for bound, given in pairs])
    (kl,) = kl_per_latent(mean[None], np.log(variance)[None]).sum(axis=1)
    assert abs(difference.mean() - kl) < 5 * difference.std() / math.sqrt(1000)


def test_a_bernoulli_decoder_with_one_latent_agrees_with_numerical_integration() -> None:
    generator = np.random.default_rng(2)
    slope, offset = generator.normal(0, 0.3, 784), generator.normal(0, 1, 784)
    ink = generator.random(784) < 0.4

    def probability(z: Floats) -> Floats:
        return 1 / (1 + np.exp(-(z * slope + offset)))

    def given(z: NDArray[np.float32]) -> Floats:
        return bernoulli_log_likelihood((~ink).astype(np.float32), probability(z).astype(np.float32))

    def log_joint(z: float) -> float:
        p = probability(np.float64(z))
        return float(np.log(np.where(ink, p, 1 - p)).sum() - z**2 / 2 - math.log(2 * math.pi) / 2)

    top = max(np.linspace(-5, 5, 1001).tolist(), key=log_joint)
    integral, _ = quad(lambda z: math.exp(log_joint(z) - log_joint(top)), top - 2, top + 2, epsabs=1e-10)
    exact = math.log(integral) + log_joint(top)
    found = bounds(np.array([top + 0.1]), np.array([0.05]), given, 1000, images=20)
    assert found.mean() == pytest.approx(exact, abs=5 * found.std() / math.sqrt(20))
    assert found.std() < 0.1


def test_weights_that_float64_cannot_hold_do_no_harm() -> None:
    found, _ = importance_bound(
        np.zeros(1), np.zeros(1), lambda z: np.full(len(z), -5000.0), 300, np.random.default_rng(0)
    )
    assert found == pytest.approx(-5000, abs=1e-6)


def test_log_likelihood_is_the_formula_in_float64() -> None:
    """For probabilities of all magnitudes, some beyond those that are told from 0 and 1."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 6, (40, 784))
    probability = (1 / (1 + np.exp(-logits))).astype(np.float32)
    ink = generator.random(784) < 0.5
    held = np.clip(probability, np.float32(1e-7), np.float32(1 - 1e-7)).astype(np.float64)
    expected = np.log(np.where(ink, held, 1 - held)).sum(axis=1)
    found = bernoulli_log_likelihood((~ink).astype(np.float32), probability)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("ink", [False, True])
def test_certainty_costs_nothing_if_right_and_a_finite_sum_if_wrong(ink: bool) -> None:
    blank = np.full(784, not ink, np.float32)
    (right,) = bernoulli_log_likelihood(blank, 1 - blank[None])
    (wrong,) = bernoulli_log_likelihood(blank, blank[None].copy())
    assert right == pytest.approx(0, abs=784 * 2e-7)
    assert wrong == pytest.approx(784 * math.log(1e-7), rel=0.02)


@pytest.mark.parametrize(("latent_dim", "draws"), [(1, 1), (2, 250), (20, 3)])
def test_estimate_is_the_definition_in_numpy(latent_dim: int, draws: int, tmp_path: Path) -> None:
    """With the noise that the docstring states, and k = 250 in one piece."""
    encoder, decoder = onnx_models.encoder(latent_dim), onnx_models.decoder(latent_dim)
    z_mean, z_log_var = onnx_models.encode_in_numpy(encoder, IMAGES)
    bound, reconstruction = [], []
    for i, image in enumerate(IMAGES):
        noise = np.random.default_rng([7, i, 1]).standard_normal((draws, latent_dim), np.float32)
        z = z_mean[i] + np.exp(z_log_var[i] / 2) * noise
        p = onnx_models.decode_in_numpy(decoder, z).astype(np.float64).reshape(draws, 784)
        given = np.log(np.where(image.reshape(784) > 0, p, 1 - p)).sum(axis=1)
        prior, proposal = norm.logpdf(z).sum(axis=1), norm.logpdf(z, z_mean[i], np.exp(z_log_var[i] / 2)).sum(axis=1)
        bound.append(logsumexp(given + prior - proposal) - math.log(draws))
        reconstruction.append(given.mean())
    kl = (0.5 * (np.exp(z_log_var) + z_mean**2 - 1 - z_log_var)).sum(axis=1)

    both = _open(tmp_path, latent_dim)
    found = estimate_likelihood(*both, IMAGES, draws, seed=7)
    assert found.negative_log_likelihood == pytest.approx(-np.mean(bound), rel=1e-5)
    assert found.standard_error == pytest.approx(np.std(bound, ddof=1) / math.sqrt(len(IMAGES)), rel=1e-3)
    assert found.reconstruction == pytest.approx(-np.mean(reconstruction), rel=1e-5)
    assert found.kl == pytest.approx(kl.mean(), rel=1e-4)
    assert found.negative_elbo == found.reconstruction + found.kl
    assert found.figures() == {
        "negative_log_likelihood": round(found.negative_log_likelihood, 4),
        "standard_error": round(found.standard_error, 4),
        "negative_elbo": round(found.negative_elbo, 4),
        "reconstruction": round(found.reconstruction, 4),
        "kl": round(found.kl, 4),
        "importance_samples": draws,
        "images": 12,
    }


def test_the_estimate_does_not_depend_on_the_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = _open(tmp_path)
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(estimate_likelihood(*both, IMAGES, 120, seed=0))
    assert found[0] == found[1]


def test_an_image_has_the_same_bound_whatever_follows(tmp_path: Path) -> None:
    """Of two images the mean and the error tell both bounds."""
    both = _open(tmp_path)
    two, more = (estimate_likelihood(*both, IMAGES[:n], 20, seed=0) for n in (2, 3))
    halves = two.negative_log_likelihood + np.array([-1, 1]) * two.standard_error
    third = 3 * more.negative_log_likelihood - halves.sum()
    assert np.std([*halves, third], ddof=1) / math.sqrt(3) == pytest.approx(more.standard_error, rel=1e-6)


def test_a_decoder_without_numbers_is_refused(tmp_path: Path) -> None:
    broken = onnx_models.set_constant(onnx_models.decoder(), "logits_b", np.full(784, np.nan, np.float32))
    onnx_models.save(broken, tmp_path / "broken")
    encoder, _ = _open(tmp_path)
    with pytest.raises(ModelError, match="gives pixels that are not numbers; train and export it again"):
        estimate_likelihood(encoder, Decoder(tmp_path / "broken"), IMAGES, 5, seed=0)


def _open(folder: Path, latent_dim: int = 2) -> tuple[Encoder, Decoder]:
    encoder = onnx_models.save(onnx_models.encoder(latent_dim), folder / "encoder")
    return Encoder(encoder), Decoder(onnx_models.save(onnx_models.decoder(latent_dim), folder / "decoder"))
