"""params.yaml is read into frozen types; every mistake in it is named."""

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from pipeline.data.datasets import DATASETS
from pipeline.errors import ParamsError
from pipeline.params import Download, read_params

REAL = Path(__file__).parent.parent / "params.yaml"


def read_changed(tmp_path: Path, old: str, new: str) -> object:
    """Read the real params.yaml with one line changed."""
    text = REAL.read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    return read_params(tmp_path / "params.yaml")


def test_the_real_file_is_valid() -> None:
    params = read_params(REAL)
    assert params.model.latent_dim == 2
    assert params.model.encoder_units == (512,)
    assert params.train.learning_rate == 2e-3


def test_parameters_are_frozen() -> None:
    params = read_params(REAL)
    with pytest.raises(ValidationError, match="frozen"):
        params.train.epochs = 20


@pytest.mark.parametrize("number", ["2e-3", "2.0e-3", "0.002"])
def test_numbers_are_read_as_dvc_reads_them(number: str, tmp_path: Path) -> None:
    params = read_changed(tmp_path, "learning_rate: 0.002", f"learning_rate: {number}")
    assert params == read_params(REAL)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("epochs: 10", "epoch: 10", "unknown key train.epoch, did you mean train.epochs?"),
        ("\ntrain:", "\ntrian:", "unknown key trian, did you mean train?"),
        (
            "\ntrain:",
            "\npreset: plane\ntrain:",
            "unknown key preset; remove it, and apply a preset by dvc exp run $(vae preset NAME)",
        ),
        ("\ntrain:", "\n5: 6\ntrain:", "unknown key 5, did you mean"),
        ("  latent_dim: 2 ", "  #", "key model.latent_dim is missing"),
        ("latent_dim: 2 ", "latent_dim: 1000 ", "model.latent_dim is 1000, expected less than or equal to 512"),
        ("epochs: 10", "epochs: 0", "train.epochs is 0, expected greater than or equal to 1"),
        ("epochs: 10", "epochs: ten", "train.epochs is 'ten', expected a valid integer"),
        ("epochs: 10", "epochs: 2.5", "train.epochs is 2.5, expected a valid integer"),
        ("epochs: 10", "epochs: true", "train.epochs is True, expected a valid integer"),
        ("jit_compile: true", "jit_compile: 3", "train.jit_compile is 3, expected a valid boolean"),
        ("learning_rate: 0.002      # Adam\n", "learning_rate: .nan\n", "train.learning_rate is nan, expected"),
        ("encoder_units: [512]", "encoder_units: 512", "model.encoder_units is 512, expected a list"),
        ("encoder_units: [512]", "encoder_units: [512, 0]", "model.encoder_units.1 is 0, expected greater than"),
        ("source: auto", "source: web", "download.source is 'web', expected 'auto', 'published' or 'sample'"),
        ("dataset: mnist", "dataset: cifar", "download.dataset is 'cifar', expected 'mnist', 'fashion-mnist', "),
        ("test_share: 0.2 ", "test_share: 0.0 ", "download.test_share is 0.0, expected greater than 0"),
        ("most: 64 ", "most: 0 ", "score.most is 0, expected greater than or equal to 1"),
        ("strangers: null", "strangers: 5", "evaluate.strangers is 5, expected a valid string"),
        ("strangers: null", "strangers: ''", "evaluate.strangers is '', expected"),
        ("encode:\n  precision", "encode:\n  # precision", "encode is None, expected a section of parameters"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(old: str, new: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        read_changed(tmp_path, old, new)
    assert problem in str(caught.value)
    assert str(tmp_path / "params.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(REAL.read_text().replace("seed: 0", "seed: -1"))
    with pytest.raises(ParamsError) as caught:
        read_params(tmp_path / "params.yaml")
    for section in ("download", "prepare", "judge", "train", "generate", "evaluate"):
        assert f"{section}.seed is -1" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"a: [1", b"a: 1\n  b: 2\n c", b"a: 1\na: 2", b"\xff\xfe\x00", b"# caf\xe9", b"a: !!tag b"]
)
def test_what_is_not_yaml_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=r"params\.yaml is not valid YAML") as caught:
        read_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "found"), [("", "nothing"), ("hello", "str"), ("- a", "list")])
def test_what_holds_no_sections_is_refused(content: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match=f"holds {found}, sections of parameters were expected"):
        read_params(tmp_path / "params.yaml")


def test_every_data_set_is_a_choice_and_may_stand_in_a_manifest() -> None:
    known = [*DATASETS, "own"]
    assert list(get_args(Download.model_fields["dataset"].annotation)) == known
    schema = json.loads((REAL.parent / "docs/manifest.schema.json").read_text())
    assert schema["properties"]["data"]["properties"]["source"]["enum"] == [*known, "sample"]


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml was not found; run in the folder that holds it"):
        read_params(tmp_path / "params.yaml")
