"""Small real models with the pipeline's interface and seeded random weights, and what NumPy makes of them."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.interface import IMAGE_SHAPE, IR_VERSION, MODEL_FILE, OPSET, PIXELS

UNITS = 48

Floats = NDArray[np.float32]


def encoder(latent_dim: int = 2, seed: int = 0) -> onnx.ModelProto:
    """`image` uint8 `[batch, 28, 28]` to `z_mean` and `z_log_var` through one hidden layer."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["pixels"]),
        _dense("pixels", "hidden"),
        helper.make_node("Relu", ["hidden"], ["features"]),
        _dense("features", "z_mean"),
        _dense("features", "z_log_var"),
    ]
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "flat": np.array([-1, PIXELS]),
        **_weights({"hidden": (PIXELS, UNITS), "z_mean": (UNITS, latent_dim), "z_log_var": (UNITS, latent_dim)}, seed),
    }
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *IMAGE_SHAPE])
    return _model(nodes, constants, image, {name: ["batch", latent_dim] for name in ("z_mean", "z_log_var")})


def decoder(latent_dim: int = 2, seed: int = 0) -> onnx.ModelProto:
    """`z` float32 `[batch, latent_dim]` to `image` `[batch, 28, 28]` in [0, 1] through one hidden layer."""
    nodes = [
        _dense("z", "hidden"),
        helper.make_node("Relu", ["hidden"], ["features"]),
        _dense("features", "logits"),
        helper.make_node("Sigmoid", ["logits"], ["pixels"]),
        helper.make_node("Reshape", ["pixels", "square"], ["image"]),
    ]
    constants = {
        "square": np.array([-1, *IMAGE_SHAPE]),
        **_weights({"hidden": (latent_dim, UNITS), "logits": (UNITS, PIXELS)}, seed),
    }
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", latent_dim])
    return _model(nodes, constants, z, {"image": ["batch", *IMAGE_SHAPE]})


def save(model: onnx.ModelProto, folder: Path) -> Path:
    """Write `folder/model.onnx`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL_FILE)
    return folder


def encode_in_numpy(model: onnx.ModelProto, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """`z_mean` and `z_log_var` of the model that `encoder` builds."""
    of = constants(model)
    x = images.reshape(-1, PIXELS).astype(np.float32) / 255
    features = np.maximum(x @ of["hidden_w"] + of["hidden_b"], 0)
    return features @ of["z_mean_w"] + of["z_mean_b"], features @ of["z_log_var_w"] + of["z_log_var_b"]


def decode_in_numpy(model: onnx.ModelProto, z: Floats) -> Floats:
    """`image` of the model that `decoder` builds."""
    of = constants(model)
    features = np.maximum(z @ of["hidden_w"] + of["hidden_b"], 0)
    image: Floats = 1 / (1 + np.exp(-(features @ of["logits_w"] + of["logits_b"])))
    return image.reshape(-1, *IMAGE_SHAPE)


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """The model's weights by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def set_constant(model: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> onnx.ModelProto:
    """Replace one of the weights in place; returns the model."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))
    return model


def _dense(source: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Gemm", [source, f"{name}_w", f"{name}_b"], [name])


def _weights(shapes: dict[str, tuple[int, int]], seed: int) -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.generic]] = {}
    for name, (inputs, outputs) in shapes.items():
        weights[f"{name}_w"] = generator.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        weights[f"{name}_b"] = generator.normal(0, 0.5, outputs).astype(np.float32)
    return weights


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    source: onnx.ValueInfoProto,
    outputs: dict[str, list[int | str]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "half",
        [source],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model
