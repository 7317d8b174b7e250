"""Run a bundle's models on its test vectors and print, as JSON, how far the outputs are from the recorded ones.

    python run_vectors.py onnxruntime|openvino BUNDLE encoder/model.onnx ...

Needs numpy and the named runtime, nothing else: it runs in environments that have no more. `run_vectors.mjs` is the
same in JavaScript.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[Any]]
    Run = Callable[[Path, Inputs], list[NDArray[Any]]]

ELEMENT_TYPES = {1: np.float32, 2: np.uint8}  # of onnx.TensorProto
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9  # numbers of its fields
ABSOLUTE = RELATIVE = 1e-4


def read_tensor(path: Path) -> tuple[str, NDArray[Any]]:
    """Name and values of the tensor in a serialized `onnx.TensorProto` that keeps its elements as raw data."""
    dims: list[int] = []
    data_type, name, raw = 0, b"", b""
    for field, value in _fields(path.read_bytes()):
        if field == DIMS:
            dims += [value] if isinstance(value, int) else [dim for _, dim in _varints(value)]
        elif field == DATA_TYPE:
            data_type = value
        elif field == NAME:
            name = value
        elif field == RAW_DATA:
            raw = value
    return name.decode(), np.frombuffer(raw, ELEMENT_TYPES[data_type]).reshape(dims)


def check(bundle: Path, files: list[str], run: Run) -> dict[str, Any]:
    """Per file the differences of its outputs in order, or the error that the runtime raised."""
    results: dict[str, Any] = {}
    for file in files:
        vectors = (bundle / file).parent / "test_data_set_0"
        try:
            outputs = run(bundle / file, dict(map(read_tensor, vectors.glob("input_*.pb"))))
            results[file] = [differences(o, read_tensor(vectors / f"output_{i}.pb")[1]) for i, o in enumerate(outputs)]
        except Exception as error:  # each runtime has its own
            results[file] = {"error": f"{type(error).__name__}: {error}"}
    return results


def differences(found: NDArray[Any], expected: NDArray[Any]) -> dict[str, Any]:
    """Shape and absolute differences; `beyond` is the largest as a multiple of what is allowed to float32."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return {"error": f"{found.dtype}{found.shape} instead of {expected.dtype}{expected.shape}"}
    difference = np.abs(found.astype(np.float64) - expected)
    beyond = difference / (ABSOLUTE + RELATIVE * np.abs(expected))
    return {
        "shape": list(found.shape),
        "largest": float(difference.max()),
        "mean": float(difference.mean()),
        "beyond": float(beyond.max()),
    }


def on_onnxruntime(model: Path, inputs: Inputs) -> list[NDArray[Any]]:
    session = importlib.import_module("onnxruntime").InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def on_openvino(model: Path, inputs: Inputs) -> list[NDArray[Any]]:
    # Its default on some CPUs is to compute in bfloat16.
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = importlib.import_module("openvino").Core().compile_model(str(model), "CPU", config)
    results = compiled(inputs)
    return [results[output] for output in compiled.outputs]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message."""
    position = 0
    while position < len(data):
        position, tag = _varint(data, position)
        position, value = _varint(data, position)  # the number itself, or the length of what follows
        if tag & 7 == 2:
            start, position = position, position + value
            value = data[start:position]
        elif tag & 7:
            raise ValueError(f"field {tag >> 3} has wire type {tag & 7}, which no TensorProto with raw data has")
        yield tag >> 3, value


def _varints(data: bytes) -> Iterator[tuple[int, int]]:
    position = 0
    while position < len(data):
        position, value = _varint(data, position)
        yield position, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return position, value


if __name__ == "__main__":
    runtime, bundle, *files = sys.argv[1:]
    run = {"onnxruntime": on_onnxruntime, "openvino": on_openvino}[runtime]
    version = importlib.import_module(runtime).__version__
    print(json.dumps({"version": version, "results": check(Path(bundle), files, run)}))
