"""What each file says of itself, and the vectors that lie beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.shared.interface import Interface


PRODUCTS = ("Conv", "Gemm", "MatMul")


def describe(file: Path, interface: Interface, properties: Mapping[str, str]) -> None:
    """Write `properties` into the file's metadata and the meaning of inputs and outputs into its texts."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    meanings = {tensor.name: tensor.meaning for tensor in (*interface.inputs, *interface.outputs)}
    for value in [*model.graph.input, *model.graph.output]:
        value.doc_string = meanings[value.name]
    onnx.save(model, file)


def count_operations(model: onnx.ModelProto) -> dict[str, int]:
    """Floating-point operations per image of a float32 model, by the names of its products with weights.

    Two for each weight and each place at which it is used: in a convolution all positions of the output, in a product
    all rows that an image has.
    """
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in [*single.graph.input, *single.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    sizes: dict[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    operations = {}
    for node in graph.node:
        if node.op_type in PRODUCTS:
            made = shapes[node.output[0]]
            places = math.prod(made[2:] if node.op_type == "Conv" else made[:-1])
            operations[node.name] = 2 * sizes.get(node.input[1], 0) * places
    return operations


def write_vectors(
    folder: Path, interface: Interface, inputs: Sequence[NDArray[np.generic]], outputs: Sequence[NDArray[np.generic]]
) -> None:
    """Write `input_0.pb`, `output_0.pb`, ... as the ONNX Model Zoo lays them out.

    Args:
        folder: made here.
        interface: gives the names and their order.
        inputs: in that order.
        outputs: in that order.
    """
    folder.mkdir()
    for kind, tensors, arrays in (("input", interface.inputs, inputs), ("output", interface.outputs, outputs)):
        for number, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            serialized = numpy_helper.from_array(array, tensor.name).SerializeToString()
            (folder / f"{kind}_{number}.pb").write_bytes(serialized)
