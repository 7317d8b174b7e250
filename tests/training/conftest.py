"""Runs that several tests of this room look at, each made once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.params import Train
from tests.training.runs import run


@dataclass(frozen=True)
class Trained:
    """What a run left, and its figures."""

    folder: Path
    figures: dict[str, float]


@pytest.fixture(scope="session")
def trained(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Train], Trained]:
    """By parameters: the run with them."""
    made: dict[str, Trained] = {}

    def make(params: Train) -> Trained:
        key = params.model_dump_json()
        if key not in made:
            folder = tmp_path_factory.mktemp("trained")
            made[key] = Trained(folder, run(prepared_sample, folder, params))
        return made[key]

    return make
