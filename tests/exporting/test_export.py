import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import jsonschema
import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline.data.prepared import read_split
from pipeline.errors import ExportError, ModelError, OutputError
from pipeline.exporting import bundle as module
from pipeline.exporting.export import export
from pipeline.exporting.price import BUDGETS, Limits
from pipeline.exporting.scorer import SCORER_BUDGETS
from pipeline.inference import Scorer
from pipeline.inference.manifest import Budget, read_manifest, write_manifest
from pipeline.params import Export
from pipeline.shared.files import sha256, write_json
from pipeline.shared.interface import HALVES, VARIANT_FILES
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import ORIGIN_FILE, load_half, save_half
from tests.conftest import bytes_of
from tests.test_house import ROOT

PARAMS = Export(absolute_tolerance=1e-4, relative_tolerance=1e-4, calibration_images=500, mixture_components=5, seed=0)

ORIGIN = {
    "model": {"latent_dim": 2},
    "train": {"epochs": 0},
    "data": {"source": "sample", "files": [{"name": "digits.gz", "bytes": 1, "sha256": "0" * 64}]},
}


@pytest.fixture(scope="module")
def workspace(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared digits, and models that were never trained: exporting does not mind."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "prepared").symlink_to(prepared_sample)
    keras.utils.set_random_seed(0)
    (folder / "models").mkdir()
    for half in (build_encoder(2, [32]), build_decoder(2, [32])):
        save_half(half, folder / "models")
    write_json(folder / "models" / ORIGIN_FILE, ORIGIN)
    return folder


@pytest.fixture(scope="module")
def exports(workspace: Path) -> Path:
    export(PARAMS, workspace / "models", workspace / "prepared", workspace / "exports")
    return workspace / "exports"


@pytest.fixture
def converted(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion takes longer than all that follows it: take what it gave the first time."""

    def take(_: Path, files: dict[str, Path], roles: Iterable[str]) -> None:
        for role in roles:
            shutil.copyfile(exports / role / "model.onnx", files[role])

    monkeypatch.setattr(module, "convert_afresh", take)


def test_an_export_holds_all_models_their_variants_and_vectors_and_nothing_else(exports: Path) -> None:
    files = {file.relative_to(exports).as_posix() for file in exports.rglob("*") if file.is_file()}
    names = ["manifest.json", "model.onnx", "model_fp16.onnx", "model_quantized.onnx"]
    vectors = [f"test_data_set_0/{name}.pb" for name in ("input_0", "output_0")]
    decoder = {f"decoder/{name}" for name in [*names, *vectors]}
    encoder = {f"encoder/{name}" for name in [*names, *vectors, "test_data_set_0/output_1.pb"]}
    tensors = ["input_0", "input_1", "output_0"]
    mixture = {"decoder/mixture/model.onnx", *(f"decoder/mixture/test_data_set_0/{name}.pb" for name in tensors)}
    drawn = [*(f"input_{number}" for number in range(5)), "output_0"]
    views = [f"test_data_set_{view}/{name}.pb" for view in range(3) for name in drawn]
    renderer = {f"renderer/{name}" for name in ("manifest.json", "model.onnx", *views)}
    outputs = [f"test_data_set_0/output_{number}.pb" for number in (1, 2, 3)]
    scorer = {f"scorer/{name}" for name in [*names, *vectors, *outputs]}
    assert files == {"manifest.json"} | encoder | decoder | mixture | renderer | scorer


@pytest.mark.parametrize("folder", [".", "encoder", "decoder", "renderer", "scorer"])
def test_each_manifest_follows_the_schema_and_lists_its_files(folder: str, exports: Path) -> None:
    manifest = json.loads((exports / folder / "manifest.json").read_text())
    schema = json.loads((ROOT / "docs/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(manifest)
    listed = {file["path"]: (file["bytes"], file["sha256"]) for file in manifest["files"]}
    found = {
        file.relative_to(exports / folder).as_posix(): (file.stat().st_size, sha256(file))
        for file in (exports / folder).rglob("*")
        if file.is_file() and file != exports / folder / "manifest.json"
    }
    assert listed == found
    for model in manifest["models"].values():
        assert all(variant["file"] in listed for variant in model["variants"].values())
    assert ("mixture" in manifest) == (folder in (".", "decoder"))
    assert ("renderer" in manifest) == (folder in (".", "renderer"))
    assert all(manifest[role]["file"] in listed for role in ("mixture", "renderer") if role in manifest)


@pytest.mark.parametrize("folder", [".", "encoder", "decoder", "renderer", "scorer"])
def test_what_is_written_reads_back_and_is_written_the_same_again(folder: str, exports: Path, tmp_path: Path) -> None:
    manifest = read_manifest(exports / folder)
    write_manifest(tmp_path, manifest)
    assert (tmp_path / "manifest.json").read_bytes() == (exports / folder / "manifest.json").read_bytes()
    assert read_manifest(tmp_path) == manifest


@pytest.mark.usefixtures("converted")
def test_an_export_that_may_not_replace_a_folder_replaces_none(workspace: Path, exports: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exports, tmp_path / "exports")
    (folder / "decoder/mine.txt").touch()
    with pytest.raises(OutputError, match=r"already holds 'mine\.txt'"):
        export(PARAMS, workspace / "models", workspace / "prepared", folder)
    (folder / "decoder/mine.txt").unlink()
    assert bytes_of(folder) == bytes_of(exports)


def test_the_manifest_says_where_the_models_come_from(exports: Path) -> None:
    manifest = json.loads((exports / "manifest.json").read_text())
    assert manifest["data"]["source"] == "sample"
    assert manifest["latent_dim"] == 2
    assert manifest["validation"]["images"] == 500
    assert manifest["models"]["decoder"]["input"] == "z float32[batch, 2]"
    assert manifest["mixture"]["inputs"] == ["uniform float32[batch]", "noise float32[batch, 2]"]
    assert manifest["mixture"]["components"] == 5
    nats = manifest["mixture"]["log_likelihood"]
    assert nats["mixture"] > nats["prior"]


@pytest.mark.parametrize("role", ["encoder", "decoder"])
@pytest.mark.parametrize("variant", VARIANT_FILES)
def test_each_file_describes_itself(role: str, variant: str, exports: Path) -> None:
    model = onnx.load(exports / role / VARIANT_FILES[variant])
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["role"] == role
    assert properties["variant"] == variant
    assert properties["latent_dim"] == "2"
    assert properties["data_source"] == "sample"
    assert float(properties["validation_negative_elbo"]) > 0
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])
    assert not any(str(exports) in value for value in properties.values())
    axes = {value.type.tensor_type.shape.dim[0].dim_param for value in [*model.graph.input, *model.graph.output]}
    assert axes == {"batch"}


def test_the_mixture_describes_itself(exports: Path) -> None:
    model = onnx.load(exports / "decoder/mixture/model.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert (properties["role"], properties["components"], properties["latent_dim"]) == ("mixture", "5", "2")
    mixture, prior = (properties[f"validation_log_likelihood_of_{name}"] for name in ("mixture", "prior"))
    assert float(mixture) > float(prior)
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])


def test_the_vectors_of_the_mixture_are_what_it_gives(exports: Path) -> None:
    folder = exports / "decoder/mixture/test_data_set_0"
    uniform, noise, z = (read_tensor(folder / f"{name}.pb") for name in ("input_0", "input_1", "output_0"))
    found = ort.InferenceSession(folder.parent / "model.onnx").run(["z"], {"uniform": uniform, "noise": noise})[0]
    assert found.shape == (64, 2)
    np.testing.assert_allclose(found, z, rtol=1e-5, atol=1e-6)


def test_a_second_export_gives_the_same_bytes(exports: Path, workspace: Path, tmp_path: Path) -> None:
    export(PARAMS, workspace / "models", workspace / "prepared", tmp_path / "exports")
    files = [file.relative_to(exports) for file in exports.rglob("*") if file.is_file()]
    assert len(files) == 47
    assert all((exports / file).read_bytes() == (tmp_path / "exports" / file).read_bytes() for file in files)


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_the_vectors_are_what_the_model_gives(role: str, exports: Path) -> None:
    session = ort.InferenceSession(exports / role / "model.onnx")
    folder = exports / role / "test_data_set_0"
    (given,) = (read_tensor(folder / "input_0.pb"),)
    found = session.run([output.name for output in HALVES[role].outputs], {session.get_inputs()[0].name: given})
    assert len(given) == 64
    for number, values in enumerate(found):
        np.testing.assert_array_equal(values, read_tensor(folder / f"output_{number}.pb"))


def read_tensor(path: Path) -> NDArray[np.generic]:
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def test_the_vectors_of_the_renderer_are_what_it_gives_of_two_sizes_and_a_tile(exports: Path) -> None:
    session = ort.InferenceSession(exports / "renderer/model.onnx")
    shapes = []
    for view in range(3):
        folder = exports / f"renderer/test_data_set_{view}"
        names = [one.name for one in session.get_inputs()]
        given = {name: read_tensor(folder / f"input_{number}.pb") for number, name in enumerate(names)}
        image = read_tensor(folder / "output_0.pb")
        np.testing.assert_array_equal(session.run(["image"], given)[0], image)
        shapes.append(image.shape)
    assert shapes == [(4, 28, 28), (4, 64, 64), (4, 40, 120)]


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


@pytest.mark.usefixtures("converted")
def test_differences_over_the_tolerance_fail_closed_and_are_all_listed(workspace: Path, tmp_path: Path) -> None:
    exact = PARAMS.model_copy(update={"absolute_tolerance": 0, "relative_tolerance": 0})
    with pytest.raises(ExportError) as caught:
        export(exact, workspace / "models", workspace / "prepared", tmp_path / "exports")
    message = str(caught.value)
    assert "nothing was written" in message
    assert "encoder: z_mean" in message
    assert "decoder: image" in message
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_missing_half_is_named(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    save_half(build_encoder(2, [8]), tmp_path / "models")
    write_json(tmp_path / "models" / ORIGIN_FILE, ORIGIN)
    with pytest.raises(ModelError, match=r"decoder\.json was not found; run `vae train`"):
        export(PARAMS, tmp_path / "models", workspace / "prepared", tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


@pytest.mark.usefixtures("converted")
def test_a_variant_over_its_budget_fails_the_stage(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "int8", Limits(negative_elbo=10, image=1e-9, latent=1e-9))
    with pytest.raises(ExportError) as caught:
        export(PARAMS, workspace / "models", workspace / "prepared", tmp_path / "exports")
    for place in ("int8 encoder: z_mean", "int8 encoder: z_log_var", "int8 decoder: image"):
        assert f"{place} differs by" in str(caught.value)
    assert list((tmp_path / "exports").iterdir()) == []


@pytest.mark.usefixtures("converted")
def test_a_scorer_over_its_budget_fails_the_stage(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORER_BUDGETS, "fp16", Budget(None, mean_difference=1e-9, area_under_curve=-1.0))
    with pytest.raises(ExportError) as caught:
        export(PARAMS, workspace / "models", workspace / "prepared", tmp_path / "exports")
    for failure in ("excess differs by", "reconstruction differs by", "loses"):
        assert f"fp16 scorer: {failure}" in str(caught.value)
    assert "int8" not in str(caught.value)
    assert list((tmp_path / "exports").iterdir()) == []


def test_the_manifest_says_what_each_scorer_costs_and_what_is_usual(exports: Path, workspace: Path) -> None:
    manifest = json.loads((exports / "scorer/manifest.json").read_text())["models"]["scorer"]
    assert manifest == {
        **json.loads((exports / "manifest.json").read_text())["models"]["scorer"],
        **{name: manifest[name] for name in ("variants", "test_data")},  # whose paths begin elsewhere
    }
    images, labels = (np.asarray(some) for some in read_split(workspace / "prepared", "validation"))
    for name, variant in manifest["variants"].items():
        scorer = Scorer(exports / "scorer", precision=name)
        assert 0 < variant["area_under_curve"] <= 1
        assert scorer.usual is not None
        median = np.median(scorer(images[:]).score)  # of each variant its own
        assert scorer.usual.quantiles["all"][500] == pytest.approx(median, rel=1e-5)
        if name != "float32":
            assert max(variant["mean_difference"].values()) <= variant["budget"]["mean_difference"]
    assert manifest["images"] == len(images) == 500
    assert set(manifest["quantiles"]) == {"all", *map(str, np.unique(labels))}
    exact = Scorer(exports / "scorer")(images).score
    assert manifest["quantiles"]["all"][::1000] == pytest.approx([exact.min(), exact.max()], rel=1e-5)
    assert manifest["quantiles"]["3"][500] == pytest.approx(np.median(exact[labels == 3]), rel=1e-5)


@pytest.mark.parametrize("surface", [0, 27])
def test_convolutions_are_exported_too(surface: int, workspace: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    (tmp_path / "models").mkdir()
    for half in (build_encoder(3, [8], [2, 4], "gelu"), build_decoder(3, [8], [4, 2], "gelu", surface)):
        save_half(half, tmp_path / "models")
    write_json(tmp_path / "models" / ORIGIN_FILE, ORIGIN)
    manifest = export(PARAMS, tmp_path / "models", workspace / "prepared", tmp_path / "exports")
    assert manifest["latent_dim"] == 3
    assert set(manifest["models"]["decoder"]["variants"]) == {"float32", "int8", "fp16"}
    assert manifest["renderer"]["largest_difference"].keys() == {"keras", "decoder", "reference"}
