import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from pipeline.evaluating import latent_figures as module
from pipeline.evaluating.latent_figures import active, aggregate_posterior, latent_figures
from pipeline.measures.elbo import kl_per_latent


def test_equal_posteriors_are_their_aggregate() -> None:
    """KL(q(z) || p(z)) is then the KL of each digit in closed form, and the latents tell nothing about the digit."""
    z_mean, z_log_var = np.tile([1.0, -0.5], (3000, 1)), np.tile(np.log([0.3, 1.2]), (3000, 1))
    found = aggregate_posterior(z_mean, z_log_var, seed=0)
    kl = kl_per_latent(z_mean, z_log_var)[0].sum()
    assert abs(found.kl - kl) < 5 * found.standard_error
    assert found.standard_error < 0.05
    assert abs(found.mutual_information) < 5 * found.standard_error


def test_posteriors_far_apart_tell_which_digit_it_is() -> None:
    """The mutual information is log n: each draw has its own posterior alone for a neighbour."""
    z_mean = np.linspace(-4, 4, 200)[:, None]
    found = aggregate_posterior(z_mean, np.full_like(z_mean, math.log(1e-6)), seed=0)
    # The draws' own noise is all that makes it an estimate.
    assert found.mutual_information == pytest.approx(math.log(200), abs=5 * math.sqrt(0.5 / 200))


def test_the_aggregate_of_one_latent_agrees_with_numerical_integration() -> None:
    means, sigmas = np.array([-1.0, 0.2, 1.5]), np.array([0.5, 0.9, 0.3])

    def mixture(z: float) -> float:
        return float(norm.pdf(z, means, sigmas).mean())

    exact, _ = quad(lambda z: mixture(z) * math.log(mixture(z) / norm.pdf(z)), -8, 8, points=[-1, 0.2, 1.5])
    z_mean, z_log_var = np.repeat(means, 1500)[:, None], np.repeat(np.log(sigmas**2), 1500)[:, None]
    found = aggregate_posterior(z_mean, z_log_var, seed=2)
    assert abs(found.kl - exact) < 5 * found.standard_error
    assert found.standard_error < 0.02


def test_a_perfect_aggregate_is_the_prior() -> None:
    """Means from N(0, 3/4), variances of 1/4: together N(0, 1)."""
    z_mean = np.random.default_rng(0).normal(0, math.sqrt(0.75), (4000, 1))
    found = aggregate_posterior(z_mean, np.full_like(z_mean, math.log(0.25)), seed=0)
    assert found.kl == pytest.approx(0, abs=0.01)
    assert found.mutual_information == pytest.approx(0.5 * math.log(4), abs=0.03)  # of two correlated normals


def test_the_estimate_does_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    z_mean, z_log_var = np.random.default_rng(0).normal(size=(2, 700, 3))
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        found.append(aggregate_posterior(z_mean, z_log_var, seed=0))
    assert found[0] == found[1]


def test_a_latent_is_active_if_its_mean_varies_between_digits() -> None:
    """Burda et al. (2015): by more than 0.01; what all digits share does not count."""
    spread = np.array([-1, 1] * 500)
    z_mean = np.stack([spread * 0.11, spread * 0.09, np.full(1000, 3.0)], axis=1).astype(np.float32)
    assert active(z_mean).tolist() == [True, False, False]


def test_latents_that_are_not_in_use_are_named_with_their_kl() -> None:
    z_mean = np.zeros((1000, 4), np.float32)
    z_mean[:, (0, 2)] = np.random.default_rng(0).standard_normal((1000, 2))
    z_log_var = np.full((1000, 4), math.log(0.5), np.float32)
    z_log_var[:, 3] = 0
    figures = latent_figures(z_mean, z_log_var, seed=0)
    assert figures["active"] == 2
    assert figures["active_share"] == 0.5
    assert figures["kl_per_latent"][3] == 0
    assert "not in use: 1, 3 (counted from 0)" in figures["note"]
    assert "their KL is 0.0000 to 0.0966 nats" in figures["note"]  # (0.5 - 1 + log 2) / 2
    kl = sum(figures["kl_per_latent"])
    assert figures["aggregate_kl"] + figures["mutual_information"] == pytest.approx(kl, abs=5e-4)


def test_there_is_no_note_if_all_latents_are_in_use() -> None:
    z_mean, z_log_var = np.random.default_rng(0).standard_normal((2, 1000, 2), np.float32)
    figures = latent_figures(z_mean, z_log_var, seed=0)
    assert (figures["active"], figures["active_share"]) == (2, 1.0)
    assert "note" not in figures
