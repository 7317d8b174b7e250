"""A bundle is verified with NumPy and ONNX Runtime alone, and nothing that is off passes, there or in a batch job."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from pipeline.errors import ModelError
from pipeline.inference import Decoder, Encoder, Scorer
from pipeline.inference.manifest import write_manifest
from pipeline.inference.usual import Usual
from pipeline.shared.interface import HALVES, ROLES
from pipeline.tools.verify import info, verify
from tests import mixtures, onnx_models, painters, surfaces

MIXTURE_VECTORS = ["input_0", "input_1", "output_0"]
MODELS = ["model.onnx", "model_quantized.onnx", "model_fp16.onnx"]
FILES = [
    *(f"{role}/{name}" for role in HALVES for name in ["manifest.json", *MODELS]),
    *(f"{role}/test_data_set_0/{name}.pb" for role in HALVES for name in ["input_0", "output_0"]),
    "encoder/test_data_set_0/output_1.pb",
]


SCORER_FILES = [
    *MODELS,
    *(f"test_data_set_0/{name}.pb" for name in ["input_0", "output_0", "output_1", "output_2"]),
    "manifest.json",
]


def sign_scorer(bundle: Path) -> None:
    """The same where there is a scorer too."""
    onnx_models.write_manifest(bundle / "scorer", ["scorer"])
    onnx_models.write_manifest(bundle, [*HALVES, "scorer"])


def sign(bundle: Path) -> None:
    """Write the manifests that fit the files as they are now."""
    for role in HALVES:
        onnx_models.write_manifest(bundle / role, [role])
    onnx_models.write_manifest(bundle, list(HALVES))


def complaint(function: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(ModelError) as refusal:
        function(path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_good_bundle_is_verified_as_a_whole_and_by_halves(good: Path) -> None:
    report = verify(good)
    assert [(one.model, one.variant) for one in report.checked] == [
        (role, variant) for role in ("encoder", "decoder") for variant in ("float32", "int8", "fp16")
    ]
    assert report.files == len(FILES)
    for one in report.checked:
        assert one.bytes == (good / one.file).stat().st_size
        assert one.mean_difference.keys() == {output.name for output in HALVES[one.model].outputs}
        assert all(one.mean_difference[output] <= most for output, most in one.largest_difference.items())
        assert 0 <= max(one.mean_difference.values()) <= one.budget
        assert one.images_per_second > 0
    half = verify(good / "decoder")
    assert [one.file for one in half.checked] == MODELS
    assert [one.mean_difference for one in half.checked] == [one.mean_difference for one in report.checked[3:]]


def test_a_mixture_is_verified_with_the_decoder(bundle: Path) -> None:
    mixtures.add(bundle)
    for folder, name in ((bundle, "decoder/mixture/model.onnx"), (bundle / "decoder", "mixture/model.onnx")):
        report = verify(folder)
        one = report.checked[-1]
        assert (one.model, one.variant, one.file) == ("mixture", "float32", name)
        assert 0 <= one.largest_difference["z"] <= 1e-6
        assert one.speed == 1
        assert all(len(line) <= 80 for line in str(report).splitlines())
    assert [one.model for one in verify(bundle / "encoder").checked] == ["encoder"] * 3


@pytest.mark.parametrize("file", ["model.onnx", *(f"test_data_set_0/{name}.pb" for name in MIXTURE_VECTORS)])
def test_a_damaged_mixture_is_refused_also_by_the_decoder(file: str, bundle: Path) -> None:
    path = mixtures.add(bundle) / "decoder" / "mixture" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for function, folder in ((verify, bundle), (verify, bundle / "decoder"), (Decoder, bundle / "decoder")):
        assert complaint(function, folder).startswith(f"{path} has the SHA-256 ")


def test_a_mixture_that_does_not_reproduce_its_vectors_is_refused(bundle: Path) -> None:
    vector = mixtures.add(bundle) / "decoder" / "mixture" / "test_data_set_0" / "output_0.pb"
    z = onnx.numpy_helper.to_array(onnx.load_tensor(vector)).copy()
    z[5, 1] += 0.01
    onnx_models.save_vector(z, "z", vector)
    mixtures.sign(bundle)
    message = f"{bundle}/decoder/mixture/model.onnx does not reproduce the test vector of z: off by up to 1.0e-02"
    assert complaint(verify, bundle).startswith(message)
    mixtures.save(bundle / "decoder" / "mixture", latent_dim=3)
    mixtures.sign(bundle)
    assert complaint(verify, bundle) == f"{bundle}/decoder/mixture/model.onnx has 3 latent(s), the manifest says 2"


def test_all_sets_of_vectors_of_a_renderer_are_checked(bundle: Path) -> None:
    surfaces.add(bundle)
    *_, one = verify(bundle).checked
    assert (one.model, one.variant, one.file) == ("renderer", "float32", "renderer/model.onnx")
    assert [checked.model for checked in verify(bundle / "renderer").checked] == ["renderer"]
    vector = bundle / "renderer/test_data_set_2/output_0.pb"
    image = onnx.numpy_helper.to_array(onnx.load_tensor(vector)).copy()
    image[3, 39, 119] += 0.01
    onnx_models.save_vector(image, "image", vector)
    surfaces.sign(bundle)
    message = f"{bundle}/renderer/model.onnx does not reproduce the test vector of image: off by up to 1.0e-02"
    assert complaint(verify, bundle).startswith(message)


def test_a_scorer_is_verified_with_the_bundle_and_alone(bundle: Path) -> None:
    onnx_models.add_scorer(bundle)
    report = verify(bundle)
    assert [(one.model, one.variant) for one in report.checked[6:]] == [
        ("scorer", variant) for variant in ("float32", "int8", "fp16")
    ]
    assert all(len(line) <= 80 for line in str(report).splitlines())
    alone = verify(bundle / "scorer").checked
    assert [one.file for one in alone] == MODELS
    for one in alone:
        assert one.mean_difference.keys() == {"excess", "reconstruction", "kl", "score"}
        assert 0 <= max(one.mean_difference.values()) <= one.budget
    assert [one.model for one in verify(bundle / "decoder").checked] == ["decoder"] * 3


@pytest.mark.parametrize("file", SCORER_FILES)
def test_a_flipped_byte_in_a_scorer_is_refused(file: str, bundle: Path) -> None:
    path = onnx_models.add_scorer(bundle) / "scorer" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for function, folder in (
        (verify, bundle),
        (verify, bundle / "scorer"),
        (Scorer, bundle),
        (Scorer, bundle / "scorer"),
    ):
        assert complaint(function, folder).startswith(f"{path} ")


@pytest.mark.parametrize(("output", "number"), [("excess", 0), ("reconstruction", 1), ("kl", 2), ("score", 3)])
def test_a_scorer_that_does_not_reproduce_a_single_score_is_refused(output: str, number: int, bundle: Path) -> None:
    vector = onnx_models.add_scorer(bundle) / f"scorer/test_data_set_0/output_{number}.pb"
    scores = onnx.numpy_helper.to_array(onnx.load_tensor(vector)).copy()
    scores[17] += 0.5
    onnx_models.save_vector(scores, output, vector)
    sign_scorer(bundle)
    for folder in (bundle, bundle / "scorer"):
        message = complaint(verify, folder)
        assert message.startswith(f"{bundle}/scorer/model.onnx does not reproduce the test vector of {output}: off by ")


OTHER = Usual.of(np.linspace(0, 2000, 1001)).facts()


@pytest.mark.parametrize(
    ("file", "facts", "message"),
    [
        ("model.onnx", OTHER, "tells another score as usual than the manifest; download the bundle again"),
        ("model.onnx", {"score_images": "7"}, "tells another score as usual than the manifest; download the bundle "),
        ("model.onnx", {"score_quantiles": "[]"}, "does not say in its metadata what score is usual; run `vae exp"),
        ("model_fp16.onnx", {"score_images": "no"}, "does not say in its metadata what score is usual; run `vae exp"),
    ],
)
def test_a_scorer_with_other_quantiles_is_refused(file: str, facts: dict[str, str], message: str, bundle: Path) -> None:
    """Its own may differ a little in each precision; the manifest has those of float32."""

    def change(model: onnx.ModelProto) -> None:
        helper.set_model_props(model, {one.key: one.value for one in model.metadata_props} | facts)

    path = onnx_models.add_scorer(bundle) / "scorer" / file
    listed = json.loads((bundle / "scorer/manifest.json").read_text())["models"]
    rewrite(path, change)
    onnx_models.write_manifest(bundle / "scorer", ["scorer"], models=listed)
    assert complaint(verify, bundle / "scorer").startswith(f"{path} {message}")


@pytest.mark.parametrize(("area", "passes"), [(0.81, True), (0.79, True), (0.7899, False), (0, False)])
def test_a_scorer_that_costs_more_area_under_the_curve_than_its_budget_is_refused(
    area: float, passes: bool, bundle: Path
) -> None:
    folder = onnx_models.add_scorer(bundle) / "scorer"
    models = json.loads((folder / "manifest.json").read_text())["models"]
    models["scorer"]["variants"]["int8"]["area_under_curve"] = area
    onnx_models.write_manifest(folder, ["scorer"], models=models)
    if passes:
        verify(folder)
    else:
        message = f"has an area under the curve of {float(area)}, that of float32 is 0.8, budget 0.01 less"
        assert complaint(verify, folder) == f"{folder}/model_quantized.onnx {message}"


@pytest.mark.parametrize("area", ["0.8", -1, None])
def test_an_area_under_the_curve_that_is_none_is_refused(area: object, bundle: Path) -> None:
    folder = onnx_models.add_scorer(bundle) / "scorer"
    models = json.loads((folder / "manifest.json").read_text())["models"]
    models["scorer"]["variants"]["fp16"]["area_under_curve"] = area
    onnx_models.write_manifest(folder, ["scorer"], models=models)
    wanted = "needs models.scorer.variants.fp16.area_under_curve as a number from 0 on, found "
    assert complaint(verify, folder).startswith(f"{folder}/manifest.json {wanted}")


def test_a_model_of_a_new_role_is_verified_by_its_entry_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROLES, "painter", painters.PAINTER)
    write_manifest(tmp_path, painters.save(tmp_path))
    report = verify(tmp_path)
    (one,) = report.checked
    assert (one.model, one.variant, one.file) == ("painter", "float32", "painter/model.onnx")
    assert 0 <= one.largest_difference["image"] <= 1e-6
    assert one.images_per_second > 0
    assert str(report).splitlines()[1].startswith("painter   float32 model.onnx ")
    vector = tmp_path / "painter/test_data_set_0/output_0.pb"
    onnx_models.save_vector(np.zeros((32, 5, 6), np.float32), "image", vector)
    write_manifest(tmp_path, painters.manifest(tmp_path))
    message = f"{vector} holds image float32[32, 5, 6], expected image float32[32, 5, 7]; download the bundle again"
    assert complaint(verify, tmp_path) == message


def test_the_differences_are_those_from_the_test_vectors(good: Path) -> None:
    of = {tensor.stem: onnx.load_tensor(tensor) for tensor in (good / "decoder" / "test_data_set_0").iterdir()}
    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in of.items()}
    image = onnx_models.decode_in_numpy(onnx.load(good / "decoder" / "model_quantized.onnx"), arrays["input_0"])
    difference = np.abs(image - arrays["output_0"])
    int8 = verify(good / "decoder").checked[1]
    assert int8.largest_difference["image"] == pytest.approx(difference.max(), rel=1e-2)
    assert int8.mean_difference["image"] == pytest.approx(difference.mean(), rel=1e-2)


def test_the_table_fits_a_terminal_and_names_every_file(good: Path) -> None:
    lines = str(verify(good)).splitlines()
    assert len(lines) == 7
    assert all(len(line) <= 80 for line in lines)
    assert all(line.endswith("ok") for line in lines)
    assert [line.split()[2] for line in lines[1:]] == MODELS * 2


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_in_any_file_is_refused(file: str, bundle: Path) -> None:
    content = bytearray((bundle / file).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / file).write_bytes(content)
    role = file.partition("/")[0]
    job = {"encoder": Encoder, "decoder": Decoder}[role]
    for function, path in ((verify, bundle), (verify, bundle / role), (job, bundle), (job, bundle / role)):
        assert complaint(function, path).startswith(f"{bundle / file} ")


@pytest.mark.parametrize("file", FILES)
def test_an_empty_or_missing_file_is_refused(file: str, bundle: Path) -> None:
    role = file.partition("/")[0]
    job = {"encoder": Encoder, "decoder": Decoder}[role]
    (bundle / file).write_bytes(b"")
    for function, path in ((verify, bundle), (verify, bundle / role), (job, bundle / role)):
        assert complaint(function, path).startswith(f"{bundle / file} ")
    (bundle / file).unlink()
    assert complaint(verify, bundle).startswith(f"{bundle / file} is missing")
    assert complaint(job, bundle).startswith(f"{bundle / file} is missing")


@pytest.mark.parametrize("what", ["", "model.onnx", "manifest.json"])
def test_swapped_encoder_and_decoder_are_refused(what: str, bundle: Path) -> None:
    (bundle / "encoder" / what).rename(bundle / "other")
    (bundle / "decoder" / what).rename(bundle / "encoder" / what)
    (bundle / "other").rename(bundle / "decoder" / what)
    assert complaint(verify, bundle).startswith(f"{bundle / 'decoder'}")  # is listed first
    for job, role in ((Encoder, "encoder"), (Decoder, "decoder")):
        assert complaint(job, bundle / role).startswith(f"{bundle / role}")
    if not what:
        assert complaint(Encoder, bundle / "encoder") == f"{bundle}/encoder holds the decoder, expected the encoder"


def test_swapped_models_are_refused_even_where_the_manifests_fit_them(bundle: Path) -> None:
    (bundle / "encoder" / "model.onnx").rename(bundle / "other")
    (bundle / "decoder" / "model.onnx").rename(bundle / "encoder" / "model.onnx")
    (bundle / "other").rename(bundle / "decoder" / "model.onnx")
    sign(bundle)
    message = f"{bundle}/encoder/model.onnx is no encoder: input is z float32[batch, 2], expected image uint8"
    assert complaint(verify, bundle).startswith(message)
    assert complaint(Encoder, bundle / "encoder").startswith(message)


def test_a_newer_schema_is_refused(bundle: Path) -> None:
    onnx_models.write_manifest(bundle / "decoder", ["decoder"], schema_version=2)
    for function in (verify, Decoder):
        assert "install a newer release" in complaint(function, bundle / "decoder")


def rewrite(file: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())


def keep_outside(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "hidden_b")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


@pytest.mark.parametrize("location", ["../weights.bin", "{tmp}/weights.bin"])
def test_external_data_are_refused_even_where_they_exist(location: str, bundle: Path) -> None:
    for folder in (bundle, bundle / "decoder", bundle.parent):
        (folder / "weights.bin").write_bytes(bytes(4 * onnx_models.UNITS))
    file = bundle / "decoder" / "model.onnx"
    rewrite(file, keep_outside(location.format(tmp=bundle.parent)))
    sign(bundle)
    message = (
        f"{file} keeps the data of its tensor 'hidden_b' in another file; export it with its data inside, or give "
    )
    for function, path in ((verify, bundle), (Decoder, bundle / "decoder"), (Decoder, file), (info, file)):
        assert complaint(function, path).startswith(message)


def test_a_custom_operator_is_refused(bundle: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type, model.graph.node[1].domain = "Foo", "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    file = bundle / "decoder" / "model.onnx"
    rewrite(file, change)
    sign(bundle)
    for function, path in ((verify, bundle), (Decoder, bundle / "decoder"), (info, file)):
        message = complaint(function, path)
        assert message.startswith(f"{file} is not a usable ONNX file")
        assert "com.example:Foo(-1) is not a registered function/op" in message


def test_the_role_in_the_metadata_is_the_role(bundle: Path) -> None:
    file = bundle / "decoder" / "model_fp16.onnx"
    rewrite(file, lambda model: setattr(model.metadata_props[0], "value", "critic\n"))
    sign(bundle)
    message = f"{file} is no decoder: its metadata name the role 'critic\\n'"
    assert complaint(verify, bundle) == complaint(Decoder, file) == message


@pytest.mark.parametrize("value", [0.01, np.nan, np.inf])
def test_a_variant_over_its_budget_is_refused(bundle: Path, value: float) -> None:
    file = bundle / "encoder" / "model_fp16.onnx"
    bias = onnx_models.constants(onnx.load(file))["z_log_var_b"] + np.float32(value)
    rewrite(file, lambda model: onnx_models.set_constant(model, "z_log_var_b", bias))
    sign(bundle)
    assert complaint(verify, bundle).startswith(f"{file} does not reproduce the test vector of z_log_var: off by ")
    assert complaint(verify, bundle).endswith(" on average, budget 0.001")


@pytest.mark.parametrize("off", [0.01, np.nan, np.inf])
def test_a_model_that_does_not_reproduce_a_single_value_is_refused(bundle: Path, off: float) -> None:
    vector = bundle / "decoder" / "test_data_set_0" / "output_0.pb"
    image = onnx.numpy_helper.to_array(onnx.load_tensor(vector)).copy()
    image[17, 3, 20] += off
    onnx_models.save_vector(image, "image", vector)
    sign(bundle)
    message = complaint(verify, bundle)
    assert message.startswith(f"{bundle}/decoder/model.onnx does not reproduce the test vector of image: off by up to")
    assert message.endswith(", tolerance 0.0001 + 0.0001 * |value|")


@pytest.mark.parametrize(
    ("vector", "values", "found"),
    [
        ("input_0", np.zeros((32, 2), np.uint8), "z uint8[32, 2], expected z float32[32, 2]"),
        ("input_0", np.zeros((32, 3), np.float32), "z float32[32, 3], expected z float32[32, 2]"),
        ("input_0", np.zeros((0, 2), np.float32), "z float32[0, 2], expected z float32[batch, 2]"),
        ("input_0", np.float32(1), "z float32[], expected z float32[batch, 2]"),
        ("output_0", np.zeros((31, 28, 28), np.float32), "expected image float32[32, 28, 28]"),
    ],
)
def test_a_vector_of_another_shape_is_refused(vector: str, values: np.ndarray, found: str, bundle: Path) -> None:
    file = bundle / "decoder" / "test_data_set_0" / f"{vector}.pb"
    onnx_models.save_vector(np.asarray(values), "z", file)
    sign(bundle)
    assert complaint(verify, bundle).startswith(f"{file} holds ")
    assert found in complaint(verify, bundle)


def test_a_vector_that_is_no_tensor_is_refused(bundle: Path) -> None:
    file = bundle / "decoder" / "test_data_set_0" / "input_0.pb"
    file.write_text("z = 0\n")
    sign(bundle)
    assert complaint(verify, bundle).startswith(f"{file} is not a tensor of float32 or uint8")


def test_a_model_of_another_latent_size_is_refused(bundle: Path) -> None:
    onnx_models.save(onnx_models.decoder(3), bundle / "decoder")
    sign(bundle)
    assert complaint(verify, bundle) == f"{bundle}/decoder/model.onnx has 3 latent(s), the manifest says 2"


def test_info_is_what_the_file_says(good: Path) -> None:
    file = good / "encoder" / "model.onnx"
    about = info(file)
    assert about == info(good / "encoder")
    assert about.bytes == file.stat().st_size
    assert about.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert about.inputs == ("image uint8[batch, 28, 28]",)
    assert about.outputs == ("z_mean float32[batch, 2]", "z_log_var float32[batch, 2]")
    assert about.metadata == {"role": "encoder", "operations_per_image": str(2 * (784 + 4) * onnx_models.UNITS)}
    assert "role                  encoder" in str(about).splitlines()


def test_info_is_readable_where_the_metadata_hold_thousands_of_numbers(tmp_path: Path) -> None:
    usual = Usual.of(np.linspace(0, 1000, 7001), (np.arange(7001) % 10).astype(np.uint8))
    model = onnx_models.scorer()
    helper.set_model_props(model, {one.key: one.value for one in model.metadata_props} | usual.facts())
    about = info(onnx_models.save(model, tmp_path))
    (line,) = (line for line in str(about).splitlines() if line.startswith("score_quantiles"))
    told = about.metadata["score_quantiles"]
    assert line.split(None, 1)[1] == f'{{"all":[0.0,1.0,... ({len(told):,} characters: see --json)'
    assert Usual.read(about.metadata).lists() == usual.lists()
    assert all(len(line) <= 80 for line in str(about).splitlines() if not line.startswith(("sha256", "file")))


def test_info_prints_no_control_characters(tmp_path: Path) -> None:
    model = onnx_models.encoder()
    model.producer_name = "\x1b[31m\nred"
    assert r"'\x1b[31m\nred'" in str(info(onnx_models.save(model, tmp_path)))


def test_the_commands_load_neither_onnx_nor_a_framework_nor_pyarrow(good: Path) -> None:
    script = (
        "import sys; from pipeline.cli import app\n"
        "for command in (['verify', '.', '--json'], ['info', 'decoder/model.onnx', '--json']):\n"
        "    app(command, standalone_mode=False)\n"
        "loaded = {'onnx', 'google', 'tensorflow', 'keras', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=good, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report, about = map(json.loads, result.stdout.splitlines())
    assert [one["speed"] for one in report["checked"] if one["variant"] == "float32"] == [1, 1]
    assert about == json.loads(json.dumps(asdict(info(good / "decoder")) | {"file": "decoder/model.onnx"}))
