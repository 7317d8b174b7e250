from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.presets import list_presets, read_preset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wide.yaml").write_text("# More units.\nmodel:\n  units: [512, 256]\n  activation: gelu\n")
    (tmp_path / "long.yaml").write_text("# More epochs.\ntrain:\n  epochs: 40\n  rate: 1.0e-3\n  jit: true\n")
    return tmp_path


def test_presets_are_listed_by_name_with_their_first_line(folder: Path) -> None:
    assert list_presets(folder) == [("long", "More epochs."), ("wide", "More units.")]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("wide", ["model.units=[512,256]", "model.activation=gelu"]),
        ("long", ["train.epochs=40", "train.rate=0.001", "train.jit=true"]),
    ],
)
def test_a_preset_is_read_as_overrides_without_blanks(name: str, overrides: list[str], folder: Path) -> None:
    assert read_preset(folder, name) == overrides


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "deep", "there is no preset 'deep' in .*; choose one of long, wide"),
        ("- 1\n", "deep", "deep.yaml does not hold sections of parameters"),
        ("model: {", "deep", "deep.yaml does not hold sections of parameters"),
    ],
)
def test_what_is_no_preset_is_said_on_one_line(content: str | None, name: str, message: str, folder: Path) -> None:
    if content is not None:
        (folder / f"{name}.yaml").write_text(content)
    with pytest.raises(ParamsError, match=message) as error:
        read_preset(folder, name)
    assert "\n" not in str(error.value)


def test_a_folder_without_presets_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="holds no preset; run in the folder of"):
        list_presets(tmp_path / "nowhere")
