"""The proof of a converted model: structure, interface, operators, and the same numbers as two other runtimes."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from pipeline.errors import ExportError
from pipeline.inference.manifest import Tolerance
from pipeline.shared.interface import BATCH, IR_VERSION, OPSET, Interface, mismatches
from pipeline.shared.text import one_line

log = logging.getLogger(__name__)

# What the layers turn into, all known to every runtime of the opset.
_ARITHMETIC = {"Add", "Cast", "Mul", "Neg", "Sub"}
_ACTIVATIONS = {"Elu", "Erf", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh"}
OPERATORS = frozenset(
    {"Conv", "Div", "Gemm", "MatMul", "Reshape", "Slice", "Split", "Sqrt", "Transpose"} | _ARITHMETIC | _ACTIVATIONS
)
QUANTISED_OPERATORS = OPERATORS | {"DequantizeLinear", "Max", "QuantizeLinear"}
BATCH_SIZES = (1, 3, 257)

Tensors = Mapping[str, NDArray[np.float32]]
Peer = Callable[..., Tensors]  # the inputs in the order of the interface to outputs by name


@dataclass(frozen=True)
class Proof:
    """What a model was found to be."""

    failures: tuple[str, ...]
    largest_difference: dict[str, dict[str, float]]
    """From the peer and from ONNX's `reference` evaluator: per output, over all batch sizes."""


def by_keras(half: keras.Model) -> dict[str, Peer]:
    """A half of the model as the peer `keras`; not compiled, since three batches are not worth it."""
    return {"keras": lambda batch: {name: np.asarray(v) for name, v in half(batch, training=False).items()}}


def prove(
    file: Path,
    interface: Interface,
    peer: Mapping[str, Peer],
    tensors: Sequence[NDArray[np.generic]],
    tolerance: Tolerance,
    operators: Collection[str] = OPERATORS,
) -> Proof:
    """Hold `file` against its interface, what it was made from and ONNX's own evaluator.

    Args:
        file: the ONNX file.
        interface: what it must look like.
        peer: what it was made from, by its name.
        tensors: at least 257 rows of each input that has rows, and the others as they are.
        tolerance: how far the outputs may differ.
        operators: that it may have.
    """
    failures = structure(file, operators)
    try:
        session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises a dozen unrelated classes; each means that the file cannot be run.
        return Proof((*failures, f"ONNX Runtime cannot load it: {one_line(error)}"), {})
    shape_problems = mismatches(interface, session.get_inputs(), session.get_outputs(), exact=True)
    if shape_problems:
        return Proof((*failures, *shape_problems), {})
    names = [output.name for output in interface.outputs]
    evaluator = ReferenceEvaluator(str(file), new_ops=[GatherElements])

    def fed(batch: Sequence[NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return dict(zip([tensor.name for tensor in interface.inputs], batch, strict=True))

    def reference(*batch: NDArray[np.generic]) -> Tensors:
        return dict(zip(names, evaluator.run(names, fed(batch)), strict=True))

    differences: dict[str, dict[str, float]] = {}
    for other, run in {**peer, "reference": reference}.items():
        differences[other] = dict.fromkeys(names, 0.0)
        for size in BATCH_SIZES:
            batch = [
                values[:size] if BATCH in tensor.shape else values
                for tensor, values in zip(interface.inputs, tensors, strict=True)
            ]
            found = session.run(names, fed(batch))
            with np.errstate(over="ignore", invalid="ignore"):  # in what the sigmoid of the reference throws away
                expected = run(*batch)
            for name, values in zip(names, found, strict=True):
                failure, largest = _compare(values, expected[name], tolerance)
                differences[other][name] = max(largest, differences[other][name])
                if failure:
                    failures.append(f"{name} at batch size {size}: {failure} from {other}")
    return Proof(tuple(failures), differences)


class GatherElements(OpRun):
    """By NumPy: ONNX's own takes no more than 64 values to choose from, since `numpy.choose` doesn't."""

    def _run(
        self, data: NDArray[np.generic], indices: NDArray[np.integer], axis: int = 0
    ) -> tuple[NDArray[np.generic]]:
        return (np.take_along_axis(data, indices, axis),)


def check_proofs(proofs: Mapping[str, Proof]) -> None:
    """Log what was found, by role; raise `ExportError` if any proof failed."""
    for role, proof in proofs.items():
        for peer, outputs in proof.largest_difference.items():
            shown = ", ".join(f"{name} {value:.1e}" for name, value in outputs.items())
            log.info("%s: largest difference from %s: %s", role, peer, shown)
    refuse([f"{role}: {failure}" for role, proof in proofs.items() for failure in proof.failures])


def refuse(failures: Sequence[str]) -> None:
    """Raise `ExportError` with all of them, if there are any."""
    if failures:
        heading = f"the export failed {len(failures)} check(s); nothing was written"
        raise ExportError("\n- ".join([heading, *failures]))


def structure(file: Path, operators: Collection[str]) -> list[str]:
    """What is wrong with a file before it is run: checker, opset, IR version, operators outside `operators`."""
    failures = []
    try:
        onnx.checker.check_model(file, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        failures.append(f"onnx.checker refuses it: {one_line(error)}")
    model = onnx.load(file)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": OPSET} or model.ir_version != IR_VERSION:
        failures.append(
            f"it needs opsets {opsets} and IR {model.ir_version}, expected ai.onnx {OPSET} and IR {IR_VERSION}"
        )
    unknown = sorted({node.op_type for node in model.graph.node} - set(operators))
    if unknown:
        failures.append(f"it uses the operators {', '.join(unknown)}, allowed are {', '.join(sorted(operators))}")
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
        return f"differs by up to {largest:.3g}, allowed {float(allowed.min()):.3g},", largest
    return None, largest
