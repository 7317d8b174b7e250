"""Runs that several tests of this room look at, each made once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.params import Train
from tests.conftest import shared_folder
from tests.training.runs import run


@dataclass(frozen=True)
class Trained:
    """What a run left, and its figures."""

    folder: Path
    figures: dict[str, float]


@pytest.fixture(scope="session")
def trained(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Train], Trained]:
    """By parameters: the run with them, made by the first worker that needs it."""

    def make(params: Train) -> Trained:
        folder = (
            shared_folder(tmp_path_factory)
            / f"trained-{hashlib.sha256(params.model_dump_json().encode()).hexdigest()[:12]}"
        )
        with FileLock(f"{folder}.lock"):
            if not (folder / "figures.json").exists():
                figures = run(prepared_sample, folder, params)
                (folder / "figures.json").write_text(json.dumps(figures))
        return Trained(folder, json.loads((folder / "figures.json").read_text()))

    return make
