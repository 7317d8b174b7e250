"""A small model, and how the tests of this room train it: in this process or in one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.params import Model, Train, read_params
from pipeline.shared.files import sha256
from tests.test_house import ROOT

DEFAULTS = read_params(ROOT / "params.yaml")
MODEL = DEFAULTS.model.model_copy(update={"encoder_units": (64,), "decoder_units": (64,)})
TRAIN = DEFAULTS.train.model_copy(update={"epochs": 2, "steps_per_execution": 20})
# Every knob that takes part in the compiled step.
KNOBS = TRAIN.model_copy(update={"epochs": 6, "binarisation": "static", "schedule": "cosine", "kl_warmup_epochs": 3})

ELSEWHERE = """
import json, sys
from pathlib import Path
from pipeline.params import Train
from tests.training.runs import run
params = Train.model_validate_json(sys.argv[1])
print(json.dumps([run(Path(sys.argv[2]), Path(folder), params) for folder in sys.argv[3:]][-1]))
"""


def run(prepared: Path, folder: Path, params: Train = TRAIN, model: Model = MODEL) -> dict[str, float]:
    """Train into `folder`; returns the figures of the chosen epoch."""
    from pipeline.training.train import train  # noqa: PLC0415  (Keras takes seconds; who only starts another process has no need)

    return train(model, params, prepared, folder / "models", folder / "report", verbose=0)


def command_elsewhere(prepared: Path, params: Train, *folders: Path) -> list[str]:
    """The command that trains into one folder after the other in a process of its own."""
    return [sys.executable, "-c", ELSEWHERE, params.model_dump_json(), *map(str, (prepared, *folders))]


def run_elsewhere(prepared: Path, params: Train, *folders: Path, **environment: str) -> dict[str, float]:
    """Run that command; returns the figures of the last run."""
    command = command_elsewhere(prepared, params, *folders)
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def hashes(folder: Path) -> dict[str, str]:
    """Of the files that a run left."""
    return {file.name: sha256(file) for file in (folder / "models").iterdir()}
