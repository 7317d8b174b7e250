"""What the machine can do: the yardstick for the speed of the batch jobs, and the memory they took."""

import contextlib
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pipeline.inference.parallel import map_ordered
from pipeline.shared.interface import IR_VERSION, OPSET, PIXELS

_ROWS, _UNITS = 256, 512  # the first layer of the default encoder, by far the largest product
_OPERATIONS = 2 * _ROWS * PIXELS * _UNITS
_VARINT, _BYTES = 0, 2  # wire types of protobuf
_FLOAT32 = 1


def matrix_rate(workers: int, seconds: float) -> float:
    """Floating-point operations per second of float32 matrix products, `workers` threads, in ONNX Runtime.

    Products of 256 x 784 times 784 x 512 for about `seconds`; the median of five rounds.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    weight = np.random.default_rng(0).random((PIXELS, _UNITS), np.float32)
    session = ort.InferenceSession(product_model(weight), options, providers=["CPUExecutionProvider"])
    left = {"a": np.random.default_rng(1).random((_ROWS, PIXELS), np.float32)}

    def until(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            session.run(None, left)
            count += 1
        return count

    def side_by_side(length: float) -> float:
        end = time.perf_counter() + length
        return _OPERATIONS * sum(map_ordered(until, [end] * workers, workers))

    session.run(None, left)
    return _sustained(side_by_side, seconds)


def numpy_matrix_rate(seconds: float) -> float:
    """The same in NumPy, on as many threads as its BLAS takes."""
    left, right = (np.random.default_rng(0).random(shape, np.float32) for shape in ((2048, PIXELS), (PIXELS, _UNITS)))
    product = np.empty((len(left), _UNITS), np.float32)

    def repeat(length: float) -> float:
        operations, end = 0, time.perf_counter() + length
        while time.perf_counter() < end:
            np.matmul(left, right, out=product)
            operations += 2 * left.size * _UNITS
        return operations

    repeat(0.01)
    return _sustained(repeat, seconds)


def _sustained(work: Callable[[float], float], seconds: float) -> float:
    """The median rate of five rounds of `work`, which is told how long to last and returns its operations.

    Not the best: for moments, a machine may be faster than it can be for long.
    """

    def rate(length: float) -> float:
        start = time.perf_counter()
        return work(length) / (time.perf_counter() - start)

    return statistics.median(rate(seconds / 5) for _ in range(5))


def product_model(weight: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> bytes:
    """An ONNX file of one MatMul, `a` float32 `[rows, k]` times the constant `weight` `[k, n]`, as `c`.

    Written here field by field (numbers of onnx.proto), since the onnx package is not there where batch jobs run.
    """

    def field(number: int, value: int | str | bytes) -> bytes:
        if isinstance(value, int):
            return _varint(number << 3 | _VARINT) + _varint(value)
        content = value.encode() if isinstance(value, str) else value
        return _varint(number << 3 | _BYTES) + _varint(len(content)) + content

    def tensor_info(name: str, columns: int) -> bytes:
        shape = field(1, field(2, "rows")) + field(1, field(1, columns))
        return field(1, name) + field(2, field(1, field(1, _FLOAT32) + field(2, shape)))

    node = field(1, "a") + field(1, "b") + field(2, "c") + field(4, "MatMul")
    initializer = b"".join(field(1, size) for size in weight.shape)
    initializer += field(2, _FLOAT32) + field(8, "b") + field(9, weight.tobytes())
    graph = field(1, node) + field(2, "product") + field(5, initializer)
    graph += field(11, tensor_info("a", weight.shape[0])) + field(12, tensor_info("c", weight.shape[1]))
    return field(1, IR_VERSION) + field(7, graph) + field(8, field(1, "") + field(2, OPSET))


def _varint(value: int) -> bytes:
    def pieces(rest: int) -> Iterator[int]:
        while rest > 0x7F:
            yield rest & 0x7F | 0x80
            rest >>= 7
        yield rest

    return bytes(pieces(value))


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    # Linux hands the peak that `getrusage` tells down from a parent to the programs that it starts.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, in bytes
