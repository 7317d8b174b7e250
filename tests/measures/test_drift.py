import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstwo, norm

from pipeline.inference.usual import ALL, Usual
from pipeline.measures.drift import (
    count,
    decile_edges,
    drift,
    from_quantiles,
    population_stability_index,
    psi_by_chance,
)

MANY = 10**12  # images, beside which half of one is nothing
EVENLY = (np.arange(10_000) + 0.5) / 10_000  # from 0 to 1

samples = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


@pytest.mark.parametrize(
    ("usual", "found", "psi"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0),
        ([0.5, 0.5], [0.7, 0.3], 0.2 * np.log(1.4) - 0.2 * np.log(0.6)),
        ([0.7, 0.3], [0.5, 0.5], 0.2 * np.log(1.4) - 0.2 * np.log(0.6)),  # it is symmetric
        ([0.1] * 10, [0.2] + [0.1] * 8 + [0.0001], 0.1 * np.log(2) + 0.0999 * np.log(1000)),
    ],
)
def test_the_index_is_the_sum_of_its_formula(usual: list[float], found: list[float], psi: float) -> None:
    counts = ((np.array(shares) * MANY).astype(np.int64) for shares in (usual, found))
    assert population_stability_index(*counts) == pytest.approx(psi, abs=1e-4)


def test_half_an_image_in_each_bin_keeps_the_index_finite() -> None:
    a, b = np.array([10.5, 10.5]) / 21, np.array([20.5, 0.5]) / 21
    expected = ((b - a) * np.log(b / a)).sum()
    assert population_stability_index(np.array([10, 10]), np.array([20, 0])) == pytest.approx(expected)


def test_bins_that_both_leave_empty_add_nothing_however_different_the_numbers_of_rows_are() -> None:
    assert population_stability_index(np.array([0, MANY, 0]), np.array([0, 3, 0])) == 0


@pytest.mark.parametrize("shift", [0.1, 0.25, 0.5])
def test_uniform_values_that_are_shifted_have_a_ks_of_the_shift(shift: float) -> None:
    found = drift(EVENLY, EVENLY + shift)
    assert found.ks == pytest.approx(shift, abs=2e-4)  # one row of 10,000
    assert found.median - found.usual_median == pytest.approx(shift)


def test_uniform_values_that_are_shifted_by_a_decile_leave_the_first_and_double_the_last() -> None:
    found = drift(EVENLY, EVENLY + 0.1)
    assert found.deciles == pytest.approx(np.arange(1, 10) / 10, abs=1e-4)
    assert found.usual_shares == pytest.approx([0.1] * 10)
    assert found.shares == pytest.approx([0, *[0.1] * 8, 0.2])
    empty = 0.5 / 10_005
    assert found.psi == pytest.approx(0.1 * np.log(2) + 0.1 * np.log(0.1 / empty), rel=1e-2)


def test_normal_values_that_are_shifted_have_the_ks_of_the_closed_form() -> None:
    values = norm.ppf(EVENLY)
    assert drift(values, values + 0.3).ks == pytest.approx(2 * norm.cdf(0.15) - 1, abs=2e-4)


def test_the_p_value_counts_the_rows_of_both() -> None:
    values = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    few = norm.ppf((np.arange(200) + 0.5) / 200) + 0.1
    found = drift(values, few)
    assert found.p_value == pytest.approx(kstwo.sf(found.ks, round(20_000 * 200 / 20_200)), rel=1e-6)


def test_p_values_of_equal_distributions_are_uniform() -> None:
    generator = np.random.default_rng(0)
    found = [drift(*generator.normal(size=(2, 300))).p_value for _ in range(200)]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_the_index_of_equal_distributions_is_what_chance_gives() -> None:
    generator = np.random.default_rng(0)
    found = [drift(generator.normal(size=2000), generator.normal(size=500)).psi for _ in range(200)]
    assert np.mean(found) == pytest.approx(psi_by_chance(2000, 500), rel=0.1)


@given(samples)
def test_values_have_not_drifted_from_themselves(values: np.ndarray) -> None:
    found = drift(values, values)
    assert (found.ks, found.p_value) == (0, 1)
    assert found.psi == 0
    assert found.median == found.usual_median


@given(samples, samples)
def test_bins_hold_every_value_once(usual: np.ndarray, values: np.ndarray) -> None:
    edges = decile_edges(usual)
    assert (np.diff(edges) > 0).all()
    assert count(values, edges).sum() == len(values)
    found = drift(usual, values)
    assert 0 <= found.ks <= 1
    assert 0 <= found.p_value <= 1
    assert found.psi >= 0
    assert np.isfinite(found.psi)


@pytest.mark.parametrize("other", [-1.0, 1.0])
def test_a_value_that_is_repeated_has_a_bin_of_its_own(other: float) -> None:
    """As the excess of black images, or a latent that says nothing."""
    constant = np.zeros(100, np.float32)
    assert count(constant, decile_edges(constant)).tolist() == [0, 100, 0]
    assert drift(constant, np.full(50, other, np.float32)).psi > 5


@pytest.mark.parametrize("rows", [1001, 251, 101])
def test_a_sample_comes_back_from_its_quantiles(rows: int) -> None:
    values = np.sort(np.random.default_rng(0).gamma(9, 8, rows))
    np.testing.assert_allclose(from_quantiles(Usual.of(values).quantiles[ALL], rows), values, atol=1e-4)


def test_quantiles_say_nearly_what_the_sample_says() -> None:
    generator = np.random.default_rng(0)
    usual, values = generator.gamma(9, 8, 5000), generator.gamma(9, 8.5, 3000)
    exact, told = drift(usual, values), drift(from_quantiles(Usual.of(usual).quantiles[ALL], 5000), values)
    assert told.ks == pytest.approx(exact.ks, abs=1e-3)
    assert told.psi == pytest.approx(exact.psi, abs=2e-3)
    assert told.usual_rows == 5000
