import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bernoulli, norm

from pipeline.inference import Decoder, Encoder
from pipeline.measures import elbo as module
from pipeline.measures.elbo import Elbo, binary_cross_entropy, entropy, estimate, kl_per_latent
from tests import onnx_models

IMAGES = np.random.default_rng(5).integers(0, 256, (600, 28, 28), np.uint8)


def open_both(encoder: onnx.ModelProto, decoder: onnx.ModelProto, folder: Path) -> tuple[Encoder, Decoder]:
    return Encoder(onnx_models.save(encoder, folder / "encoder")), Decoder(
        onnx_models.save(decoder, folder / "decoder")
    )


@pytest.mark.parametrize(
    ("mean", "log_var", "kl"),
    [
        (0, 0, 0),  # the prior itself
        (3, 0, 4.5),  # mean^2 / 2
        (0, math.log(4), (4 - 1 - math.log(4)) / 2),  # (variance - 1 - log variance) / 2
        (-1, math.log(0.25), (1 + 0.25 - 1 + math.log(4)) / 2),
    ],
)
def test_kl_is_the_closed_form_of_two_normal_distributions(mean: float, log_var: float, kl: float) -> None:
    """Kingma & Welling (2013), appendix B."""
    found = kl_per_latent(np.array([[mean]], np.float32), np.array([[log_var]], np.float32))
    np.testing.assert_allclose(found, [[kl]], rtol=1e-6)


@given(mean=st.floats(-3, 3), log_var=st.floats(-4, 2))
def test_kl_is_the_mean_log_ratio_of_the_densities(mean: float, log_var: float) -> None:
    """Monte Carlo, within 5 standard errors."""
    sigma = math.exp(log_var / 2)
    z = np.random.default_rng(0).normal(mean, sigma, 20_000)
    ratio = norm.logpdf(z, mean, sigma) - norm.logpdf(z)
    (kl,) = kl_per_latent(np.array([mean]), np.array([log_var]))
    assert abs(kl - ratio.mean()) <= 5 * ratio.std() / math.sqrt(len(z)) + 1e-9


@pytest.mark.parametrize("level", [0, 1, 51, 127, 254, 255])
def test_the_entropy_of_an_image_is_that_of_its_pixels_as_coins(level: int) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 3:7, 5:10] = level
    assert entropy(images) == pytest.approx([0, 20 * bernoulli(level / 255).entropy()], rel=1e-12)


def test_the_entropy_is_the_least_cross_entropy() -> None:
    """That of an image with itself; any other probabilities have more (Gibbs' inequality)."""
    x = IMAGES[:9].astype(np.float32) / 255
    assert binary_cross_entropy(x, x) == pytest.approx(entropy(IMAGES[:9]), rel=1e-5)
    assert (binary_cross_entropy(x, np.roll(x, 1, axis=0)) > entropy(IMAGES[:9])).all()


def test_binary_cross_entropy_is_the_formula_in_float64() -> None:
    generator = np.random.default_rng(0)
    image = generator.random((5, 28, 28), np.float32)
    probability = generator.random((5, 28, 28), np.float32)
    x, p = image.astype(np.float64), probability.astype(np.float64)
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2))
    found = binary_cross_entropy(image, probability)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_probability_of_a_half_costs_log_2_a_pixel() -> None:
    half = np.full((1, 28, 28), 0.5, np.float32)
    np.testing.assert_allclose(binary_cross_entropy(half, half), [784 * math.log(2)], rtol=1e-6)


@pytest.mark.parametrize("ink", [0, 1])
def test_certainty_costs_nothing_if_right_and_a_finite_sum_if_wrong(ink: int) -> None:
    """Probabilities are held 1e-7 away from 0 and 1, in float32: -log(1e-7) = 16.1 nats a pixel."""
    image = np.full((1, 28, 28), ink, np.float32)
    (right,), (wrong,) = binary_cross_entropy(image, image), binary_cross_entropy(image, 1 - image)
    assert 0 <= right < 784 * 2e-7
    assert wrong == pytest.approx(784 * -math.log(1e-7), rel=0.02)


@pytest.mark.parametrize(("latent_dim", "samples"), [(1, 1), (2, 1), (2, 3), (20, 2)])
def test_estimate_is_the_definition_in_numpy(latent_dim: int, samples: int, tmp_path: Path) -> None:
    """Of 600 images, with the noise that the docstring of `estimate` states."""
    encoder, decoder = onnx_models.encoder(latent_dim), onnx_models.decoder(latent_dim)
    z_mean, z_log_var = onnx_models.encode_in_numpy(encoder, IMAGES)
    generators = [np.random.default_rng([7, batch]) for batch in (0, 1)]
    costs = []
    for _ in range(samples):
        sizes = zip(generators, (512, 88), strict=True)
        noise = np.concatenate([g.standard_normal((size, latent_dim), np.float32) for g, size in sizes])
        p = onnx_models.decode_in_numpy(decoder, z_mean + np.exp(z_log_var / 2) * noise).astype(np.float64)
        x = IMAGES / 255
        costs.append(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2)).mean())
    kl = (0.5 * (np.exp(z_log_var) + z_mean**2 - 1 - z_log_var)).mean(axis=0)

    found = estimate(*open_both(encoder, decoder, tmp_path), IMAGES, samples, seed=7)
    assert found.reconstruction == pytest.approx(np.mean(costs), rel=1e-5)
    assert found.kl_per_latent == pytest.approx(kl.tolist(), rel=1e-4)
    assert found.kl == pytest.approx(kl.sum(), rel=1e-4)


def test_estimate_does_not_depend_on_the_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = open_both(onnx_models.encoder(), onnx_models.decoder(), tmp_path)
    found: list[Elbo] = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(estimate(*both, np.tile(IMAGES, (4, 1, 1)), samples=1, seed=0))
    assert found[0] == found[1]


def test_another_seed_is_another_estimate_of_the_same_kl(tmp_path: Path) -> None:
    both = open_both(onnx_models.encoder(), onnx_models.decoder(), tmp_path)
    first, second = (estimate(*both, IMAGES, samples=1, seed=seed) for seed in (0, 1))
    assert first.reconstruction != second.reconstruction
    assert first.kl_per_latent == second.kl_per_latent


def test_a_saturated_decoder_has_a_finite_elbo(tmp_path: Path) -> None:
    """Every pixel is certainly ink, and every image is blank."""
    decoder = onnx_models.set_constant(onnx_models.decoder(), "logits_b", np.full(784, 200, np.float32))
    found = estimate(*open_both(onnx_models.encoder(), decoder, tmp_path), np.zeros((3, 28, 28), np.uint8), 1, seed=0)
    assert found.reconstruction == pytest.approx(784 * -math.log(1e-7), rel=0.02)
    assert math.isfinite(found.negative_elbo)


def test_negative_elbo_is_the_sum_of_its_halves() -> None:
    assert Elbo(reconstruction=90.5, kl=10.25, kl_per_latent=(4.25, 6)).negative_elbo == 100.75
