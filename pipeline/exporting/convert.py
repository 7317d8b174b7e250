"""One half of the model, the renderer, the scorer or the judge from Keras to ONNX, to be run in its own process.

    python -m pipeline.exporting.convert models encoder encoder.onnx

tf2onnx numbers its names by counters that live as long as the process, so a fresh one per file keeps the
bytes the same; `_canonical` then gives every name its place in the graph instead.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from pipeline.errors import PipelineError
from pipeline.exporting.renderer import append_rendering
from pipeline.exporting.scorer import append_scores
from pipeline.shared.interface import BATCH, HALVES, IR_VERSION, JUDGE, OPSET, RENDERER, SCORER, Interface
from pipeline.training.scorer import build_reconstruction
from pipeline.training.weights import load_half, load_surface

CONVERTED = {**HALVES, RENDERER.role: RENDERER, SCORER.role: SCORER, JUDGE.role: JUDGE}


def convert(models: Path, role: str, target: Path) -> None:
    """Write the Keras model `role` in the folder `models` as ONNX to `target`, unproven."""
    half, knots = load_surface(models) if role == RENDERER.role else (_load(models, role), None)
    interface = CONVERTED[role]
    function = tf.function(lambda tensor: half(tensor, training=False))
    shape = [None, *half.input.shape[1:]]
    signature = [tf.TensorSpec(shape, half.input.dtype, name=interface.inputs[0].name)]
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, custom_op_handlers={"Erfc": (_convert_erfc, [])}
    )
    for simplify in (_with_constant_shapes, _with_plain_gelu, _fused, _joined, _without_scale):
        simplify(model.graph)
    if knots is not None:
        append_rendering(model, knots)
    if role == SCORER.role:
        append_scores(model)
    onnx.save(_canonical(model, interface), target)


def _load(models: Path, role: str) -> keras.Model:
    if role != SCORER.role:
        return load_half(models, role)
    return build_reconstruction(*(load_half(models, half) for half in HALVES))


def _convert_erfc(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """erfc(x) = 1 - erf(x), of TensorFlow's GELU, which tf2onnx doesn't know."""
    erf = graph.make_node("Erf", [node.input[0]])
    one = graph.make_const(f"{name}_one", np.array(1, np.float32))
    node.type = "Sub"
    graph.replace_inputs(node, [one.output[0], erf.output[0]])


def _with_constant_shapes(graph: onnx.GraphProto) -> None:
    """Give each `Reshape` a constant shape; tf2onnx computes some from the batch, the only size it doesn't know.

    What they are is seen by running the model: the size that changes with the batch is the one to be found, -1.
    """
    constants = {tensor.name for tensor in graph.initializer}
    reshapes = [node for node in graph.node if node.op_type == "Reshape" and node.input[1] not in constants]
    if not reshapes:
        return
    probe = onnx.GraphProto()
    probe.CopyFrom(graph)
    del probe.output[:], probe.value_info[:]
    names = list(dict.fromkeys(node.input[1] for node in reshapes))
    probe.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(probe, opset_imports=opsets, ir_version=IR_VERSION))
    (image,) = graph.input
    sizes = [dim.dim_value for dim in image.type.tensor_type.shape.dim[1:]]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)
    shapes = [evaluator.run(None, {image.name: np.zeros([batch, *sizes], dtype)}) for batch in (2, 3)]
    for name, two, three in zip(names, *shapes, strict=True):
        shape = np.where(two == three, two, -1)
        graph.initializer.append(numpy_helper.from_array(shape, f"{name}_constant"))
    for node in reshapes:
        node.input[1] = f"{node.input[1]}_constant"
    _drop_unused(graph)


def _with_plain_gelu(graph: onnx.GraphProto) -> None:
    """Write GELU as 0.5 (x (1 + erf(x / sqrt 2))), in the order of operations that ONNX Runtime takes for one.

    TensorFlow's is (0.5 x) (1 - erf(-x sqrt 0.5)): six passes over what a layer gives instead of one.
    """
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    for erf in [node for node in graph.node if node.op_type == "Erf"]:
        scaled = makers[erf.input[0]]
        (rest,) = (node for node in graph.node if erf.output[0] in node.input)
        (product,) = (node for node in graph.node if rest.output[0] in node.input)
        half = makers[next(name for name in product.input if name != rest.output[0])]
        factor = next(name for name in half.input if name in weights)
        x = next(name for name in half.input if name != factor)
        root = numpy_helper.from_array(np.array(np.sqrt(2), np.float32), f"{x}_root_2")
        graph.initializer.append(root)
        scaled.op_type, scaled.input[:] = "Div", [x, root.name]
        rest.op_type, rest.input[:] = "Add", [erf.output[0], rest.input[0]]
        twice = onnx.helper.make_node("Mul", [x, rest.output[0]], [f"{product.output[0]}_twice"])
        product.input[:] = [twice.output[0], factor]
        graph.node.insert(list(graph.node).index(product), twice)
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights that no output needs."""
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    for entries in (graph.node, graph.initializer):
        for entry in list(entries):
            if not needed.intersection(getattr(entry, "output", [entry.name])):
                entries.remove(entry)


def _fused(graph: onnx.GraphProto) -> None:
    """Make each product with weights and the addition of its bias one `Gemm`, which quantises as one."""
    weights = {tensor.name for tensor in graph.initializer}
    product = {node.output[0]: node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in list(graph.node):
        dense = product.get(node.input[0]) if node.op_type == "Add" and node.input[1] in weights else None
        if dense is not None and readers[dense.output[0]] == 1:
            dense.op_type = "Gemm"
            dense.input.append(node.input[1])
            dense.output[0] = node.output[0]
            graph.node.remove(node)


def _joined(graph: onnx.GraphProto) -> None:
    """Make the products for z_mean and z_log_var one `Gemm` and a `Split`: a few columns take as long as sixteen."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "Gemm"}
    pair = [makers[value.name] for value in graph.output if value.name in makers]
    if len(pair) != 2 or pair[0].input[0] != pair[1].input[0]:
        return
    names = [node.output[0] for node in pair]
    product, other = sorted(pair, key=list(graph.node).index)  # before all that reads either of them
    inputs = list(zip(*(list(node.input) for node in pair), strict=True))
    product.output[0] = "joined"
    for position in (1, 2):
        joined = np.concatenate([weights[name] for name in inputs[position]], axis=-1)
        product.input[position] = f"joined_{position}"
        graph.initializer.append(numpy_helper.from_array(joined, product.input[position]))
    graph.node.insert(list(graph.node).index(product) + 1, onnx.helper.make_node("Split", ["joined"], names, axis=1))
    graph.node.remove(other)
    _drop_unused(graph)


def _without_scale(graph: onnx.GraphProto) -> None:
    """Multiply the first weights of the encoder, not its pixels, by 1/255: two passes over the images less."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    pixels = [node.output[0] for node in graph.node if node.op_type == "Cast" and node.input[0] == graph.input[0].name]
    scale = next((node for node in graph.node if node.op_type == "Mul" and node.input[0] in pixels), None)
    if scale is None:
        return
    after, unused = readers[scale.output[0]], [scale]
    if after.op_type == "Add" and not numpy_helper.to_array(weights[after.input[1]]).any():  # the offset of `Rescaling`
        unused.append(after)
        after = readers[after.output[0]]
    after.input[0] = scale.input[0]
    while after.op_type in ("Reshape", "Transpose"):
        after = readers[after.output[0]]
    kernel = weights[after.input[1]]
    scaled = numpy_helper.to_array(kernel) * numpy_helper.to_array(weights[scale.input[1]])
    kernel.CopyFrom(numpy_helper.from_array(scaled, kernel.name))
    for node in unused:
        graph.node.remove(node)
    _drop_unused(graph)


def _canonical(model: onnx.ModelProto, interface: Interface) -> onnx.ModelProto:
    """The same graph with names, orders and texts that depend on nothing but the graph itself."""
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    order = [tensor.name for tensor in interface.outputs if tensor.name in outputs]
    ordered = [outputs[name] for name in [*order, *sorted(outputs.keys() - set(order))]]
    del graph.output[:], graph.value_info[:]
    graph.output.extend(ordered)
    kept = {value.name for value in [*graph.input, *graph.output]}
    names = {name: name for name in kept} | {"": ""}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    used = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    ordered_weights = [weights[name] for name in used]
    del graph.initializer[:]
    graph.initializer.extend(ordered_weights)
    for number, tensor in enumerate(graph.initializer):
        names[tensor.name] = f"weight_{number}"
    for number, node in enumerate(graph.node):
        for position, name in enumerate(node.output):
            names.setdefault(name, f"{node.op_type.lower()}_{number}" + (f"_{position}" if position else ""))
        node.name = f"{node.op_type}_{number}"
        node.doc_string = ""
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    if interface != RENDERER:  # whose axes have their names
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    domains = {node.domain for node in graph.node}
    unused = [entry for entry in model.opset_import if entry.domain not in domains]
    for entry in unused:
        model.opset_import.remove(entry)
    graph.name, graph.doc_string, model.doc_string = interface.role, "", ""
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("role", choices=CONVERTED)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        convert(arguments.models, arguments.role, arguments.target)
    except PipelineError as error:
        sys.exit(str(error))
