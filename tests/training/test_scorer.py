"""The excess is what the closed forms say, whatever the pixels and logits."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import expit, logit, rel_entr

from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.scorer import Scores, build_reconstruction, build_scorer, entropy

LEVELS = (0, 1, 127, 128, 254, 255)
LOGITS = (-60, -20, -5, -1, 0, 1, 5, 20, 60)


def divergence(images: NDArray[np.uint8], logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(Bernoulli(x) || Bernoulli(p)) by SciPy in float64, summed over pixels: `[n, 28, 28]` twice to `[n]`."""
    x, l64 = images / 255, logits.astype(np.float64)
    total: NDArray[np.float64] = (rel_entr(x, expit(l64)) + rel_entr(1 - x, expit(-l64))).sum(axis=(1, 2))
    return total


def scores(
    images: NDArray[np.uint8], logits: NDArray[np.floating], z_mean: float = 0, z_log_var: float = 0
) -> dict[str, NDArray[np.float32]]:
    """By Keras, with two latents, both of which have this mean and log variance."""
    latents = {name: np.full((len(images), 2), value, np.float32) for name, value in
               (("z_mean", z_mean), ("z_log_var", z_log_var))}  # fmt: skip
    found = Scores(dtype="float32")(images, {**latents, "logits": logits.astype(np.float32)})
    return {name: np.asarray(values) for name, values in found.items()}


def same(value: float, dtype: type[np.generic]) -> NDArray[np.generic]:
    """An image of which all pixels are alike."""
    return np.full((1, 28, 28), value, dtype)


def test_a_perfect_reconstruction_at_the_mean_of_the_prior_has_no_excess() -> None:
    images = np.arange(784, dtype=np.int64).reshape(1, 28, 28).astype(np.uint8)  # every level
    logits = logit(images / 255).clip(-60, 60)
    for values in scores(images, logits).values():
        np.testing.assert_allclose(values, 0, atol=1e-3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", LOGITS)
def test_the_reconstruction_is_the_divergence_of_bernoulli_distributions(level: int, value: float) -> None:
    image, logits = same(level, np.uint8), same(value, np.float64)
    found = scores(image, logits)
    np.testing.assert_allclose(found["reconstruction"], divergence(image, logits), rtol=1e-5, atol=1e-3)
    assert found["kl"] == 0
    assert found["excess"] == found["reconstruction"]


@pytest.mark.parametrize(("mean", "log_var"), [(0, 0), (3, 0), (0, -4), (-1.5, 1), (0.1, -0.1)])
def test_the_kl_is_that_of_gaussians_and_a_part_of_the_excess(mean: float, log_var: float) -> None:
    image, logits = same(100, np.uint8), same(1, np.float64)
    found = scores(image, logits, mean, log_var)
    expected = 2 * 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var)
    np.testing.assert_allclose(found["kl"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["excess"], found["reconstruction"] + found["kl"])


@pytest.mark.parametrize("level", LEVELS)
def test_the_entropy_is_that_of_grey_levels_as_probabilities(level: int) -> None:
    x = level / 255
    expected = 784 * -(x * np.log(x or 1) + (1 - x) * np.log(1 - x or 1))
    np.testing.assert_allclose(entropy(np.float32([np.full((28, 28), x)])), expected, rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(
    images=hnp.arrays(np.uint8, (2, 28, 28)),
    sharpness=st.floats(0, 60),
    seed=st.integers(0, 99),
    mean=st.floats(-5, 5),
    log_var=st.floats(-10, 5),
)
def test_no_score_is_below_0_whatever_the_pixels(
    images: NDArray[np.uint8], sharpness: float, seed: int, mean: float, log_var: float
) -> None:
    logits = sharpness * np.random.default_rng(seed).uniform(-1, 1, images.shape)
    found = scores(images, logits, mean, log_var)
    assert all((values >= 0).all() for values in found.values())
    np.testing.assert_allclose(found["reconstruction"], divergence(images, logits), rtol=1e-5, atol=1e-2)


def test_a_scorer_scores_the_reconstruction_from_the_mean() -> None:
    keras.utils.set_random_seed(0)
    halves = build_encoder(3, [8]), build_decoder(3, [8])
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    parts = {name: np.asarray(values) for name, values in build_reconstruction(*halves)(images).items()}
    z_mean = np.asarray(halves[0](images)["z_mean"])
    np.testing.assert_array_equal(parts["z_mean"], z_mean)
    np.testing.assert_allclose(expit(parts["logits"]), np.asarray(halves[1](z_mean)["image"]), atol=1e-6)
    found = build_scorer(*halves)(images)
    assert list(found) == ["excess", "reconstruction", "kl", "score"]
    assert all(values.dtype == "float32" and values.shape == (5,) for values in found.values())
    np.testing.assert_allclose(found["reconstruction"], divergence(images, parts["logits"]), rtol=1e-5)
    ink = images.sum(axis=(1, 2)) / 255
    np.testing.assert_allclose(found["score"], np.asarray(found["excess"]) / np.sqrt(1 + ink), rtol=1e-5)
