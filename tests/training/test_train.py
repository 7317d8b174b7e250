import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError, TrainingError
from pipeline.files import sha256
from pipeline.params import Model, Train
from pipeline.training.train import train
from pipeline.training.weights import read_origin
from tests.prepared_digits import prepare_sample

MODEL = Model(latent_dim=2, encoder_units=(64,), decoder_units=(64,))
TRAIN = Train(epochs=2, batch_size=50, learning_rate=1e-3, seed=0, jit_compile=True, steps_per_execution=20)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("sample"))


def run(prepared: Path, folder: Path, params: Train = TRAIN, model: Model = MODEL) -> dict[str, float]:
    return train(model, params, prepared, folder / "models", folder / "report", verbose=0)


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in (folder / "models").iterdir()}


def test_the_same_seed_gives_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    run(prepared, tmp_path / "one")
    run(prepared, tmp_path / "two")
    run(prepared, tmp_path / "other", TRAIN.model_copy(update={"seed": 1}))
    one, two, other = (hashes(tmp_path / name) for name in ("one", "two", "other"))
    assert set(one) == {"encoder.json", "encoder.weights.h5", "decoder.json", "decoder.weights.h5", "training.json"}
    assert one == two
    assert one["encoder.weights.h5"] != other["encoder.weights.h5"]


def test_dvclive_logs_every_epoch_of_training_and_validation(prepared: Path, tmp_path: Path) -> None:
    figures = run(prepared, tmp_path)
    for split, prefix in (("train", ""), ("eval", "val_")):
        for name in ("loss", "reconstruction", "kl"):
            table = tmp_path / "report/plots/metrics" / split / f"{name}.tsv"
            rows = list(csv.DictReader(table.open(), delimiter="\t"))
            assert [row["step"] for row in rows] == ["0", "1"]
            assert float(rows[-1][name]) == pytest.approx(figures[prefix + name])
    metrics = json.loads((tmp_path / "report/metrics.json").read_text())
    assert metrics["eval"]["loss"] == pytest.approx(metrics["eval"]["reconstruction"] + metrics["eval"]["kl"])


def test_training_without_xla_repeats_too_and_ends_close(prepared: Path, tmp_path: Path) -> None:
    # Its own process: TensorFlow's determinism can't be switched off again.
    script = (
        "import json, sys; from pathlib import Path; from tests.training.test_train import *\n"
        "plain = TRAIN.model_copy(update={'jit_compile': False})\n"
        "results = [run(Path(sys.argv[1]), Path(sys.argv[2]) / name, plain) for name in ('one', 'two')]\n"
        "print(json.dumps(results[0]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, prepared, tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    compiled = run(prepared, tmp_path / "compiled")
    # Another order of summation and of the images, the same model: 3 % is several times the spread over seeds.
    assert json.loads(output.splitlines()[-1])["val_loss"] == pytest.approx(compiled["val_loss"], rel=0.03)


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_no_weights(prepared: Path, tmp_path: Path) -> None:
    linear = MODEL.model_copy(update={"encoder_units": ()})  # nothing stops its log variance from overflowing
    with pytest.raises(TrainingError, match=r"not finite after epoch 1; lower train\.learning_rate \(now 1\)"):
        run(prepared, tmp_path, TRAIN.model_copy(update={"learning_rate": 1.0}), linear)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused_before_training(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    endless = TRAIN.model_copy(update={"epochs": 10**9})
    with pytest.raises(OutputError, match=r"already holds .thesis\.txt."):
        run(prepared, tmp_path, endless)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_the_weights_say_what_they_come_from(prepared: Path, tmp_path: Path) -> None:
    run(prepared, tmp_path)
    origin = read_origin(tmp_path / "models")
    assert Model(**origin["model"]) == MODEL
    assert Train(**origin["train"]) == TRAIN
    assert origin["data"]["source"] == "sample"


def test_a_repository_without_a_commit_is_named(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=r"git repository \(Empty git repo\); make a first commit"):
        run(prepared, tmp_path / "work")
    assert not (tmp_path / "work" / "report").exists()
