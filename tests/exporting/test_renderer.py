"""The renderer draws what the formula draws of what Keras makes, whatever the decoder is made of."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from pipeline.exporting.convert import convert
from pipeline.exporting.renderer import RENDERER_OPERATORS, prove_renderer
from pipeline.inference.manifest import Tolerance
from pipeline.training.model import build_decoder
from pipeline.training.weights import save_half

TOLERANCE = Tolerance(1e-4, 1e-4)
DECODERS = {
    "logits of pixels": {"filters": (), "surface": 0},
    "logits of convolutions": {"filters": (4, 2), "surface": 0},
    "a dense surface": {"filters": (), "surface": 24},
    "a surface of convolutions": {"filters": (4, 2), "surface": 27},
}


@pytest.fixture(scope="module", params=DECODERS.values(), ids=DECODERS.keys())
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of random weights, and its renderer in `renderer.onnx`."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    decoder = build_decoder(3, [16], activation="gelu", **request.param)
    decoder.set_weights([1.5 * weight for weight in decoder.get_weights()])
    save_half(decoder, folder)
    convert(folder, "renderer", folder / "renderer.onnx")
    return folder


def latents() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(257, 3)).astype(np.float32)


def test_a_renderer_is_proven_at_two_sizes_and_in_a_tile(models: Path) -> None:
    proof = prove_renderer(models / "renderer.onnx", models, latents(), TOLERANCE)
    assert proof.failures == ()
    assert proof.largest_difference.keys() == {"keras", "decoder", "reference"}


def test_its_axes_have_names_where_they_vary_and_its_operators_are_plain(models: Path) -> None:
    model = onnx.load(models / "renderer.onnx")
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "z": ["batch", 3],
        "rows": ["height"],
        "columns": ["width"],
        "pixel": [1],
        "softness": [1],
        "image": ["batch", "height", "width"],
    }
    assert [entry.version for entry in model.opset_import] == [17]
    assert {node.op_type for node in model.graph.node} <= RENDERER_OPERATORS


def test_a_renderer_of_another_decoder_fails_the_proof(models: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    save_half(build_decoder(3, [16]), tmp_path)
    proof = prove_renderer(models / "renderer.onnx", tmp_path, latents(), TOLERANCE)
    assert any("from decoder" in failure for failure in proof.failures)


def test_a_second_conversion_gives_the_same_bytes(models: Path, tmp_path: Path) -> None:
    convert(models, "renderer", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (models / "renderer.onnx").read_bytes()
