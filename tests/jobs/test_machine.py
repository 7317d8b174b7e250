import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.jobs.machine import matrix_rate, peak_memory, product_model
from pipeline.shared.interface import IR_VERSION, OPSET

MIB = 1 << 20


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(0, 5), inner=st.integers(1, 300), columns=st.integers(1, 300))
@example(rows=256, inner=784, columns=512)
def test_product_model_multiplies_as_numpy_does(rows: int, inner: int, columns: int) -> None:
    """Small whole numbers, whose sums float32 holds exactly in any order."""
    generator = np.random.default_rng(inner)
    left = generator.integers(-8, 9, (rows, inner)).astype(np.float32)
    weight = generator.integers(-8, 9, (inner, columns)).astype(np.float32)
    session = ort.InferenceSession(product_model(weight), providers=["CPUExecutionProvider"])
    (product,) = session.run(["c"], {"a": left})
    assert product.tolist() == (left.astype(int) @ weight.astype(int)).tolist()


def test_product_model_is_valid_onnx_with_the_pipelines_opset() -> None:
    model = onnx.load_model_from_string(product_model(np.ones((784, 512), np.float32)))
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"a": ["rows", 784], "c": ["rows", 512]}


def test_matrix_rate_is_that_of_numpy_but_for_a_factor() -> None:
    """Of the cores that NumPy takes, here below 100: forgetting one dimension of the product would show."""
    left, right = np.ones((256, 784), np.float32), np.ones((784, 512), np.float32)
    left @ right
    start = time.perf_counter()
    for _ in range(20):
        left @ right
    by_numpy = 20 * 2 * 256 * 784 * 512 / (time.perf_counter() - start)
    assert 1 / 100 < matrix_rate(1, 0.1) / by_numpy < 100


def test_peak_memory_is_of_this_process_and_stays_when_memory_is_freed() -> None:
    script = (
        "from pipeline.jobs.machine import peak_memory\n"
        "before = peak_memory()\n"
        f"size = before + {32 * MIB}\n"
        "content = bytearray(b'x') * size\n"
        "grown = peak_memory()\n"
        "del content\n"
        "print(size, grown, peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    size, grown, after = map(int, done.stdout.split())
    assert size < grown < 2 * size + 64 * MIB
    assert after == pytest.approx(grown, rel=0.01)  # the kernel counts pages in batches
    # A child does not inherit the peak of the process that starts it.
    child = [sys.executable, "-c", "from pipeline.jobs.machine import peak_memory; print(peak_memory())"]
    parent = f"import subprocess; content = bytearray(b'x') * {256 * MIB}; subprocess.run({child!r}, check=True)"
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 * MIB


def test_peak_memory_is_in_bytes() -> None:
    assert 20 * MIB < peak_memory() < 1 << 40
