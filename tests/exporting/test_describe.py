from pathlib import Path

import onnx

from pipeline.exporting.convert import convert
from pipeline.exporting.describe import count_operations
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import save_half
from tests import onnx_models


def test_a_matrix_product_takes_two_operations_for_each_weight() -> None:
    model = onnx_models.encoder(latent_dim=3)
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    units = onnx_models.UNITS
    assert list(count_operations(model).values()) == [2 * 784 * units, 2 * units * 3, 2 * units * 3]


def test_a_convolution_takes_them_at_each_position_of_its_output(tmp_path: Path) -> None:
    for half in (build_encoder(3, [8], [2, 4]), build_decoder(3, [8], [4, 2])):
        save_half(half, tmp_path)
        convert(tmp_path, half.name, tmp_path / f"{half.name}.onnx")
    encoder, decoder = (count_operations(onnx.load(tmp_path / f"{role}.onnx")) for role in ("encoder", "decoder"))
    into = [2 * 3 * 3 * 16 * 2 * 7 * 7, 2 * 3 * 3 * 2 * 4 * 7 * 7]
    assert list(encoder.values()) == [*into, 2 * 7 * 7 * 4 * 8, 2 * 8 * 3, 2 * 8 * 3]
    out = [2 * 3 * 3 * 4 * 2 * 7 * 7, 2 * 3 * 3 * 2 * 16 * 7 * 7]
    assert list(decoder.values()) == [2 * 3 * 8, 2 * 8 * 7 * 7 * 4, *out]
