import shutil
from pathlib import Path

import keras
import pytest

from pipeline.training import fingerprint
from pipeline.training.fingerprint import sources, versions
from tests.test_house import GRAPH, ROOT, file_of


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to change, in the place of the package."""
    copy = shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    return copy


def test_the_sources_are_those_that_training_imports() -> None:
    trainer = "pipeline.training.train"
    modules = {trainer, *GRAPH.find_upstream_modules(trainer)}
    packages = {"pipeline.data", "pipeline.shared", "pipeline.training"}
    assert {f"pipeline/{name}" for name in sources()} == {file_of(module) for module in modules | packages}


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("training/model.py", True),
        ("training/__init__.py", True),
        ("data/binarise.py", True),
        ("data/prepared.py", True),
        ("shared/interface.py", True),
        ("shared/files.py", True),
        ("params.py", False),  # its values count, which are hashed beside the code
        ("cli.py", False),
        ("data/mnist.py", False),
        ("exporting/convert.py", False),
    ],
)
def test_a_change_counts_in_the_code_that_computes_a_run_and_nowhere_else(
    file: str, counts: bool, package: Path
) -> None:
    before = sources()
    with (package / file).open("a") as source:
        source.write("# changed\n")
    assert (sources() != before) == counts


def test_the_versions_are_those_of_keras_its_backend_and_numpy() -> None:
    assert set(versions()) == {"keras", "numpy", keras.backend.backend()}
