"""The mixture is held to SciPy's normal distribution, and to what it was fitted to."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from threadpoolctl import threadpool_limits

from pipeline.exporting.check import prove, structure
from pipeline.exporting.mixture import MIXTURE_OPERATORS, GaussianMixture, fit_mixture, write_mixture
from pipeline.inference.manifest import Tolerance
from pipeline.shared.interface import MIXTURE, mismatches

TOLERANCE = Tolerance(absolute=1e-5, relative=1e-5)
RNG = np.random.default_rng(0)
UNIFORM = RNG.random(4000, np.float32)


def two_islands(rows: int, latent_dim: int = 2, deviation: float = 0.5) -> NDArray[np.float32]:
    """A quarter of the rows around -2, the others around 2."""
    centres = np.where(np.arange(rows) % 4 == 0, -2, 2)[:, None]
    return (centres + deviation * RNG.standard_normal((rows, latent_dim))).astype(np.float32)


def encoded(rows: int, latent_dim: int = 2) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means and log variances of which draws are such islands: 0.4^2 + 0.3^2 = 0.5^2."""
    z_mean = two_islands(rows, latent_dim, 0.4)
    return z_mean, np.full_like(z_mean, 2 * np.log(0.3))


def of_numbers(components: int, latent_dim: int) -> GaussianMixture:
    """Some mixture, not fitted to anything."""
    cumulative = np.append(np.arange(1, components) / components, np.inf).astype(np.float32)
    means = RNG.standard_normal((components, latent_dim), np.float32)
    factors = np.tril(RNG.standard_normal((components, latent_dim, latent_dim), np.float32))
    return GaussianMixture(cumulative, means, factors, {})


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    return fit_mixture(encoded(8000), two_islands(2000), components=2, seed=0)


def run(file: Path, uniform: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    z: NDArray[np.float32] = ort.InferenceSession(file).run(["z"], {"uniform": uniform, "noise": noise})[0]
    return z


def test_weights_means_and_covariances_are_those_of_the_data(mixture: GaussianMixture) -> None:
    first, last = np.argsort(mixture.means[:, 0])
    weights = np.diff([0, mixture.cumulative[0], 1])
    assert weights[[first, last]] == pytest.approx([0.25, 0.75], abs=0.01)
    np.testing.assert_allclose(mixture.means[[first, last]], [[-2, -2], [2, 2]], atol=0.05)
    covariances = mixture.factors @ mixture.factors.swapaxes(1, 2)
    np.testing.assert_allclose(covariances, np.stack([0.25 * np.eye(2)] * 2), atol=0.02)


def test_log_likelihoods_are_those_of_scipy() -> None:
    validation = two_islands(1000)
    mixture = fit_mixture(encoded(4000), validation, components=3, seed=0)
    weights = np.diff([0, *mixture.cumulative[:-1], 1])
    logs = [
        np.log(weight) + multivariate_normal(mean, factor @ factor.T).logpdf(validation)
        for weight, mean, factor in zip(weights, mixture.means, mixture.factors, strict=True)
    ]
    expected = {"mixture": logsumexp(logs, axis=0).mean(), "prior": multivariate_normal(np.zeros(2)).logpdf(validation)}
    assert mixture.log_likelihood["mixture"] == pytest.approx(expected["mixture"], abs=1e-3)
    assert mixture.log_likelihood["prior"] == pytest.approx(expected["prior"].mean(), abs=1e-4)
    assert mixture.log_likelihood["mixture"] > mixture.log_likelihood["prior"] + 1


@pytest.mark.parametrize(("components", "latent_dim"), [(1, 1), (1, 2), (3, 2), (5, 2), (400, 20)])
def test_the_file_is_sound_and_does_what_numpy_does(components: int, latent_dim: int, tmp_path: Path) -> None:
    mixture = of_numbers(components, latent_dim)
    write_mixture(mixture, tmp_path / "model.onnx")
    session = ort.InferenceSession(tmp_path / "model.onnx")
    assert structure(tmp_path / "model.onnx", MIXTURE_OPERATORS) == []
    assert mismatches(MIXTURE, session.get_inputs(), session.get_outputs()) == []
    noise = RNG.standard_normal((4000, latent_dim), np.float32)
    by_numpy = {"numpy": lambda *batch: {"z": mixture.sample(*batch)}}
    proof = prove(tmp_path / "model.onnx", MIXTURE, by_numpy, [UNIFORM, noise], TOLERANCE, MIXTURE_OPERATORS)
    assert proof.failures == ()
    assert proof.largest_difference.keys() == {"numpy", "reference"}


def test_uniform_numbers_pick_gaussians_in_turn(mixture: GaussianMixture, tmp_path: Path) -> None:
    """Without noise only the means are left; 1 is what 0.99999999 becomes in float32."""
    write_mixture(mixture, tmp_path / "model.onnx")
    border = mixture.cumulative[0]
    uniform = np.array([0, np.nextafter(border, np.float32(0)), border, 1], np.float32)
    z = run(tmp_path / "model.onnx", uniform, np.zeros((4, 2), np.float32))
    np.testing.assert_array_equal(z, mixture.means[[0, 0, 1, 1]])


def test_a_row_has_the_same_bytes_in_any_batch(mixture: GaussianMixture, tmp_path: Path) -> None:
    write_mixture(mixture, tmp_path / "model.onnx")
    noise = RNG.standard_normal((4000, 2), np.float32)
    whole = run(tmp_path / "model.onnx", UNIFORM, noise)
    pieces = [run(tmp_path / "model.onnx", UNIFORM[at : at + 700], noise[at : at + 700]) for at in range(0, 4000, 700)]
    assert whole.tobytes() == np.concatenate(pieces).tobytes()


def test_other_numbers_fail_the_proof(mixture: GaussianMixture, tmp_path: Path) -> None:
    write_mixture(mixture, tmp_path / "model.onnx")
    mixture = dataclasses.replace(mixture, means=mixture.means + np.float32(0.01))
    by_numpy = {"numpy": lambda *batch: {"z": mixture.sample(*batch)}}
    noise = RNG.standard_normal((4000, 2), np.float32)
    proof = prove(tmp_path / "model.onnx", MIXTURE, by_numpy, [UNIFORM, noise], TOLERANCE, MIXTURE_OPERATORS)
    assert [failure.split(":")[0] for failure in proof.failures] == [f"z at batch size {n}" for n in (1, 3, 257)]


def test_the_same_bytes_on_any_number_of_cores(tmp_path: Path) -> None:
    train, validation = encoded(6000, 8), two_islands(500, 8)
    for threads in (1, 2):
        with threadpool_limits(threads):
            write_mixture(fit_mixture(train, validation, 6, seed=0), tmp_path / f"{threads}.onnx")
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


@pytest.mark.parametrize(
    ("images", "latent_dim", "most"), [(3000, 1, 50), (300, 3, 30), (45, 2, 4), (9, 3, 1), (400, 370, 1)]
)
def test_few_images_or_many_latents_have_few_gaussians(images: int, latent_dim: int, most: int) -> None:
    """Ten images for each; 50 for a latent; of 370 latents, 2^18 numbers make one matrix."""
    mixture = fit_mixture(encoded(images, latent_dim), two_islands(100, latent_dim), 400, seed=0)
    assert 1 <= len(mixture.means) <= most
    assert mixture.log_likelihood["mixture"] > mixture.log_likelihood["prior"]


@pytest.mark.parametrize("seed", [0, 1])
def test_validation_latents_decide_how_many_gaussians_there_are(seed: int) -> None:
    """One island needs one, which more than one can't be better than; two need two."""
    noise = RNG.standard_normal((3000, 6), np.float32)
    one = fit_mixture((noise[:1000], np.full((1000, 6), -9, np.float32)), noise[1000:], 8, seed)
    assert len(one.means) == 1
    assert len(fit_mixture(encoded(1000, 6), two_islands(2000, 6), 8, seed).means) in (2, 4)
