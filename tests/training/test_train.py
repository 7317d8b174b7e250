import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.data.binarise import binarise
from pipeline.errors import OutputError, TrainingError
from pipeline.params import Model, Train, read_params
from pipeline.shared.files import sha256
from pipeline.training import fingerprint
from pipeline.training.lookup import ImageLookup
from pipeline.training.model import reconstruction_loss
from pipeline.training.train import train
from pipeline.training.weights import load_half, read_origin
from tests.prepared_digits import prepare_sample
from tests.test_house import ROOT

DEFAULTS = read_params(ROOT / "params.yaml")
MODEL = DEFAULTS.model.model_copy(update={"encoder_units": (64,), "decoder_units": (64,)})
TRAIN = DEFAULTS.train.model_copy(update={"epochs": 2, "steps_per_execution": 20})


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
    expected = (
        r"not finite in epoch 1, steps \d+ to \d+ \(.*kl .*\); lower train\.learning_rate \(now 1\) or .*clip_norm"
    )
    with pytest.raises(TrainingError, match=expected):
        run(prepared, tmp_path, TRAIN.model_copy(update={"learning_rate": 1.0}), linear)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_gradient_bounded_to_next_to_nothing_moves_no_weights(prepared: Path, tmp_path: Path) -> None:
    free = run(prepared, tmp_path / "free")["val_loss"]
    bound = run(prepared, tmp_path / "bound", TRAIN.model_copy(update={"clip_norm": 1e-12}))["val_loss"]
    untrained = 784 * np.log(2)  # logits near 0
    assert bound == pytest.approx(untrained, rel=0.1)
    assert free < untrained / 2


@pytest.mark.parametrize("backend", ["torch", "nonsense"])
def test_another_backend_of_keras_is_refused_in_one_line(backend: str, prepared: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "vae", "train", prepared, "--params", ROOT / "params.yaml"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == f"error: KERAS_BACKEND is {backend}; training runs on tensorflow or jax\n"


def test_a_collapsed_posterior_stops_the_run(prepared: Path, tmp_path: Path) -> None:
    heavy = TRAIN.model_copy(update={"kl_weight": 100.0, "epochs": 9})
    with pytest.raises(TrainingError, match=r"the posterior collapsed: the validation KL is .*lower .*kl_weight"):
        run(prepared, tmp_path, heavy)


class Killed(BaseException):
    """Stands for SIGKILL at one moment of the run."""


def kill_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    shuffle = ImageLookup.shuffle

    def fail(self: ImageLookup, number: int) -> None:
        if number == epoch:
            raise Killed
        shuffle(self, number)

    monkeypatch.setattr(ImageLookup, "shuffle", fail)


@pytest.mark.parametrize("binarisation", ["none", "dynamic"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binarisation: str
) -> None:
    params = TRAIN.model_copy(
        update={"epochs": 4, "binarisation": binarisation, "schedule": "cosine", "kl_warmup_epochs": 3}
    )
    figures = run(prepared, tmp_path / "whole", params)
    for epoch in (1, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, epoch)
            run(prepared, tmp_path / "killed", params)
        assert not (tmp_path / "killed/models").exists()
    assert run(prepared, tmp_path / "killed", params) == figures
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")] == []


@pytest.fixture(scope="module")
def killed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_in(patch, 1)
        run(prepared, folder)
    return folder


@pytest.mark.parametrize("changed", ["nothing", "data/binarise.py", "shared/interface.py", "keras", "numpy", "backend"])
def test_a_checkpoint_of_other_code_or_versions_is_not_used(
    changed: str, killed: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, package = shutil.copytree(killed, tmp_path / "killed"), tmp_path / "pipeline"
    shutil.copytree(ROOT / "pipeline", package, ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    if (package / changed).exists():
        with (package / changed).open("a") as source:
            source.write("# changed\n")
    elif changed != "nothing":
        library = keras.backend.backend() if changed == "backend" else changed
        monkeypatch.setattr(sys.modules[library], "__version__", "0.1")
    begun: list[int] = []

    def begin(_: ImageLookup, epoch: int) -> None:
        begun.append(epoch)
        raise Killed

    monkeypatch.setattr(ImageLookup, "shuffle", begin)
    with pytest.raises(Killed):
        run(prepared, folder)
    assert begun == [1 if changed == "nothing" else 0]


def test_the_log_of_a_running_training_holds_every_epoch_so_far(killed: Path) -> None:
    for split in ("train", "eval"):
        for name in ("loss", "reconstruction", "kl"):
            lines = (killed / "report/plots/metrics" / split / f"{name}.tsv").read_text().splitlines()
            assert len(lines) == 1 + 1  # the names, and epoch 1
    metrics = json.loads((killed / "report/metrics.json").read_text())
    assert metrics["step"] == 1
    assert "chosen" not in metrics


def test_a_process_killed_at_a_random_moment_goes_on_and_ends_with_the_same_bytes(
    prepared: Path, tmp_path: Path
) -> None:
    params = TRAIN.model_copy(update={"epochs": 12})
    run(prepared, tmp_path / "whole", params)
    script = (
        "import sys; from pathlib import Path; from tests.training.test_train import *\n"
        "run(Path(sys.argv[1]), Path(sys.argv[2]), TRAIN.model_copy(update={'epochs': 12}))"
    )
    arguments = [sys.executable, "-c", script, str(prepared), str(tmp_path / "killed")]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed/.models.partial/checkpoint.npz"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))  # some epoch, some step
    process.kill()
    process.wait()
    subprocess.run(arguments, check=True, capture_output=True)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_the_weights_are_those_of_the_best_epoch(prepared: Path, tmp_path: Path) -> None:
    wild = TRAIN.model_copy(update={"learning_rate": 0.02, "epochs": 8})
    figures = run(prepared, tmp_path, wild)
    table = tmp_path / "report/plots/metrics/eval/loss.tsv"
    losses = [float(row["loss"]) for row in csv.DictReader(table.open(), delimiter="\t")]
    assert figures["val_loss"] == pytest.approx(min(losses))
    assert read_origin(tmp_path / "models")["epoch"] == losses.index(min(losses)) + 1 == figures["epoch"]


def test_patience_ends_a_run_that_gets_no_better(prepared: Path, tmp_path: Path) -> None:
    overfits = TRAIN.model_copy(update={"learning_rate": 0.02, "epochs": 1000, "patience": 2})
    figures = run(prepared, tmp_path, overfits)
    epochs = len((tmp_path / "report/plots/metrics/eval/loss.tsv").read_text().splitlines()) - 1
    assert epochs == figures["epoch"] + 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_ends_close_and_saves_float32(prepared: Path, tmp_path: Path, precision: str) -> None:
    exact = run(prepared, tmp_path / "exact")
    mixed = run(prepared, tmp_path / "mixed", TRAIN.model_copy(update={"precision": precision}))
    assert mixed["val_loss"] == pytest.approx(exact["val_loss"], rel=0.02)
    decoder = load_half(tmp_path / "mixed/models", "decoder")
    assert {weight.dtype for weight in decoder.weights} == {"float32"}
    assert {layer.compute_dtype for layer in decoder.layers} == {"float32"}


# Every knob that takes part in the compiled step.
JAX = TRAIN.model_copy(update={"kl_warmup_epochs": 1, "schedule": "cosine", "binarisation": "static"})


def test_jax_trains_the_same_model_and_its_weights_load_in_tensorflow(prepared: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.training.test_train import *\n"
        "print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), JAX)))"
    )
    arguments = [sys.executable, "-c", script, str(prepared), str(tmp_path / "jax")]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    output = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    figures = json.loads(output.splitlines()[-1])
    # Other random numbers, the same mathematics: 3 % is several times the spread over seeds.
    assert run(prepared, tmp_path / "tensorflow", JAX)["val_loss"] == pytest.approx(figures["val_loss"], rel=0.03)
    encoder, decoder = (load_half(tmp_path / "jax/models", role) for role in ("encoder", "decoder"))
    images = binarise(np.load(prepared / "validation_images.npy"), JAX.seed)
    latents = encoder.predict_on_batch(images)
    logits = keras.Model(decoder.input, decoder.get_layer("logits").output).predict_on_batch(latents["z_mean"])
    # The mean of the latents reconstructs better than a draw, which the logged figure uses.
    found = np.mean(reconstruction_loss(images.astype(np.float32) / 255, logits))
    assert found == pytest.approx(figures["val_reconstruction"], rel=0.05)


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
