import json
from pathlib import Path

import keras
import numpy as np
import onnxruntime as ort
import pytest

from pipeline.data.prepared import read_split
from pipeline.errors import ExportError
from pipeline.exporting.export import export
from pipeline.files import sha256
from pipeline.params import Export
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import load_half, save_half
from tests.prepared_digits import prepare_sample

PARAMS = Export(absolute_tolerance=1e-4, relative_tolerance=1e-4)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared digits, and models that were never trained: exporting does not mind."""
    folder = tmp_path_factory.mktemp("workspace")
    prepare_sample(folder)
    keras.utils.set_random_seed(0)
    (folder / "models").mkdir()
    for half in (build_encoder(2, [32]), build_decoder(2, [32])):
        save_half(half, folder / "models")
    return folder


@pytest.fixture(scope="module")
def exports(workspace: Path) -> Path:
    export(PARAMS, workspace / "models", workspace / "prepared", workspace / "exports")
    return workspace / "exports"


def test_an_export_holds_both_models_and_a_manifest_and_nothing_else(exports: Path) -> None:
    files = {file.relative_to(exports).as_posix() for file in exports.rglob("*") if file.is_file()}
    assert files == {"encoder/model.onnx", "decoder/model.onnx", "manifest.json"}


def test_the_manifest_describes_the_files(exports: Path) -> None:
    manifest = json.loads((exports / "manifest.json").read_text())
    assert manifest["data"]["source"] == "sample"
    assert manifest["latent_dim"] == 2
    for about in manifest["models"].values():
        assert about["sha256"] == sha256(exports / about["file"])
        assert about["bytes"] == (exports / about["file"]).stat().st_size
        assert max(about["largest_difference"].values()) <= 1e-4
    assert manifest["models"]["decoder"]["input"] == "z float32[batch, 2]"


def test_the_decoder_gives_what_keras_gives(exports: Path, workspace: Path) -> None:
    z = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    session = ort.InferenceSession(exports / "decoder/model.onnx")
    expected = load_half(workspace / "models", "decoder").predict_on_batch(z)["image"]
    np.testing.assert_allclose(session.run(["image"], {"z": z})[0], expected, atol=1e-6)


def test_the_encoder_gives_what_keras_gives_on_digits_that_the_proof_did_not_see(
    exports: Path, workspace: Path
) -> None:
    images = np.asarray(read_split(workspace / "prepared", "test")[0][:300])
    session = ort.InferenceSession(exports / "encoder/model.onnx")
    expected = load_half(workspace / "models", "encoder").predict_on_batch(images)
    for name, found in zip(
        ("z_mean", "z_log_var"), session.run(["z_mean", "z_log_var"], {"image": images}), strict=True
    ):
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)


def test_differences_over_the_tolerance_fail_closed_and_are_all_listed(workspace: Path, tmp_path: Path) -> None:
    exact = Export(absolute_tolerance=0, relative_tolerance=0)
    with pytest.raises(ExportError) as caught:
        export(exact, workspace / "models", workspace / "prepared", tmp_path / "exports")
    message = str(caught.value)
    assert "nothing was written" in message
    assert "encoder: z_mean" in message
    assert "decoder: image" in message
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_half_that_cannot_be_converted_is_named(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    save_half(build_encoder(2, [8]), tmp_path / "models")
    with pytest.raises(ExportError, match=r"decoder: \S*decoder\.json was not found; run `vae train`"):
        export(PARAMS, tmp_path / "models", workspace / "prepared", tmp_path / "exports")
    assert list((tmp_path / "exports").iterdir()) == []
