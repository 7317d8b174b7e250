import ctypes
import os
import subprocess
import sys

import pytest

NEW_HEAPS = """
import ctypes, sys, threading
from pipeline.training.device import share_heap

def report():
    library = ctypes.CDLL(None)
    library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
    library.fflush(None)

if sys.argv[1] == "shared":
    share_heap()
together = threading.Barrier(4)
threads = [threading.Thread(target=lambda: (together.wait(), bytearray(100_000))) for _ in range(4)]
report()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
report()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc counts its heaps")
def test_threads_allocate_from_one_heap_once_told_to() -> None:
    def new_heaps(how: str) -> int:
        command = [sys.executable, "-c", NEW_HEAPS, how]
        environment = {**os.environ, "KERAS_BACKEND": "jax"}  # is there sooner than TensorFlow
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        before, after = output.split("</malloc>")[:2]
        return after.count("<heap nr=") - before.count("<heap nr=")

    assert new_heaps("shared") == 0 < new_heaps("apart")
