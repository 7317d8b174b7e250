"""Stage `judge`, as the command line runs it: TensorFlow's determinism can't be switched off again in this process."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.errors import ExportError, OutputError
from pipeline.exporting import judge as module
from pipeline.exporting.judge import judge
from pipeline.measures.judge import open_judge
from pipeline.params import read_params
from pipeline.training.judge import build_judge
from tests.conftest import bytes_of, names_in
from tests.data.test_prepare import write_raw
from tests.test_house import ROOT

DEFAULTS = read_params(ROOT / "params.yaml")
PARAMS = DEFAULTS.judge.model_copy(update={"epochs": 1})


@pytest.fixture(scope="module")
def judged(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge of the packaged sample in one epoch."""
    folder = tmp_path_factory.mktemp("judged")
    text = (ROOT / "params.yaml").read_text()
    assert text.count("epochs: 4 ") + text.count("epochs: 4\n") == 1
    (folder / "params.yaml").write_text(text.replace("epochs: 4", "epochs: 1"))
    command = [Path(sys.executable).parent / "vae", "judge", prepared_sample.parent / "raw", "--output", "judge", "-q"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "judge"


def test_it_is_a_model_and_what_it_is(judged: Path) -> None:
    assert names_in(judged) == ["judge.json", "model.onnx"]
    about = json.loads((judged / "judge.json").read_text())
    assert about.keys() == {"source", "classes", "training_images", "validation_images", "accuracy"}
    assert (about["source"], about["classes"]) == ("sample", 10)
    assert (about["training_images"], about["validation_images"]) == (3666, 334)  # of 4,000, a twelfth rounded up
    assert about["accuracy"] > 0.85


def test_it_recognises_the_digits_that_neither_it_nor_a_model_has_seen(judged: Path, prepared_sample: Path) -> None:
    model, about = open_judge(judged)
    assert model is not None
    images, labels = (np.load(prepared_sample / f"test_{kind}.npy") for kind in ("images", "labels"))
    features, probabilities = model(images)
    assert features.shape == (1000, 64)
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(about["accuracy"], abs=0.05)


def test_its_file_is_small_and_of_operators_that_all_runtimes_have(judged: Path) -> None:
    operators = [node.op_type for node in onnx.load(judged / "model.onnx").graph.node]
    assert operators.count("Conv") == 3
    assert operators[-1] == "Softmax"
    assert (judged / "model.onnx").stat().st_size < 1.1e6


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit_judge", lambda *arguments: build_judge(arguments[-1], 0.3))


def test_a_proof_that_fails_leaves_nothing(
    judged: Path, prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of another model than the one that was trained."""
    untrained(monkeypatch)
    take = partial(shutil.copyfile, judged / "model.onnx")
    monkeypatch.setattr(module, "convert_afresh", lambda *arguments: take(arguments[1]["judge"]))
    with pytest.raises(ExportError, match=r"judge: features at batch size 1: differs by up to .* from keras"):
        judge(PARAMS, DEFAULTS.export, prepared_sample.parent / "raw", tmp_path / "judge")
    assert names_in(tmp_path) == []


IMAGES = np.random.default_rng(0).integers(0, 256, (120, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "they have no labels"),
        (np.full(120, 3, np.uint8), "those for training are of one class"),
    ],
)
def test_where_there_is_nothing_to_tell_apart_there_is_no_judge(
    labels: np.ndarray | None, reason: str, tmp_path: Path
) -> None:
    raw = write_raw(tmp_path / "raw", IMAGES, labels)
    about = judge(PARAMS, DEFAULTS.export, raw, tmp_path / "judge")
    assert about == {"source": "mnist", "not_measured": f"how a classifier judges generated images: {reason}"}
    assert names_in(tmp_path / "judge") == ["judge.json"]
    assert open_judge(tmp_path / "judge") == (None, about)


def test_few_images_of_letters_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained(monkeypatch)
    raw = write_raw(tmp_path / "raw", IMAGES, 1 + (np.arange(120) % 26).astype(np.uint8), "emnist-letters")
    about = judge(PARAMS, DEFAULTS.export, raw, tmp_path / "judge")
    assert (about["classes"], about["training_images"], about["validation_images"]) == (26, 110, 10)
    model, _ = open_judge(tmp_path / "judge")
    assert model is not None
    assert model(IMAGES)[1].shape == (120, 26)


def test_a_folder_with_other_files_is_refused_before_training(
    judged: Path, prepared_sample: Path, tmp_path: Path
) -> None:
    shutil.copytree(judged, tmp_path / "judge")
    (tmp_path / "judge/mine.txt").touch()
    before = bytes_of(tmp_path)
    with pytest.raises(OutputError, match=r"already holds 'mine\.txt'"):
        judge(PARAMS, DEFAULTS.export, prepared_sample.parent / "raw", tmp_path / "judge")
    assert bytes_of(tmp_path) == before
