"""A small real mixture with the pipeline's interface, a bundle that holds one, and what NumPy makes of it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.shared.interface import HALVES, IR_VERSION, MIXTURE, OPSET, TEST_DATA
from tests import onnx_models

Floats = NDArray[np.float32]


def numbers(latent_dim: int) -> tuple[Floats, Floats]:
    """Means `[2, latent_dim]` and factors `[2, latent_dim, latent_dim]` of two Gaussians of weights 1/4 and 3/4."""
    generator = np.random.default_rng(5)
    means = generator.normal(0, 2, (2, latent_dim)).astype(np.float32)
    return means, np.tril(generator.normal(0, 0.5, (2, latent_dim, latent_dim))).astype(np.float32)


def draw_in_numpy(uniform: Floats, noise: Floats) -> Floats:
    """`z` of the mixture that `save` writes."""
    means, factors = numbers(noise.shape[1])
    chosen = (uniform >= 0.25).astype(int)
    z: Floats = means[chosen] + np.einsum("nij,nj->ni", factors[chosen], noise)
    return z


def save(folder: Path, latent_dim: int = 2) -> Path:
    """Write `folder/model.onnx`; returns the folder."""
    means, factors = numbers(latent_dim)
    constants = {"border": np.array([0.25], np.float32), "means": means, "factors": factors, "last": np.array([-1])}
    nodes = [
        helper.make_node("GreaterOrEqual", ["uniform", "border"], ["passed"]),
        helper.make_node("Cast", ["passed"], ["chosen"], to=TensorProto.INT64),
        helper.make_node("Gather", ["means", "chosen"], ["mean"]),
        helper.make_node("Gather", ["factors", "chosen"], ["factor"]),
        helper.make_node("Unsqueeze", ["noise", "last"], ["column"]),
        helper.make_node("MatMul", ["factor", "column"], ["deviations"]),
        helper.make_node("Squeeze", ["deviations", "last"], ["deviation"]),
        helper.make_node("Add", ["mean", "deviation"], ["z"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.resolved(latent_dim).shape) for t in tensors]
        for tensors in (MIXTURE.inputs, MIXTURE.outputs)
    )
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "mixture", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return onnx_models.save(model, folder)


def add(bundle: Path, latent_dim: int = 2) -> Path:
    """Put a mixture with test vectors beside the decoder of a bundle; returns the bundle."""
    vectors = save(bundle / "decoder" / "mixture", latent_dim) / TEST_DATA
    vectors.mkdir()
    generator = np.random.default_rng(6)
    uniform, noise = generator.random(32, np.float32), generator.standard_normal((32, latent_dim), np.float32)
    onnx_models.save_vector(uniform, "uniform", vectors / "input_0.pb")
    onnx_models.save_vector(noise, "noise", vectors / "input_1.pb")
    onnx_models.save_vector(draw_in_numpy(uniform, noise), "z", vectors / "output_0.pb")
    sign(bundle, latent_dim)
    return bundle


def sign(bundle: Path, latent_dim: int = 2) -> None:
    """Write the manifests that fit the files as they are now."""
    for folder, roles, place in ((bundle / "decoder", ["decoder"], ""), (bundle, list(HALVES), "decoder/")):
        about = {
            "file": f"{place}mixture/model.onnx",
            "inputs": [str(tensor.resolved(latent_dim)) for tensor in MIXTURE.inputs],
            "outputs": [str(tensor.resolved(latent_dim)) for tensor in MIXTURE.outputs],
            "test_data": f"{place}mixture/{TEST_DATA}",
        }
        onnx_models.write_manifest(folder, roles, latent_dim, mixture=about)
