"""Which code and which libraries compute a run, read from the imports so that no list can go out of date."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1]
_TRAINER = "pipeline.training.train"
_BACKENDS = {"tensorflow": ("tensorflow",), "jax": ("jax", "jaxlib")}


def sources(trainer: str = _TRAINER) -> dict[str, str]:
    """The source of a trainer and of every module of this package that it imports, directly or not, by file name.

    Imports for type checking alone do not count, nor does `pipeline/__init__.py`: they compute nothing.
    """
    found: dict[str, str] = {}
    waiting = [trainer]
    while waiting:
        path = PACKAGE.joinpath(*waiting.pop().split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = file.relative_to(PACKAGE).as_posix()
        if name not in found and file.exists():  # a name that is imported from a module is no file
            found[name] = file.read_text(encoding="utf-8")
            waiting += _imported(ast.parse(found[name]))
    return found


def versions() -> dict[str, str]:
    """The versions of Keras, of NumPy and of the backend that Keras runs on, by module name."""
    modules = ("keras", "numpy", *_BACKENDS[keras.backend.backend()])
    return {name: importlib.import_module(name).__version__ for name in modules}


def _imported(tree: ast.AST) -> Iterator[str]:
    """The modules of this package that are imported below `tree`, with the packages that they lie in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            names = []
            yield from _imported(node)
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                yield from (".".join(parts[:end]) for end in range(2, len(parts) + 1))
