"""Smaller and faster forms of a proven model, with the same inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from pipeline.exporting.describe import PRODUCTS, count_operations

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_SMALL = 0.1  # share of the weights, and of the operations
_BATCH = 500
_DENSE = ("Gemm", "MatMul")


def write_int8(source: Path, target: Path, name: str, tensors: NDArray[np.generic]) -> None:
    """Quantise the large dense products of `source` to int8 by static calibration.

    Weights are int8 per output channel, of 7 bits, activations uint8 (QDQ). Static: the result for an image does not
    depend on the others in its batch. Small products, such as those with the latents, stay in float32: they cost
    nothing and the latents need the precision. So do the outputs of matrix products, which are accumulated in 32 bits
    anyway, and convolutions, whose outputs ONNX Runtime would round to 8 bits: two of them cost the `likelihood` preset
    0.4 nats, and leaving them alone 0.04.

    Args:
        source: the float32 model.
        target: the file to write.
        name: the model's input.
        tensors: what to calibrate on, `[n, ...]`.
    """
    quant_pre_process(str(source), str(target), skip_optimization=True, skip_symbolic_shape=True)
    model = onnx.load(source)
    quantize_static(
        target,
        target,
        _Calibration(name, tensors),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_DENSE),
        nodes_to_exclude=_left_in_float(model),
        per_channel=True,
        # Processors without VNNI add pairs of products in 16 bits: with weights of 7 bits these can't overflow.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": list(_DENSE)},
    )
    quantised = onnx.load(target)
    _without_round_trip(quantised.graph)
    _with_products_apart(quantised.graph)
    onnx.save(quantised, target)


def write_fp16(source: Path, target: Path, last: Collection[str] = ()) -> None:
    """Store and compute in float16; inputs and outputs stay as they are, and the nodes of the names in `last`.

    These are those behind which no other node comes: sums of many terms, which float16 can't hold.
    """
    model = onnx.load(source)
    kept = _without_last(model.graph, last)
    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    graph = converted.model.graph
    if kept.node:
        del graph.output[:]
    graph.node.extend(kept.node)
    graph.initializer.extend(kept.initializer)
    graph.output.extend(kept.output)
    converted.topological_sort()  # the conversion appends its casts of the inputs
    onnx.save(converted.model, target)


def _without_last(graph: onnx.GraphProto, last: Collection[str]) -> onnx.GraphProto:
    """Take nodes away from the end of a graph, which then gives what they read; returns them, and what they give."""
    whole, kept = onnx.GraphProto(), onnx.GraphProto()
    whole.CopyFrom(graph)
    front = [node for node in whole.node if node.name not in last]
    kept.node.extend(node for node in whole.node if node.name in last)
    read_in_front, read = ({name for node in nodes for name in node.input} for nodes in (front, kept.node))
    kept.initializer.extend(one for one in whole.initializer if one.name in read)
    for weight in kept.initializer:  # its own, since those of the others are rounded
        for node in kept.node:
            node.input[:] = [f"{weight.name}_last" if name == weight.name else name for name in node.input]
        weight.name += "_last"
    if kept.node:
        kept.output.extend(whole.output)
        made = [name for node in front for name in node.output if name in read]
        del graph.node[:], graph.initializer[:], graph.output[:]
        graph.node.extend(front)
        graph.initializer.extend(one for one in whole.initializer if one.name in read_in_front)
        graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in made)
    return kept


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Hands out the tensors in batches."""

    def __init__(self, name: str, tensors: NDArray[np.generic]) -> None:
        starts = range(0, len(tensors), _BATCH)
        self._batches: Iterator[dict[str, NDArray[np.generic]]] = iter(
            [{name: np.ascontiguousarray(tensors[start : start + _BATCH])} for start in starts]
        )

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._batches, None)


def _without_round_trip(graph: onnx.GraphProto) -> None:
    """Take bytes as they are, where they would become floats and then, with a scale of 1, the same bytes again."""
    maker = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for quantise in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        first = quantise
        while (before := maker.get(first.input[0])) is not None and before.op_type == "Reshape":
            first = before
        if before is None or before.op_type != "Cast" or before.input[0] not in {one.name for one in graph.input}:
            continue
        if [float(constants[name]) for name in quantise.input[1:]] == [1, 0]:
            first.input[0] = before.input[0]
            for node in graph.node:
                node.input[:] = [quantise.input[0] if name == quantise.output[0] else name for name in node.input]
            graph.node.remove(quantise)
            graph.node.remove(before)
            del graph.value_info[:]  # of tensors that have become bytes


def _with_products_apart(graph: onnx.GraphProto) -> None:
    """Say `Relu` as `Max` behind int8 products: ONNX Runtime would make the two one in float32 before it sees int8."""
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    products = {node.output[0] for node in graph.node if node.op_type == "Gemm" and node.input[0] in dequantised}
    quantised_again = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in graph.node:
        if node.op_type == "Relu" and node.input[0] in products and node.output[0] not in quantised_again:
            zero = numpy_helper.from_array(np.array(0, np.float32), f"{node.output[0]}_zero")
            graph.initializer.append(zero)
            node.op_type = "Max"
            node.input.append(zero.name)


def _left_in_float(model: onnx.ModelProto) -> list[str]:
    """Products with few weights and few operations."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    products = {node.name: sizes.get(node.input[1], 0) for node in model.graph.node if node.op_type in PRODUCTS}
    return sorted(_small(products) & _small(count_operations(model)))


def _small(counts: Mapping[str, int]) -> set[str]:
    return {name for name, count in counts.items() if count < _SMALL * sum(counts.values())}
