"""A clock and a yardstick of its own stand in for those of the machine: its load must not decide on a test."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MeasurementError, ModelError
from pipeline.tools import bench as module
from pipeline.tools.bench import Contender, measure, product_contenders, run_vae, write_pile
from tests import onnx_models

Take = Callable[[float], None]
RATE = 2e9  # operations per second


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Take:
    """Lets seconds pass."""
    now = 0.0

    def pass_(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "matrix_rate", lambda *_: RATE)
    monkeypatch.setattr(module, "numpy_matrix_rate", lambda _: RATE / 2)
    return pass_


def contender(take: Take, seconds: Iterable[float], name: str = "job") -> Contender:
    """1,000 images of a million operations each: half a second at the rate of the machine."""
    lasting = iter(seconds)
    return Contender(name, lambda: take(next(lasting)), 1000, 1_000_000)


def test_a_figure_is_the_median_of_the_rounds_as_a_share_of_the_better_yardstick(take: Take) -> None:
    report = measure([contender(take, [1.0, 1.05, 0.95])], 3, str)
    (figure,) = report.figures
    assert (figure.seconds, figure.images_per_second, figure.matrix_share) == pytest.approx((1, 1000, 0.5))
    assert (report.rounds, report.matrix_gflops) == (3, 2)
    assert f"{'job':<32}{'1,000':>11}{'1.00':>10}{'1,000':>12}{'50%':>11}" in str(report)


def test_rounds_that_disagree_are_followed_by_more(take: Take) -> None:
    report = measure([contender(take, [1, 3, 1, 1, 1, 1])], 2, str)
    assert (report.rounds, report.figures[0].seconds) == (5, 1)


def test_rounds_that_never_agree_give_no_figure(take: Take) -> None:
    steady, wild = contender(take, itertools.repeat(1)), contender(take, itertools.cycle([1, 2]), "wild")
    with pytest.raises(MeasurementError, match=r"wild: the rounds differ by \d+% .*, expected at most 15%"):
        measure([steady, wild], 2, str)


def test_what_precedes_the_work_is_not_measured(take: Take) -> None:
    one = Contender("job", lambda: take(1), 1000, 1_000_000, prepare=lambda: take(100))
    assert measure([one], 2, str).figures[0].seconds == 1


def test_the_jobs_are_those_that_people_run_and_find_no_older_result(tmp_path: Path) -> None:
    bundle = onnx_models.add_scorer(onnx_models.save_bundle(tmp_path / "exports"))
    jobs = product_contenders(bundle, write_pile(tmp_path / "images.npy", 1000), 1000)
    for one in jobs:
        one.prepare()
        assert not (tmp_path / "result").exists()
        one.work()
        assert (tmp_path / "result/_manifest.json").exists() == one.name.startswith("vae ")
    assert len(jobs) == 9


def test_a_model_that_does_not_say_its_operations_cannot_be_measured(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.encoder(), tmp_path / "encoder")
    onnx_models.save(onnx_models.decoder(), tmp_path / "decoder")
    onnx_models.put_scorer(tmp_path)
    with pytest.raises(MeasurementError, match="don't say their operations; run `vae export` again"):
        product_contenders(tmp_path, tmp_path / "images.npy", 1000)


def test_halves_of_two_models_are_not_measured(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.encoder(2), tmp_path / "encoder")
    onnx_models.save(onnx_models.decoder(3), tmp_path / "decoder")
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* has 3; give encoder and decoder of one export"):
        product_contenders(tmp_path, tmp_path / "images.npy", 1000)


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(MeasurementError, match=r"vae encode failed: error: .* was not found"):
        run_vae("encode", "no-such-file.npy", "-o", "out", "--encoder", "no-such-model")


def test_the_pile_repeats_a_pattern(tmp_path: Path) -> None:
    pile = np.load(write_pile(tmp_path / "images.npy", 25_000), mmap_mode="r")
    assert (pile.shape, pile.dtype) == ((25_000, 28, 28), np.uint8)
    np.testing.assert_array_equal(pile[20_000:], pile[:5_000])
    assert len(np.unique(pile[:100].reshape(100, -1), axis=0)) == 100
