import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.exporting.convert import convert
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import save_half


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


def test_the_export_runs_on_tensorflow_whatever_backend_trained() -> None:
    script = "import pipeline.exporting, keras; assert keras.backend.backend() == 'tensorflow'"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "KERAS_BACKEND": "jax"}, check=True)
