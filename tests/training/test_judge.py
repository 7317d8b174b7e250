"""A judge learns, and its seed gives it again; in a process of its own: `repeat_exactly` says why."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.params import Judge
from pipeline.training.judge import build_judge
from tests.test_house import ROOT

PARAMS = Judge(epochs=2, batch_size=32, learning_rate=0.002, dropout=0.3, seed=0)

ELSEWHERE = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from pipeline.errors import TrainingError
from pipeline.params import Judge
from pipeline.training.judge import fit_judge
def read(split):
    return [np.load(Path(sys.argv[1]) / f"{split}_{kind}.npy") for kind in ("images", "labels")]
images, labels = read("validation")
few = [array[:800] for array in read("train")]
for text in sys.argv[2:]:
    try:
        model = fit_judge(Judge.model_construct(**json.loads(text)), *few, 10)
    except TrainingError as error:
        print(json.dumps({"error": str(error)}))
        continue
    told = model.predict_on_batch(images)
    digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.weights)).hexdigest()
    accuracy = float((told["probabilities"].argmax(axis=1) == labels).mean())
    print(json.dumps({"digest": digest, "accuracy": accuracy}))
"""


def fit(prepared: Path, *several: Judge) -> list[dict[str, Any]]:
    arguments = [sys.executable, "-c", ELSEWHERE, str(prepared), *(params.model_dump_json() for params in several)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_judge_recognises_digits_and_repeats_with_its_seed(prepared_sample: Path) -> None:
    other = PARAMS.model_copy(update={"seed": 1})
    diverges = PARAMS.model_copy(update={"learning_rate": 1e30})
    one, again, another, failed = fit(prepared_sample, PARAMS, PARAMS, other, diverges)
    assert one["accuracy"] > 0.7  # by chance: 0.1
    assert one == again
    assert another["digest"] != one["digest"]
    expected = "the loss of the judge is nan after epoch 1; lower judge.learning_rate (now 1e+30)"
    assert failed == {"error": expected}


@pytest.mark.parametrize("classes", [2, 47])
def test_features_are_the_same_for_any_number_of_classes(classes: int) -> None:
    judge = build_judge(classes, 0.3)
    assert judge.input.dtype == "uint8"
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    found = judge.predict_on_batch(images)
    assert found["features"].shape == (3, 64)
    np.testing.assert_allclose(np.asarray(found["probabilities"]).sum(axis=1), np.ones(3), rtol=1e-5)
    assert found["probabilities"].shape == (3, classes)


def test_the_size_is_the_one_of_its_layers() -> None:
    """5 x 5 x 1 x 32, 3 x 3 x 32 x 64 and 3 x 3 x 64 x 64 with biases; 7 x 7 x 64 to 64, and 64 to 10."""
    convolutions = (25 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64
    assert build_judge(10, 0.0).count_params() == convolutions + (49 * 64 + 1) * 64 + (64 + 1) * 10
