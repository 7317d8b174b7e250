from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.errors import DataError, ModelError
from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.latent_rows import LatentSource
from pipeline.jobs.latents import choose_latents
from tests import mixtures, onnx_models

Z = np.random.default_rng(3).standard_normal((10, 2), np.float32)


def read_all(source: LatentSource, step: int = 4096) -> NDArray[np.float32]:
    """Every row; none is bad."""
    starts = range(0, source.count, step)
    stretches = [source.read(start, min(start + step, source.count))() for start in starts]
    assert not any(stretch.bad for stretch in stretches)
    return np.concatenate([stretch.z for stretch in stretches])


def test_prior_is_the_standard_normal_distribution() -> None:
    """Standard errors over n draws: 1/sqrt(n) of a mean and of a correlation, sqrt(2/n) of a variance."""
    n = 200_000
    z = read_all(prior(n, seed=0, latent_dim=3))
    assert z.dtype == np.float32
    assert z.shape == (n, 3)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs(np.cov(z.T) - np.eye(3)).max() < 4 * np.sqrt(2 / n)
    assert np.abs(np.corrcoef(z[:-1].T, z[1:].T)[:3, 3:]).max() < 4 / np.sqrt(n)  # nor does a row know the next
    for latent in z.T:
        assert np.abs((latent < 1).mean() - norm.cdf(1)) < 4 * 0.5 / np.sqrt(n)


@settings(deadline=None, max_examples=30)
@given(
    counts=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    steps=st.tuples(st.sampled_from([64, 1024, 4096]), st.sampled_from([64, 1024, 4096])),
    seed=st.integers(0, 2**64),
)
def test_a_prefix_of_a_longer_draw_is_the_shorter_draw(
    counts: tuple[int, int], steps: tuple[int, int], seed: int
) -> None:
    short, long = (prior(count, seed, latent_dim=2) for count in sorted(counts))
    assert read_all(short, steps[0]).tobytes() == read_all(long, steps[1])[: short.count].tobytes()


def test_each_4096_draws_come_from_a_generator_of_their_own() -> None:
    block = np.random.default_rng([7, 2]).standard_normal((4096, 3), np.float32)
    assert prior(99_999, 7, 3).read(8192, 12_288)().z.tobytes() == block.tobytes()


def test_seeds_and_blocks_differ() -> None:
    first, second = (prior(5000, seed, latent_dim=2) for seed in (0, 1))
    starts = [source.read(row, row + 1)().z.tobytes() for source in (first, second) for row in (0, 4096)]
    assert len(set(starts)) == 4
    assert first.state() != second.state()


def test_prior_gives_the_same_rows_in_whatever_stretches_they_are_drawn() -> None:
    source = prior(10_000, 3, latent_dim=2)
    whole = read_all(source)
    assert np.array_equal(source.read(4000, 9000)().z, whole[4000:9000])


def test_a_mixture_takes_the_noise_of_the_prior_and_generators_of_its_own(tmp_path: Path) -> None:
    source = mixture(mixtures.save(tmp_path, 3), 9000, seed=7, latent_dim=3)
    noise = read_all(prior(9000, 7, 3))
    uniform = [np.random.default_rng([7, k, 1]).random(4096, np.float32) for k in range(3)]
    expected = mixtures.draw_in_numpy(np.concatenate(uniform)[:9000], noise)
    np.testing.assert_allclose(read_all(source), expected, rtol=1e-5, atol=1e-6)


def test_a_mixture_is_distributed_as_its_numbers_say(tmp_path: Path) -> None:
    """Mean and covariance of a mixture; standard errors over n draws as for the prior, times the spread."""
    n = 100_000
    z = read_all(mixture(mixtures.save(tmp_path), n, seed=0, latent_dim=2))
    means, factors = mixtures.numbers(2)
    weights = np.array([0.25, 0.75])
    mean = weights @ means
    within = np.einsum("k,kij,klj->il", weights, factors, factors)
    covariance = within + np.einsum("k,ki,kj->ij", weights, means - mean, means - mean)
    spread = covariance.max()
    assert np.abs(z.mean(axis=0) - mean).max() < 4 * np.sqrt(spread / n)
    assert np.abs(np.cov(z.T) - covariance).max() < 4 * spread * np.sqrt(2 / n)


def test_a_mixture_gives_the_same_bytes_in_whatever_stretches_and_begins_alike(tmp_path: Path) -> None:
    path = mixtures.save(tmp_path)
    long, short = (mixture(path, count, seed=1, latent_dim=2) for count in (10_000, 5000))
    whole = read_all(long)
    assert read_all(long, step=700).tobytes() == whole.tobytes()
    assert long.read(4000, 9000)().z.tobytes() == whole[4000:9000].tobytes()
    assert read_all(short).tobytes() == whole[:5000].tobytes()


def test_the_state_of_a_mixture_knows_file_and_seed(tmp_path: Path) -> None:
    first = mixture(mixtures.save(tmp_path / "a"), 5, seed=0, latent_dim=2)
    assert first.state() == mixture(tmp_path / "a" / "model.onnx", 5, seed=0, latent_dim=2).state()
    assert first.state() != mixture(tmp_path / "a", 5, seed=1, latent_dim=2).state()
    model = mixtures.save(tmp_path / "b") / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"mixture", b"mixtura"))
    assert first.state() != mixture(model, 5, seed=0, latent_dim=2).state()


def test_a_mixture_of_many_latents_takes_a_matrix_for_each_row(tmp_path: Path) -> None:
    source = mixture(mixtures.save(tmp_path, 512), 20, seed=0, latent_dim=512)
    noise = read_all(prior(20, 0, 512))
    uniform = np.random.default_rng([0, 0, 1]).random(20, np.float32)
    np.testing.assert_allclose(read_all(source), mixtures.draw_in_numpy(uniform, noise), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "was not found; draw from the prior, or run `vae export` to fit a mixture"),
        (lambda path: mixtures.save(path, 3), "gives 3 latent(s), the decoder takes 2"),
        (
            lambda path: onnx_models.save(onnx_models.decoder(), path),
            "is no mixture: input is z float32[batch, 2], exp",
        ),
        (lambda path: path.mkdir() or (path / "model.onnx").write_text("x"), "is not a usable ONNX file"),
    ],
)
def test_what_is_no_mixture_of_these_latents_is_refused_in_one_line(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "mixture")
    with pytest.raises(ModelError) as refusal:
        mixture(tmp_path / "mixture", 5, seed=0, latent_dim=2)
    assert str(refusal.value).startswith(str(tmp_path / "mixture"))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("latent_dim", [2, 20])
def test_a_quantile_grid_spans_the_quantiles_of_the_prior(latent_dim: int) -> None:
    """Left to right latent 0 grows, top to bottom latent 1 falls, the others rest at 0."""
    side = 5
    z = read_all(QuantileGrid(side, latent_dim)).reshape(side, side, latent_dim)
    quantiles = norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(z[..., 0], np.broadcast_to(quantiles, (side, side)), atol=1e-6)
    np.testing.assert_allclose(z[..., 1], np.broadcast_to(quantiles[::-1, None], (side, side)), atol=1e-6)
    assert not z[..., 2:].any()


def test_a_part_of_a_quantile_grid_is_made_by_itself() -> None:
    whole = read_all(QuantileGrid(70, 3))
    assert read_all(QuantileGrid(70, 3), step=111).tobytes() == whole.tobytes()
    assert QuantileGrid(70, 3).read(123, 456)().z.tobytes() == whole[123:456].tobytes()


def test_a_quantile_grid_of_one_latent_is_a_single_row() -> None:
    np.testing.assert_allclose(read_all(QuantileGrid(2, latent_dim=1)), norm.ppf([[0.25], [0.75]]), atol=1e-6)


def test_choose_latents_reads_the_first_of_a_file_or_spans_or_draws(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", Z)
    of_file = [choose_latents(2, path=tmp_path / "z.npy", count=count) for count in (4, 10, None)]
    assert [source.count for source in of_file] == [4, 10, 10]
    with pytest.raises(DataError, match="holds 10 latents, --count asks for 11"):
        choose_latents(2, path=tmp_path / "z.npy", count=11)
    assert read_all(of_file[0]).tolist() == Z[:4].tolist()
    assert read_all(choose_latents(2, side=3)).tolist() == read_all(QuantileGrid(3, 2)).tolist()
    assert read_all(choose_latents(2, count=6, seed=8)).tolist() == read_all(prior(6, 8, 2)).tolist()


def test_draws_are_from_the_mixture_if_there_is_one_and_not_the_prior_asked_for(tmp_path: Path) -> None:
    fitted, missing = mixtures.save(tmp_path / "mixture"), tmp_path / "missing"

    def draw(fitted: Path, sampler: Literal["prior", "mixture"] | None) -> list[list[float]]:
        drawn: list[list[float]] = read_all(choose_latents(2, count=6, seed=8, fitted=fitted, sampler=sampler)).tolist()
        return drawn

    of_prior, of_mixture = read_all(prior(6, 8, 2)).tolist(), read_all(mixture(fitted, 6, 8, 2)).tolist()
    assert draw(fitted, None) == draw(fitted, "mixture") == of_mixture
    assert draw(fitted, "prior") == draw(missing, "prior") == draw(missing, None) == of_prior
    with pytest.raises(ModelError, match="was not found; draw from the prior"):
        draw(missing, "mixture")
