"""The proof of a converted model: structure, interface, operators, and the same numbers as Keras."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.interface import IR_VERSION, OPSET, Interface, mismatches

# What dense networks turn into, all known to every runtime of the opset.
OPERATORS = frozenset({"Add", "Cast", "Concat", "Gemm", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid"})
BATCH_SIZES = (1, 3, 257)

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Tolerance:
    """`|onnx - keras| <= absolute + relative * |keras|` must hold for every element."""

    absolute: float
    relative: float


@dataclass(frozen=True)
class Proof:
    """What a model was found to be."""

    failures: tuple[str, ...]
    largest_difference: dict[str, float]
    """Per output, over all batch sizes."""


def prove(
    file: Path, interface: Interface, half: keras.Model, tensors: NDArray[np.generic], tolerance: Tolerance
) -> Proof:
    """Hold `file` against its interface and against the Keras model that it was made from.

    Args:
        file: the converted model.
        interface: what it must look like.
        half: the Keras model.
        tensors: at least 257 inputs of that model.
        tolerance: how far the outputs may differ.
    """
    failures = _structure(file)
    try:
        session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises a dozen unrelated classes; each means that the file cannot be run.
        return Proof((*failures, f"ONNX Runtime cannot load it: {_one_line(error)}"), {})
    shape_problems = mismatches(interface, session.get_inputs(), session.get_outputs())
    if shape_problems:
        return Proof((*failures, *shape_problems), {})
    differences: dict[str, float] = {}
    for size in BATCH_SIZES:
        batch = tensors[:size]
        names = [output.name for output in interface.outputs]
        found = dict(zip(names, session.run(names, {interface.input.name: batch}), strict=True))
        expected = {name: np.asarray(value) for name, value in half.predict_on_batch(batch).items()}
        for name in names:
            failure, largest = _compare(found[name], expected[name], tolerance)
            differences[name] = max(largest, differences.get(name, 0.0))
            if failure:
                failures.append(f"{name} at batch size {size}: {failure}")
    return Proof(tuple(failures), differences)


def _structure(file: Path) -> list[str]:
    failures = []
    try:
        onnx.checker.check_model(file, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        failures.append(f"onnx.checker refuses it: {_one_line(error)}")
    model = onnx.load(file)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": OPSET} or model.ir_version != IR_VERSION:
        failures.append(
            f"it needs opsets {opsets} and IR {model.ir_version}, expected ai.onnx {OPSET} and IR {IR_VERSION}"
        )
    unknown = sorted({node.op_type for node in model.graph.node} - OPERATORS)
    if unknown:
        failures.append(f"it uses the operators {', '.join(unknown)}, allowed are {', '.join(sorted(OPERATORS))}")
    return failures


def _compare(
    found: NDArray[np.float32], expected: NDArray[np.float32], tolerance: Tolerance
) -> tuple[str | None, float]:
    """What is wrong, if anything, and the largest difference."""
    if found.shape != expected.shape:
        return f"shape {list(found.shape)}, expected {list(expected.shape)}", float("inf")
    difference = np.abs(found.astype(np.float64) - expected)
    allowed = tolerance.absolute + tolerance.relative * np.abs(expected)
    largest = float(difference.max())
    # Written so that NaN fails.
    if not np.all(difference <= allowed):
        return f"differs from Keras by up to {largest:.3g}, allowed {float(allowed.min()):.3g}", largest
    return None, largest


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
