"""Stage `sharpen` as the command line runs it: determinism of TensorFlow cannot be switched off in this process."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pytest

from pipeline.errors import BundleError, OutputError, ParamsError
from pipeline.evaluating.generator import open_generator
from pipeline.exporting.export import export
from pipeline.exporting.generator import sharpen as stage
from pipeline.inference.renderer import open_renderer
from pipeline.shared.files import write_json
from pipeline.shared.interface import ABOUT_JUDGE
from pipeline.tools.verify import verify
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import ORIGIN_FILE, save_half
from tests.conftest import bytes_of
from tests.exporting.test_export import ORIGIN, PARAMS
from tests.test_house import ROOT
from tests.training.runs import DEFAULTS


@pytest.fixture(scope="module")
def workspace(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that were never trained, their bundle, and no judge, so that edges alone are compared."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "data").mkdir()
    (folder / "data/prepared").symlink_to(prepared_sample)
    keras.utils.set_random_seed(0)
    (folder / "models").mkdir()
    for half in (build_encoder(2, [16]), build_decoder(2, [16])):
        save_half(half, folder / "models")
    write_json(folder / "models" / ORIGIN_FILE, ORIGIN)
    export(PARAMS, folder / "models", prepared_sample, folder / "exports")
    (folder / "judge").mkdir()
    write_json(folder / "judge" / ABOUT_JUDGE, {"source": "sample", "not_measured": "how a classifier judges them"})
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return folder


def sharpen(workspace: Path, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The command, with other values for keys of the section `sharpen`."""
    before, section = (workspace / "params.yaml").read_text().split("\nsharpen:")
    for key, value in changes.items():
        start = section.index(f"  {key}: ")
        section = f"{section[:start]}  {key}: {value}{section[section.index(chr(10), start) :]}"
    (workspace / "changed.yaml").write_text(f"{before}\nsharpen:{section}")
    command = [str(Path(sys.executable).parent / "vae"), "sharpen", "--params", "changed.yaml", "-q", *options]
    return subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def exports(workspace: Path) -> Path:
    done = sharpen(workspace, "--json", epochs="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["val_edge_ratio"] > 0
    return workspace / "exports"


def test_a_generator_is_a_bundle_with_all_that_the_decoder_has(exports: Path) -> None:
    checked = [(one.model, one.variant) for one in verify(exports / "generator").checked]
    assert checked == [
        *(("decoder", variant) for variant in ("float32", "int8", "fp16")),
        ("mixture", "float32"),
        ("renderer", "float32"),
    ]
    schema = json.loads((ROOT / "docs/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads((exports / "generator/manifest.json").read_text()))
    names = {path.relative_to(exports / "generator").as_posix() for path in (exports / "generator").iterdir()}
    models = {"model.onnx", "model_quantized.onnx", "model_fp16.onnx"}
    assert names == {*models, "manifest.json", "README.md", "test_data_set_0", "mixture", "renderer"}
    assert {path.name for path in exports.iterdir() if path.name.startswith(".")} == set()


def test_it_decodes_the_latents_of_the_encoder_and_draws_them_large_itself(exports: Path) -> None:
    found = open_generator(exports)
    assert found is not None
    encoder, generator = found
    assert encoder.path == exports / "encoder/model.onnx"
    z = np.random.default_rng(0).standard_normal((5, 2), np.float32)
    renderer = open_renderer(generator)
    assert renderer.path == exports / "generator/renderer/model.onnx"
    assert np.abs(renderer.pixels(z, 28).astype(int) - generator.pixels(z)).max() <= 1


def test_the_same_parameters_give_the_same_bytes_in_place_of_the_earlier_ones(workspace: Path, exports: Path) -> None:
    before = bytes_of(exports / "generator")
    assert sharpen(workspace, epochs="1").returncode == 0
    assert bytes_of(exports / "generator") == before


def test_an_encoder_that_is_trained_too_comes_with_its_generator(workspace: Path, exports: Path) -> None:
    done = sharpen(workspace, "--output", "own/generator", epochs="1", encoder="trained", start="nothing")
    assert done.returncode == 0, done.stderr
    roles = [one.model for one in verify(workspace / "own/generator").checked]
    assert list(dict.fromkeys(roles)) == ["encoder", "decoder", "mixture", "renderer"]
    found = open_generator(workspace / "own")
    assert found is not None
    assert found[0].path == workspace / "own/generator/encoder/model.onnx"
    assert (workspace / "own/generator/encoder/model.onnx").read_bytes() != (
        exports / "encoder/model.onnx"
    ).read_bytes()


@pytest.mark.parametrize(
    ("changes", "places", "error", "message"),
    [
        (
            {"start": "nothing"},
            {},
            ParamsError,
            "sharpen.start is nothing, but sharpen.encoder frozen: set it to trained",
        ),
        ({}, {"exports": "nowhere"}, BundleError, "nowhere/manifest.json was not found; expected a folder that `vae"),
        ({}, {"folder": "models"}, OutputError, "models already holds"),
    ],
)
def test_what_cannot_be_sharpened_is_refused(
    changes: dict[str, str], places: dict[str, str], error: type[Exception], message: str, workspace: Path
) -> None:
    names = {"models": "models", "exports": "exports", "prepared": "data/prepared", "judge": "judge"}
    paths = {**names, "folder": "new/generator", "report": "new/report", **places}
    params = DEFAULTS.sharpen.model_copy(update=changes)
    with pytest.raises(error, match=message):
        stage(params, PARAMS, **{name: workspace / path for name, path in paths.items()})
    assert not (workspace / "new").exists()
