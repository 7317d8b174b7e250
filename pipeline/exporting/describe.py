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

    from pipeline.interface import Interface


def describe(file: Path, interface: Interface, properties: Mapping[str, str]) -> None:
    """Write `properties` into the file's metadata and the meaning of inputs and outputs into its texts."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    meanings = {tensor.name: tensor.meaning for tensor in (interface.input, *interface.outputs)}
    for value in [*model.graph.input, *model.graph.output]:
        value.doc_string = meanings[value.name]
    onnx.save(model, file)


def count_operations(file: Path) -> int:
    """Floating-point operations per image of the float32 model's matrix products: two for each weight."""
    graph = onnx.load(file).graph
    sizes: dict[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    return 2 * sum(sizes.get(node.input[1], 0) for node in graph.node if node.op_type in ("Gemm", "MatMul"))


def write_vectors(
    folder: Path, inputs: NDArray[np.generic], names: Sequence[str], outputs: Sequence[NDArray[np.generic]]
) -> None:
    """Write `input_0.pb`, `output_0.pb`, ... as the ONNX Model Zoo lays them out.

    Args:
        folder: made here.
        inputs: the one input.
        names: of the input, then of the outputs.
        outputs: arrays in the order of the interface.
    """
    folder.mkdir()
    tensors = {"input_0.pb": inputs} | {f"output_{number}.pb": output for number, output in enumerate(outputs)}
    for (file, tensor), name in zip(tensors.items(), names, strict=True):
        (folder / file).write_bytes(numpy_helper.from_array(tensor, name).SerializeToString())
