from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pipeline.exporting.check import GatherElements, by_keras, prove
from pipeline.exporting.convert import convert
from pipeline.inference.manifest import Tolerance
from pipeline.shared.interface import DECODER, ENCODER, IMAGE_SHAPE
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import save_half

TOLERANCE = Tolerance(absolute=1e-4, relative=1e-4)
IMAGES = np.random.default_rng(0).integers(0, 256, (257, *IMAGE_SHAPE), np.uint8)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_encoder(2, [16])


@pytest.fixture(scope="module")
def file(encoder: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_half(encoder, folder)
    convert(folder, "encoder", folder / "model.onnx")
    return folder / "model.onnx"


def test_a_faithful_conversion_has_no_failure(file: Path, encoder: keras.Model) -> None:
    proof = prove(file, ENCODER, by_keras(encoder), [IMAGES], TOLERANCE)
    assert proof.failures == ()
    assert set(proof.largest_difference) == {"keras", "reference"}
    for outputs in proof.largest_difference.values():
        assert set(outputs) == {"z_mean", "z_log_var"}
        assert 0 <= max(outputs.values()) <= 1e-4


def test_other_weights_fail_at_every_batch_size(file: Path) -> None:
    keras.utils.set_random_seed(1)
    proof = prove(file, ENCODER, by_keras(build_encoder(2, [16])), [IMAGES], TOLERANCE)
    places = [failure.split(":")[0] for failure in proof.failures]
    assert sorted(places) == sorted(f"{o} at batch size {n}" for o in ("z_mean", "z_log_var") for n in (1, 3, 257))
    assert max(proof.largest_difference["keras"].values()) > 1e-4
    assert max(proof.largest_difference["reference"].values()) <= 1e-4  # the file itself is in order


def test_a_difference_in_one_element_is_found(file: Path, encoder: keras.Model) -> None:
    other = build_encoder(2, [16])
    other.set_weights(encoder.get_weights())
    kernel, bias = other.get_layer("z_mean").get_weights()
    other.get_layer("z_mean").set_weights([kernel, bias + np.float32([0, 0.01])])
    proof = prove(file, ENCODER, by_keras(other), [IMAGES], TOLERANCE)
    assert proof.largest_difference["keras"]["z_mean"] == pytest.approx(0.01, rel=0.01)
    assert {failure.split()[0] for failure in proof.failures} == {"z_mean"}


def test_nan_is_a_failure(file: Path, encoder: keras.Model) -> None:
    other = build_encoder(2, [16])
    other.set_weights([np.full_like(weight, np.nan) for weight in encoder.get_weights()])
    assert prove(file, ENCODER, by_keras(other), [IMAGES], TOLERANCE).failures


def test_another_interface_is_a_failure(file: Path) -> None:
    proof = prove(file, DECODER, by_keras(build_decoder(2, [16])), [np.zeros((257, 2), np.float32)], TOLERANCE)
    assert len(proof.failures) == 2  # the input and the output


def test_every_structural_failure_is_listed(file: Path, encoder: keras.Model, tmp_path: Path) -> None:
    model = onnx.load(file)
    model.ir_version = 9
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "HardSwish"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3  # what inference finds is 2
    onnx.save(model, tmp_path / "model.onnx")
    failures = " ".join(prove(tmp_path / "model.onnx", ENCODER, by_keras(encoder), [IMAGES], TOLERANCE).failures)
    assert "IR 9, expected ai.onnx 17 and IR 8" in failures
    assert "uses the operators HardSwish" in failures
    assert "onnx.checker refuses it" in failures


def test_a_custom_operator_is_refused_by_name(tmp_path: Path, encoder: keras.Model) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 28, 28])
    output = helper.make_tensor_value_info("z_mean", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph([helper.make_node("Magic", ["image"], ["z_mean"], domain="x")], "g", [image], [output])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("x", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    failures = prove(tmp_path / "model.onnx", ENCODER, by_keras(encoder), [IMAGES], TOLERANCE).failures
    assert any("operators Magic" in failure for failure in failures)
    assert any("ONNX Runtime cannot load it" in failure for failure in failures)


@pytest.mark.parametrize(
    ("shape", "axis", "taken"),
    [((256,), 0, (1000,)), ((100, 3), 0, (70, 3)), ((5, 90), 1, (5, 7)), ((4, 80), -1, (4, 1))],
)
def test_the_reference_gathers_elements_as_onnx_runtime_does(
    shape: tuple[int, ...], axis: int, taken: tuple[int, ...]
) -> None:
    """ONNX's own refuses more than 64 values to choose from."""
    generator = np.random.default_rng(0)
    data = generator.random(shape, np.float32)
    indices = generator.integers(0, shape[axis], taken, np.int32)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("GatherElements", ["data", "indices"], ["gathered"], axis=axis)],
            "gather",
            [helper.make_tensor_value_info("indices", TensorProto.INT32, taken)],
            [helper.make_tensor_value_info("gathered", TensorProto.FLOAT, taken)],
            [numpy_helper.from_array(data, "data")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    given = {"indices": indices}
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, given)
    (found,) = ReferenceEvaluator(model, new_ops=[GatherElements]).run(None, given)
    np.testing.assert_array_equal(found, expected)
