"""A model of a role that the pipeline does not have: five inputs, three axes whose size each call chooses."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.inference.manifest import Entry, ListedFile, Manifest, Tolerance, Variant
from pipeline.shared.files import sha256
from pipeline.shared.interface import (
    BATCH,
    FLOAT32,
    IR_VERSION,
    LATENT,
    MODEL_FILE,
    OPSET,
    TEST_DATA,
    Interface,
    Tensor,
)
from tests import onnx_models

Floats = NDArray[np.float32]

PAINTER = Interface(
    role="painter",
    inputs=(
        Tensor("z", "float32", (BATCH, LATENT)),
        Tensor("rows", "float32", ("height",)),
        Tensor("columns", "float32", ("width",)),
        Tensor("pixel", "float32", (1,)),
        Tensor("softness", "float32", (1,)),
    ),
    outputs=(Tensor("image", "float32", (BATCH, "height", "width")),),
    folder="painter",
)


def draw_in_numpy(z: Floats, rows: Floats, columns: Floats, pixel: Floats, softness: Floats) -> Floats:
    """`image` of the model that `save` writes."""
    grid = rows[:, None] * columns * pixel + softness
    image: Floats = 1 / (1 + np.exp(-z.sum(axis=1)[:, None, None] * grid))
    return image


def save(folder: Path, latent_dim: int = 2) -> Manifest:
    """Write model and test vectors, 32 images of 5 x 7 pixels, to `folder/painter`; returns the bundle's manifest."""
    nodes = [
        helper.make_node("Unsqueeze", ["rows", "last"], ["row"]),
        helper.make_node("Mul", ["row", "columns"], ["area"]),
        helper.make_node("Mul", ["area", "pixel"], ["scaled"]),
        helper.make_node("Add", ["scaled", "softness"], ["grid"]),
        helper.make_node("ReduceSum", ["z", "last"], ["sum"], keepdims=1),
        helper.make_node("Unsqueeze", ["sum", "last"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "grid"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["image"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.resolved(latent_dim).shape) for t in tensors]
        for tensors in (PAINTER.inputs, PAINTER.outputs)
    )
    last = helper.make_tensor("last", TensorProto.INT64, [1], [-1])
    graph = helper.make_graph(nodes, PAINTER.role, inputs, outputs, [last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    vectors = onnx_models.save(model, folder / PAINTER.folder) / TEST_DATA
    vectors.mkdir()
    generator = np.random.default_rng(7)
    tensors = [generator.standard_normal(shape, np.float32) for shape in ((32, latent_dim), (5,), (7,), (1,), (1,))]
    for number, (tensor, values) in enumerate(zip(PAINTER.inputs, tensors, strict=True)):
        onnx_models.save_vector(values, tensor.name, vectors / f"input_{number}.pb")
    onnx_models.save_vector(draw_in_numpy(*tensors), "image", vectors / "output_0.pb")
    return manifest(folder, latent_dim)


def manifest(folder: Path, latent_dim: int = 2) -> Manifest:
    """What fits the files as they are now."""
    difference = {"image": 1e-7}
    variant = Variant(f"{PAINTER.folder}/{MODEL_FILE}", {"numpy": difference, "reference": difference})
    files = sorted((folder / PAINTER.folder).rglob("*.*"))
    return Manifest(
        latent_dim,
        Tolerance(1e-4, 1e-4, (1, 3, 257)),
        {PAINTER.role: Entry(PAINTER, (f"{PAINTER.folder}/{TEST_DATA}",), {FLOAT32: variant})},
        tuple(ListedFile(file.relative_to(folder).as_posix(), file.stat().st_size, sha256(file)) for file in files),
        package_version="1.0",
        data={"source": "sample", "files": []},
        params_sha256="0" * 64,
        opset=OPSET,
        ir_version=IR_VERSION,
        validation={"negative_elbo": 150.0, "reconstruction": 144.0, "kl": 6.0, "images": 300},
    )
