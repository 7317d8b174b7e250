"""The rules of the house: what dvc.yaml declares is what the code does."""

import ast
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from pipeline.params import Params

ROOT = Path(__file__).parent.parent
DVC = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES = {name: about.get("do", about) for name, about in DVC["stages"].items()}
RUNS = {
    f"{name}@{key}" if "foreach" in about else name
    for name, about in DVC["stages"].items()
    for key in about.get("foreach", [name])
}
IDLE = {"pipeline/errors.py"}  # decides on no byte of a result
GRAPH = grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)


def imports_of_command(name: str) -> set[str]:
    """The modules that the command `name` imports in its function, and all that they import in turn."""
    trees = [ast.parse(file.read_text()) for file in (ROOT / "pipeline/commands").glob("*.py")]
    bodies = [node for tree in trees for node in tree.body]
    (function,) = (node for node in bodies if isinstance(node, ast.FunctionDef) and node.name == name)
    direct = {node.module for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
    return direct | {module for first in direct for module in GRAPH.find_upstream_modules(first)}


def file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def covered(file: str, deps: list[str]) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


def code_of(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.startswith("pipeline/")]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_modules_that_a_stage_imports(stage: str) -> None:
    modules = set(map(file_of, imports_of_command(stage))) - IDLE
    missing = {file for file in modules if not covered(file, code_of(stage))}
    assert not missing, f"add to the deps of {stage} in dvc.yaml: {sorted(missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_code_that_it_does_not_run(stage: str) -> None:
    modules = set(map(file_of, imports_of_command(stage)))
    idle = [dep for dep in code_of(stage) if not any(covered(file, [dep]) for file in modules)]
    assert not idle
    assert len(code_of(stage)) <= 8


@pytest.mark.parametrize(
    ("changed", "spared"),
    [
        ("pipeline/tools/verify.py", set(STAGES)),
        ("pipeline/tools/bench.py", set(STAGES)),
        ("pipeline/errors.py", set(STAGES)),
        ("pipeline/exploring/site/src/pad.ts", set(STAGES) - {"explore"}),
        ("pipeline/reporting/plots.py", set(STAGES) - {"report"}),
        ("pipeline/jobs/engine.py", {"download", "prepare", "judge", "train", "export"}),
        ("pipeline/data/datasets.py", {"judge", "train", "export", "encode", "generate"}),
    ],
)
def test_a_change_of_code_reruns_no_stage_that_it_does_not_concern(changed: str, spared: set[str]) -> None:
    assert {stage for stage in STAGES if not covered(changed, code_of(stage))} >= spared


def test_the_errors_decide_on_no_byte_of_a_result_so_that_no_stage_depends_on_them() -> None:
    """Exceptions, each a name and a sentence and nothing else: what they say is said where they are raised."""
    docstring, *classes = ast.parse((ROOT / "pipeline/errors.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    for found in classes:
        assert isinstance(found, ast.ClassDef)
        assert [type(part) for part in found.body] == [ast.Expr]


def test_one_section_of_parameters_per_stage() -> None:
    sections = {stage: about.get("params", []) for stage, about in STAGES.items()}
    named = {section.partition(".")[0] for stage in sections.values() for section in stage}
    assert named == set(Params.model_fields)
    without = [stage for stage in STAGES if not any(name.split(".")[0] == stage for name in sections[stage])]
    assert without == ["report", "explore"]  # they draw, and decide nothing


def test_every_command_of_a_stage_is_its_verb() -> None:
    for stage, about in STAGES.items():
        commands = about["cmd"] if isinstance(about["cmd"], list) else [about["cmd"]]
        assert all(command.split()[:4] == ["python", "-m", "pipeline", stage] for command in commands)


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
