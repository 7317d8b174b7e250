"""Lint and type-check the browser code, as `make check` does; `--install` fetches what that takes and no more."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.exploring.node import SITE, find_node, node_modules

TESTS = Path(__file__).parent / "site"


def main() -> int:
    try:
        node, modules = find_node()[0], node_modules(development=True)
    except PipelineError as error:
        print(f"the browser code was not checked: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0  # here somebody reads it, there nobody does
    if sys.argv[1:] == ["--install"]:
        return 0
    biome = subprocess.run(
        [node, modules / "@biomejs/biome/bin/biome", "check", "--error-on-warnings", ".", TESTS], cwd=SITE, check=False
    )
    with tempfile.TemporaryDirectory() as name:  # packages are looked for beside the code, where there are none
        copy = Path(name) / "site"
        shutil.copytree(SITE, copy)
        (copy / "node_modules").symlink_to(modules)
        tsc = subprocess.run([node, modules / "typescript/bin/tsc", "-p", copy], cwd=copy, check=False)
    return biome.returncode or tsc.returncode


if __name__ == "__main__":
    sys.exit(main())
