"""With scorers whose scores are known: the sum of the pixels, and those of small halves."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluating.score_figures import score_figures
from pipeline.inference import Decoder, Encoder, Scorer
from pipeline.inference.usual import Usual
from pipeline.measures.corruptions import CORRUPTIONS, corrupt
from pipeline.measures.elbo import binary_cross_entropy, kl_per_latent
from pipeline.measures.outliers import area_under_curve
from tests import onnx_models, scores

IMAGES = np.random.default_rng(0).integers(0, 3, (200, 28, 28), np.uint8)  # sums from about 700 to 900
LABELS = (np.arange(200) % 10).astype(np.uint8)


def summing(folder: Path, facts: dict[str, str] | None = None) -> Scorer:
    """A scorer whose outputs are the sum of the pixels; up to 1,000, evenly, are usual."""
    usual = Usual.of(np.linspace(0, 1000, 1001)).facts()
    return Scorer(onnx_models.save(scores.scorer(usual if facts is None else facts), folder))


def test_each_corruption_and_each_pile_has_its_figures(tmp_path: Path) -> None:
    found = score_figures(summing(tmp_path), IMAGES, LABELS, {"strangers": IMAGES[:7]}, seed=0)
    assert list(found) == [*CORRUPTIONS, "strangers"]
    columns = ["area_under_curve", "area_under_curve_excess", "area_under_curve_negative_elbo", "caught"]
    assert all(list(row) == columns for row in found.values())
    assert all(0 <= value <= 1 for row in found.values() for value in row.values())


def test_what_leaves_the_score_as_it_was_is_told_by_chance(tmp_path: Path) -> None:
    found = score_figures(summing(tmp_path), IMAGES, LABELS, {"the same": IMAGES}, seed=0)
    for name in ("turned", "upside_down", "mirrored", "the same"):
        assert set(list(found[name].values())[:3]) == {0.5}


def test_what_is_far_from_the_usual_is_told_without_fail(tmp_path: Path) -> None:
    others = {"empty": np.zeros((5, 28, 28), np.uint8), "grey": np.full((5, 28, 28), 100, np.uint8)}
    found = score_figures(summing(tmp_path), IMAGES, LABELS, others, seed=0)
    far = {"area_under_curve": 1, "area_under_curve_excess": 1, "area_under_curve_negative_elbo": 1, "caught": 1}
    assert found["inverted"] == found["grey"] == far
    assert found["empty"] == dict.fromkeys(far, 0)


def test_caught_are_those_above_99_in_100_of_what_is_usual(tmp_path: Path) -> None:
    strange = np.zeros((8, 28, 28), np.uint8)
    strange[:, 0, :3] = 255
    strange[:5, 0, 3] = 225  # 990 is the 99th percentile
    strange[:2, 0, 4] = 1
    assert score_figures(summing(tmp_path), IMAGES, LABELS, {"some": strange}, seed=0)["some"]["caught"] == 0.25


def test_a_scorer_that_does_not_tell_what_is_usual_catches_nothing(tmp_path: Path) -> None:
    found = score_figures(summing(tmp_path, {}), IMAGES, None, {}, seed=0)
    assert not any("caught" in row for row in found.values())


@pytest.mark.parametrize("name", ["moved", "scrambled", "blurred"])
def test_areas_are_those_of_score_excess_and_negative_elbo(name: str, tmp_path: Path) -> None:
    """At the latents' mean; each score is computed in another way here."""
    encoder, decoder = (
        kind(onnx_models.save(make(), tmp_path / make.__name__))
        for kind, make in ((Encoder, onnx_models.encoder), (Decoder, onnx_models.decoder))
    )
    images = np.random.default_rng(1).integers(0, 256, (60, 28, 28), np.uint8)
    images[30:, ::2] = 0

    def negative_elbo(pile: np.ndarray) -> np.ndarray:
        z_mean, z_log_var = encoder(pile)
        cross_entropy = binary_cross_entropy(pile.astype(np.float32) / 255, decoder(z_mean))
        return cross_entropy + kl_per_latent(z_mean, z_log_var).sum(axis=1)

    strange = corrupt(name, images, LABELS[:60], 4)
    excess, scored = ([onnx_models.score_in_numpy(pile)[place] for pile in (images, strange)] for place in (0, 3))
    scorer = Scorer(onnx_models.save(onnx_models.scorer(), tmp_path / "scorer"))
    found = score_figures(scorer, images, LABELS[:60], {}, seed=4)[name]
    assert found["area_under_curve"] == pytest.approx(area_under_curve(*scored), abs=1e-3)
    assert found["area_under_curve_excess"] == pytest.approx(area_under_curve(*excess), abs=1e-3)
    bounds = map(negative_elbo, (images, strange))
    assert found["area_under_curve_negative_elbo"] == pytest.approx(area_under_curve(*bounds), abs=1e-3)
