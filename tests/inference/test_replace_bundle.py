"""A bundle is replaced in steps; after a kill at any of them, what is left is one whole bundle, or says it is none."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import BundleError, OutputError
from pipeline.inference.bundle import open_bundle, replace_bundle
from tests import onnx_models
from tests.conftest import bytes_of

# Python reports each removal and each renaming before it is done: an audit hook kills the process there.
KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.inference.bundle import replace_bundle

folder, last = sys.argv[2], int(sys.argv[3])
steps = []

def kill(event, arguments):
    if event in ("os.remove", "os.rename") and str(arguments[0]).startswith(folder):
        steps.append(event)
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
replace_bundle(Path(sys.argv[1]), Path(folder))
"""
STEPS = 6  # the manifest goes; each of two folders gives way and is replaced; the manifest comes


@pytest.fixture
def folder(tmp_path: Path, good: Path) -> Path:
    """A bundle with another model's bundle in it, finished but not in place."""
    folder = shutil.copytree(good, tmp_path / "exports")
    onnx_models.save_bundle(folder / ".made", latent_dim=3)
    return folder


def whole(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in bytes_of(folder).items() if not name.startswith(".")}


def killed_before(step: int, folder: Path) -> int:
    command = [sys.executable, "-c", KILLED, str(folder / ".made"), str(folder), str(step)]
    return subprocess.run(command, check=False).returncode


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_kill_at_any_step_leaves_no_manifest_beside_models_of_two_bundles(
    step: int, folder: Path, good: Path
) -> None:
    assert killed_before(step, folder) == -signal.SIGKILL
    if step == 1:
        assert whole(folder) == bytes_of(good)
    else:
        with pytest.raises(
            BundleError, match=r"manifest\.json was not found; expected a folder that `vae export` wrote"
        ):
            open_bundle(folder)
    expected = bytes_of(onnx_models.save_bundle(folder.parent / "next", latent_dim=4))
    replace_bundle(folder.parent / "next", folder)
    assert whole(folder) == expected | {"README.md": (folder / "README.md").read_bytes()}


def test_without_a_kill_the_new_bundle_is_whole(folder: Path) -> None:
    expected = {name: content for name, content in bytes_of(folder / ".made").items() if name != "README.md"}
    assert killed_before(STEPS + 1, folder) == 0
    assert {name: content for name, content in whole(folder).items() if name != "README.md"} == expected
    assert open_bundle(folder).latent_dim == 3


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_folder_with_foreign_files_is_refused_before_anything_is_replaced(
    part: str, folder: Path, good: Path
) -> None:
    (folder / part / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"already holds 'mine\.txt'"):
        replace_bundle(folder / ".made", folder)
    assert whole(folder) == bytes_of(good) | {f"{part}/mine.txt": b""}
