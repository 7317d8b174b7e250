"""The parts of the page that need no browser, in Node's own test runner: `tests/exploring/site/*.test.mjs`."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.exploring.node import find_node, node_modules
from tests.exploring.conftest import need_node

TESTS = sorted(Path(__file__).parent.glob("site/*.test.mjs"))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests with the TypeScript that they import, as the page has it: bundled by the same esbuild."""
    need_node()
    modules, folder = node_modules(), tmp_path_factory.mktemp("bundled")
    options = ["--bundle", "--platform=node", "--format=esm", "--out-extension:.js=.mjs", f"--outdir={folder}"]
    command = [find_node()[0], modules / "esbuild/bin/esbuild", *TESTS, *options, "--log-level=warning"]
    subprocess.run(command, env={**os.environ, "NODE_PATH": str(modules)}, check=True)
    return folder


@pytest.mark.parametrize("name", [test.name for test in TESTS])
def test_the_page_without_a_browser(bundled: Path, name: str) -> None:
    command = [find_node()[0], "--test", "--test-reporter=spec", bundled / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
