import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pipeline.exporting.check import by_keras, prove
from pipeline.exporting.convert import convert
from pipeline.inference.manifest import Tolerance
from pipeline.shared.interface import DECODER, ENCODER
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import load_half, save_half


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    generator = np.random.default_rng(0)
    for half in (build_encoder(3, [8]), build_decoder(3, [8])):
        # A bias of zeros, as before any training, is optimised away.
        half.set_weights([generator.normal(size=weight.shape) for weight in half.get_weights()])
        save_half(half, folder)
    return folder


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_a_second_conversion_in_the_same_process_gives_the_same_bytes(role: str, models: Path, tmp_path: Path) -> None:
    convert(models, role, tmp_path / "one.onnx")
    convert(models, role, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_names_and_axes_are_the_promised_ones(models: Path, tmp_path: Path) -> None:
    convert(models, "encoder", tmp_path / "encoder.onnx")
    model = onnx.load(tmp_path / "encoder.onnx")
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [value.name for value in [*model.graph.input, *model.graph.output]] == ["image", "z_mean", "z_log_var"]
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert shapes == [["batch", 3], ["batch", 3]]
    assert model.graph.name == "encoder"
    assert not any(node.doc_string for node in model.graph.node)


def test_every_dense_layer_is_one_node(models: Path, tmp_path: Path) -> None:
    convert(models, "decoder", tmp_path / "decoder.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "decoder.onnx").graph.node]
    assert operators == ["Gemm", "Relu", "Gemm", "Reshape", "Sigmoid"]


def test_the_scale_of_pixels_is_part_of_the_first_weights(models: Path, tmp_path: Path) -> None:
    convert(models, "encoder", tmp_path / "encoder.onnx")
    graph = onnx.load(tmp_path / "encoder.onnx").graph
    assert [node.op_type for node in graph.node] == ["Cast", "Reshape", "Gemm", "Relu", "Gemm", "Split"]
    assert sorted(list(tensor.dims) for tensor in graph.initializer) == [[2], [6], [8], [8, 6], [784, 8]]


def test_the_product_for_both_outputs_gives_what_keras_gives(models: Path, tmp_path: Path) -> None:
    convert(models, "encoder", tmp_path / "encoder.onnx")
    images = np.random.default_rng(0).integers(0, 256, (257, 28, 28), np.uint8)
    keras = by_keras(load_half(models, "encoder"))
    proof = prove(tmp_path / "encoder.onnx", ENCODER, keras, [images], Tolerance(absolute=1e-3, relative=1e-4))
    assert proof.failures == ()


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves with convolutions, converted."""
    folder = tmp_path_factory.mktemp("convolutions")
    generator = np.random.default_rng(0)
    for half in (build_encoder(3, [8], [2, 4]), build_decoder(3, [8], [4, 2])):
        half.set_weights([generator.normal(0, 0.3, weight.shape) for weight in half.get_weights()])
        save_half(half, folder)
        convert(folder, half.name, folder / f"{half.name}.onnx")
    return folder


def test_convolutions_need_no_shape_that_is_computed(convolutions: Path) -> None:
    cut, dense = ["Cast", "Reshape", "Transpose", "Reshape", "Transpose"], ["Gemm", "Relu"]
    join = ["Transpose", "Reshape", "Transpose", "Reshape", "Sigmoid"]
    for role, expected in (
        ("encoder", [*cut, "Conv", "Relu", "Conv", "Relu", "Transpose", "Reshape", *dense, "Gemm", "Split"]),
        ("decoder", [*dense, *dense, "Reshape", "Transpose", "Conv", "Relu", "Conv", *join]),
    ):
        assert [node.op_type for node in onnx.load(convolutions / f"{role}.onnx").graph.node] == expected


def test_convolutions_give_what_keras_gives(convolutions: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (257, 28, 28), np.uint8)
    half = load_half(convolutions, "encoder")
    proof = prove(
        convolutions / "encoder.onnx", ENCODER, by_keras(half), [images], Tolerance(absolute=1e-5, relative=0)
    )
    assert proof.failures == ()


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_convolutions_convert_to_the_same_bytes_again(role: str, convolutions: Path, tmp_path: Path) -> None:
    convert(convolutions, role, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (convolutions / f"{role}.onnx").read_bytes()


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_convolutions_give_an_image_the_same_bytes_in_any_batch(role: str, convolutions: Path) -> None:
    session = ort.InferenceSession(convolutions / f"{role}.onnx")
    generator = np.random.default_rng(0)
    images, z = generator.integers(0, 256, (512, 28, 28), np.uint8), generator.standard_normal((512, 3), np.float32)
    name, tensor = ("image", images) if role == "encoder" else ("z", z)
    whole = session.run(None, {name: tensor})
    for size in (1, 7, 128, 256):
        pieces = [session.run(None, {name: tensor[start : start + size]}) for start in range(0, 512, size)]
        for output, several in zip(whole, zip(*pieces, strict=True), strict=True):
            assert output.tobytes() == np.concatenate(several).tobytes()


ACTIVATIONS = ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_converts_to_operators_that_all_runtimes_have(activation: str, tmp_path: Path) -> None:
    half = build_decoder(2, [8], activation=activation)
    save_half(half, tmp_path)
    convert(tmp_path, "decoder", tmp_path / "decoder.onnx")
    z = np.random.default_rng(0).normal(0, 3, (257, 2)).astype(np.float32)
    proof = prove(tmp_path / "decoder.onnx", DECODER, by_keras(half), [z], Tolerance(absolute=1e-5, relative=0))
    assert proof.failures == ()


def test_the_export_runs_on_tensorflow_whatever_backend_trained() -> None:
    script = "import pipeline.exporting, keras; assert keras.backend.backend() == 'tensorflow'"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "KERAS_BACKEND": "jax"}, check=True)
