import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import OutputError, TrainingError
from pipeline.params import Model, Train
from pipeline.training.weights import read_origin
from tests.test_house import ROOT
from tests.training.conftest import Trained
from tests.training.runs import MODEL, TRAIN, hashes, run


def test_the_same_seed_gives_the_same_bytes(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    run(prepared_sample, tmp_path / "again")
    run(prepared_sample, tmp_path / "other", TRAIN.model_copy(update={"seed": 1, "epochs": 1}))
    one, again, other = hashes(trained(TRAIN).folder), hashes(tmp_path / "again"), hashes(tmp_path / "other")
    assert set(one) == {"encoder.json", "encoder.weights.h5", "decoder.json", "decoder.weights.h5", "training.json"}
    assert one == again
    assert one["encoder.weights.h5"] != other["encoder.weights.h5"]


def test_dvclive_logs_every_epoch_of_training_and_validation(trained: Callable[[Train], Trained]) -> None:
    found = trained(TRAIN)
    for split, prefix in (("train", ""), ("eval", "val_")):
        for name in ("loss", "reconstruction", "kl"):
            table = found.folder / "report/plots/metrics" / split / f"{name}.tsv"
            rows = list(csv.DictReader(table.open(), delimiter="\t"))
            assert [row["step"] for row in rows] == ["0", "1"]
            assert float(rows[-1][name]) == pytest.approx(found.figures[prefix + name])
    metrics = json.loads((found.folder / "report/metrics.json").read_text())
    assert metrics["eval"]["loss"] == pytest.approx(metrics["eval"]["reconstruction"] + metrics["eval"]["kl"])


def test_the_weights_say_what_they_come_from(trained: Callable[[Train], Trained]) -> None:
    origin = read_origin(trained(TRAIN).folder / "models")
    assert Model(**origin["model"]) == MODEL
    assert Train(**origin["train"]) == TRAIN
    assert origin["data"]["source"] == "sample"


def test_patience_ends_a_run_that_gets_no_better_and_the_weights_are_those_of_its_best_epoch(
    prepared_sample: Path, tmp_path: Path
) -> None:
    overfits = TRAIN.model_copy(update={"learning_rate": 0.02, "epochs": 1000, "patience": 2})
    figures = run(prepared_sample, tmp_path, overfits)
    table = tmp_path / "report/plots/metrics/eval/loss.tsv"
    losses = [float(row["loss"]) for row in csv.DictReader(table.open(), delimiter="\t")]
    assert figures["val_loss"] == pytest.approx(min(losses))
    assert read_origin(tmp_path / "models")["epoch"] == losses.index(min(losses)) + 1 == figures["epoch"]
    assert len(losses) == figures["epoch"] + 2


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_no_weights(prepared_sample: Path, tmp_path: Path) -> None:
    linear = MODEL.model_copy(update={"encoder_units": ()})  # nothing stops its log variance from overflowing
    expected = (
        r"not finite in epoch 1, steps \d+ to \d+ \(.*kl .*\); lower train\.learning_rate \(now 1\) or .*clip_norm"
    )
    with pytest.raises(TrainingError, match=expected):
        run(prepared_sample, tmp_path, TRAIN.model_copy(update={"learning_rate": 1.0}), linear)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_gradient_bounded_to_next_to_nothing_moves_no_weights(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    bound = run(prepared_sample, tmp_path, TRAIN.model_copy(update={"clip_norm": 1e-12, "epochs": 1}))["val_loss"]
    untrained = 784 * np.log(2)  # logits near 0
    assert bound == pytest.approx(untrained, rel=0.1)
    assert trained(TRAIN).figures["val_loss"] < untrained / 2


@pytest.mark.parametrize("backend", ["torch", "nonsense"])
def test_another_backend_of_keras_is_refused_in_one_line(backend: str, prepared_sample: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "vae", "train", prepared_sample, "--params", ROOT / "params.yaml"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == f"error: KERAS_BACKEND is {backend}; training runs on tensorflow or jax\n"


def test_a_collapsed_posterior_stops_the_run(prepared_sample: Path, tmp_path: Path) -> None:
    heavy = TRAIN.model_copy(update={"kl_weight": 100.0, "epochs": 4})
    with pytest.raises(TrainingError, match=r"the posterior collapsed: the validation KL is .*lower .*kl_weight"):
        run(prepared_sample, tmp_path, heavy)


def test_a_folder_with_other_files_is_refused_before_training(prepared_sample: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    endless = TRAIN.model_copy(update={"epochs": 10**9})
    with pytest.raises(OutputError, match=r"already holds .thesis\.txt."):
        run(prepared_sample, tmp_path, endless)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_repository_without_a_commit_is_named(
    prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=r"git repository \(Empty git repo\); make a first commit"):
        run(prepared_sample, tmp_path / "work")
    assert not (tmp_path / "work" / "report").exists()
