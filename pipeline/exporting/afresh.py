"""Conversions from Keras to ONNX, each in a process of its own: `convert` says why."""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.exporting.check import refuse


def convert_afresh(models: Path, files: Mapping[str, Path], roles: Iterable[str]) -> None:
    """Convert the Keras models of these `roles` in the folder `models` side by side, each to its place in `files`.

    Raises:
        ExportError: a conversion failed.
    """
    children = {
        role: subprocess.Popen(
            [sys.executable, "-m", "pipeline.exporting.convert", str(models), role, str(files[role])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for role in roles
    }
    outputs = {role: child.communicate()[0] for role, child in children.items()}
    refuse([f"{role}: {_last_line(outputs[role])}" for role, child in children.items() if child.returncode])


def _last_line(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.strip()), "no message")
