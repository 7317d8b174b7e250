from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from pipeline.exporting.check import OPERATORS, QUANTISED_OPERATORS, structure
from pipeline.exporting.convert import convert
from pipeline.exporting.variants import write_fp16, write_int8
from pipeline.shared.interface import DECODER, mismatches
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import save_half
from tests import onnx_models

Z = np.random.default_rng(0).standard_normal((1000, 2), np.float32)


def decode(file: Path, z: NDArray[np.float32] = Z) -> NDArray[np.float32]:
    images: NDArray[np.float32] = ort.InferenceSession(file).run(["image"], {"z": z})[0]
    return images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("decoder")
    model = onnx_models.decoder()
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    exact = onnx_models.save(model, folder) / "model.onnx"
    write_int8(exact, folder / "int8.onnx", "z", Z)
    write_fp16(exact, folder / "fp16.onnx")
    return {"float32": exact, "int8": folder / "int8.onnx", "fp16": folder / "fp16.onnx"}


@pytest.mark.parametrize(("variant", "operators"), [("int8", QUANTISED_OPERATORS), ("fp16", OPERATORS)])
def test_a_variant_is_sound_and_keeps_the_interface(
    variant: str, operators: frozenset[str], files: dict[str, Path]
) -> None:
    session = ort.InferenceSession(files[variant])
    assert structure(files[variant], operators) == []
    assert mismatches(DECODER, session.get_inputs(), session.get_outputs()) == []


@pytest.mark.parametrize(("variant", "largest"), [("int8", 0.03), ("fp16", 0.002)])
def test_a_variant_stays_close(variant: str, largest: float, files: dict[str, Path]) -> None:
    difference = np.abs(decode(files[variant]) - decode(files["float32"]))
    assert 0 < difference.max() < largest


def test_int8_gives_an_image_the_same_bytes_in_any_batch(files: dict[str, Path]) -> None:
    whole = decode(files["int8"])
    pieces = [decode(files["int8"], Z[start : start + 7]) for start in range(0, len(Z), 7)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_int8_weights_are_per_channel_and_products_with_the_latents_stay_float(files: dict[str, Path]) -> None:
    model = onnx.load(files["int8"])
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    quantised = [tensor for tensor in weights.values() if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims]
    (matrix,) = (tensor for tensor in quantised if len(tensor.dims) == 2)
    assert list(matrix.dims) == [onnx_models.UNITS, 784]
    scales = [tensor for tensor in weights.values() if list(tensor.dims) == [784] and "scale" in tensor.name]
    assert scales


@pytest.mark.parametrize(("highest", "conversions"), [(255, set()), (199, {"Cast", "QuantizeLinear"})])
def test_an_int8_encoder_takes_bytes_as_they_are_if_calibration_saw_full_ink(
    highest: int, conversions: set[str], tmp_path: Path
) -> None:
    save_half(build_encoder(2, [64]), tmp_path)
    convert(tmp_path, "encoder", tmp_path / "float32.onnx")
    images = np.random.default_rng(0).integers(0, highest + 1, (1000, 28, 28), np.uint8)
    write_int8(tmp_path / "float32.onnx", tmp_path / "int8.onnx", "image", images)
    assert structure(tmp_path / "int8.onnx", QUANTISED_OPERATORS) == []
    operators = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert operators & {"Cast", "QuantizeLinear"} == conversions
    exact, found = (
        ort.InferenceSession(tmp_path / f"{name}.onnx").run(None, {"image": images}) for name in ("float32", "int8")
    )
    np.testing.assert_allclose(np.array(found), exact, atol=0.05)
    assert np.ptp(exact[0]) > 0.5


def test_onnx_runtime_computes_the_large_product_of_an_int8_encoder_in_int8(tmp_path: Path) -> None:
    half, generator = build_encoder(2, [64]), np.random.default_rng(0)
    half.set_weights([generator.normal(0, 0.1, weight.shape) for weight in half.get_weights()])
    save_half(half, tmp_path)
    convert(tmp_path, "encoder", tmp_path / "float32.onnx")
    write_int8(
        tmp_path / "float32.onnx",
        tmp_path / "int8.onnx",
        "image",
        generator.integers(0, 256, (1000, 28, 28), np.uint8),
    )
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators == ["Reshape", "QGemm", "Max", "Gemm", "Split"]


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A decoder whose convolutions have most of the operations, a dense layer most of the weights, and its variants."""
    folder = tmp_path_factory.mktemp("convolutions")
    half = build_decoder(2, [8], [16, 16])
    generator = np.random.default_rng(0)
    half.set_weights([generator.normal(0, 0.2, weight.shape) for weight in half.get_weights()])
    save_half(half, folder)
    convert(folder, "decoder", folder / "float32.onnx")
    write_int8(folder / "float32.onnx", folder / "int8.onnx", "z", Z)
    write_fp16(folder / "float32.onnx", folder / "fp16.onnx")
    return {name: folder / f"{name}.onnx" for name in ("float32", "int8", "fp16")}


@pytest.mark.parametrize(
    ("variant", "operators", "mean"), [("int8", QUANTISED_OPERATORS, 0.01), ("fp16", OPERATORS, 0.001)]
)
def test_a_variant_of_convolutions_is_sound_and_stays_close(
    variant: str, operators: frozenset[str], mean: float, convolutions: dict[str, Path]
) -> None:
    assert structure(convolutions[variant], operators) == []
    difference = np.abs(decode(convolutions[variant]) - decode(convolutions["float32"]))
    assert 0 < difference.mean() < mean


def test_int8_leaves_convolutions_in_float_and_gives_the_same_bytes_in_any_batch(convolutions: dict[str, Path]) -> None:
    model = onnx.load(convolutions["int8"])
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    readers = [node for node in model.graph.node if node.op_type == "Conv"]
    assert [weights[node.input[1]] for node in readers] == [onnx.TensorProto.FLOAT] * 2
    assert "DequantizeLinear" not in {maker[node.input[0]] for node in readers}
    whole = decode(convolutions["int8"])
    pieces = [decode(convolutions["int8"], Z[start : start + 7]) for start in range(0, len(Z), 7)]
    assert whole.tobytes() == np.concatenate(pieces).tobytes()


@pytest.mark.parametrize("variant", ["int8", "fp16"])
def test_a_variant_is_smaller(variant: str, files: dict[str, Path]) -> None:
    assert files[variant].stat().st_size < 0.6 * files["float32"].stat().st_size
