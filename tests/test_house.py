"""The rules of the house: what dvc.yaml declares is what the code does."""

import ast
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from pipeline.params import Params

ROOT = Path(__file__).parent.parent
DVC = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES = DVC["stages"]
GRAPH = grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)


def imports_of_command(name: str) -> set[str]:
    """The modules that the function `name` of cli.py imports, and all that they import in turn."""
    tree = ast.parse((ROOT / "pipeline/cli.py").read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    direct = {node.module for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
    return direct | {module for first in direct for module in GRAPH.find_upstream_modules(first)}


def file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def covered(file: str, deps: list[str]) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_modules_that_a_stage_imports(stage: str) -> None:
    missing = {
        file for file in map(file_of, imports_of_command(stage)) if not covered(file, STAGES[stage].get("deps", []))
    }
    assert not missing, f"add to the deps of {stage} in dvc.yaml: {sorted(missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_code_that_it_does_not_run(stage: str) -> None:
    modules = {file_of(module) for module in imports_of_command(stage)}
    idle = [
        dep
        for dep in STAGES[stage].get("deps", [])
        if dep.startswith("pipeline/")
        and (dep.endswith(".py") or (ROOT / dep / "__init__.py").exists())
        and not any(covered(file, [dep]) for file in modules)
    ]
    assert not idle


def test_one_section_of_parameters_per_stage() -> None:
    sections = {stage: about.get("params", []) for stage, about in STAGES.items()}
    assert {section for stage in sections.values() for section in stage} == set(Params.model_fields)
    assert [stage for stage in STAGES if stage not in sections[stage]] == [
        "report",
        "explore",
    ]  # they draw, and decide nothing


def test_every_command_of_a_stage_is_its_verb() -> None:
    for stage, about in STAGES.items():
        commands = about["cmd"] if isinstance(about["cmd"], list) else [about["cmd"]]
        assert all(command.split()[:2] == ["vae", stage] for command in commands)


PRESETS = {path.stem: YAML(typ="safe").load(path) for path in (ROOT / "preset").glob("*.yaml")}


def test_every_preset_sets_the_same_knobs_so_that_none_is_left_over_from_another() -> None:
    knobs = {
        name: {(section, key) for section, keys in preset.items() for key in keys} for name, preset in PRESETS.items()
    }
    assert len(knobs) == 4
    assert all(found == knobs["classic"] for found in knobs.values())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_parameters(name: str) -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for section, values in PRESETS[name].items():
        params[section] |= values
    Params.model_validate(params)


def test_params_yaml_holds_the_preset_classic() -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for section, values in PRESETS["classic"].items():
        assert {key: params[section][key] for key in values} == values
