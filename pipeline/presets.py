"""Named sets of parameters, each a file of sections like params.yaml, as overrides for `dvc exp run`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import ParamsError

if TYPE_CHECKING:
    from pathlib import Path


def list_presets(folder: Path) -> list[tuple[str, str]]:
    """Name and first line of each preset in `folder`, by name.

    Raises:
        ParamsError: there is none.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ParamsError(f"{folder} holds no preset; run in the folder of params.yaml, or name theirs with --folder")
    return [(file.stem, file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")) for file in files]


def read_preset(folder: Path, name: str) -> list[str]:
    """The overrides `section.key=value` of a preset, in the order of its file and without blanks.

    Raises:
        ParamsError: there is no such preset, or it is not sections of values.
    """
    names = [found for found, _ in list_presets(folder)]
    if name not in names:
        raise ParamsError(f"there is no preset {name!r} in {folder}; choose one of {', '.join(names)}")
    file = folder / f"{name}.yaml"
    try:
        sections = YAML(typ="safe").load(file)
        pairs = [(f"{section}.{key}", value) for section, keys in sections.items() for key, value in keys.items()]
    except (YAMLError, AttributeError) as error:
        raise ParamsError(f"{file} does not hold sections of parameters: {' '.join(str(error).split())}") from error
    return [f"{key}={json.dumps(value, separators=(',', ':')).strip(chr(34))}" for key, value in pairs]
