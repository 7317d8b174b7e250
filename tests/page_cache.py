"""What the kernel keeps of a file in memory."""

import os
import subprocess
from pathlib import Path

import pytest


def is_cached(path: Path) -> bool:
    """Whether the first byte of a file can be read without asking the disk; skips the test where none can tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("only Linux tells what it caches")
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("this file system is nothing but memory")
    handle = os.open(path, os.O_RDONLY)
    try:
        os.preadv(handle, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
