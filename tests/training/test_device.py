import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINS = """
import sys
from pathlib import Path
from tests.training.test_device import report_heaps
from tests.training.runs import run
import pipeline.training.train
report_heaps()
run(Path(sys.argv[1]), Path(sys.argv[2]))
report_heaps()
"""


def report_heaps() -> None:
    library = ctypes.CDLL(None)
    library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
    library.fflush(None)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc counts its heaps")
def test_threads_that_train_open_no_heap_of_their_own(prepared_sample: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAINS, prepared_sample, tmp_path]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    before, after = output.split("</malloc>")[:2]
    assert after.count("<heap nr=") == before.count("<heap nr=")
