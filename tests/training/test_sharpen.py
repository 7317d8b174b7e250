"""Whole runs on few images, in processes of their own: `repeat_exactly` says why."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.params import Sharpen
from pipeline.shared.files import sha256
from pipeline.training.sharpen import Batches, badness
from tests.test_house import ROOT
from tests.training.runs import DEFAULTS

PARAMS = DEFAULTS.sharpen.model_copy(update={"epochs": 3, "average": 0.5, "warmup_steps": 2})
DISTANCES = [5.0, 3.0, 4.0]  # that the epochs of a run are told they have

ELSEWHERE = """
import json, sys
from pathlib import Path
import keras
import numpy as np
from pipeline.errors import TrainingError
from pipeline.params import Sharpen
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.sharpen import fit_generator
from pipeline.training.weights import load_half

distances = json.loads(sys.argv[2])
images = np.load(Path(sys.argv[1]) / "train_images.npy")[:300]
keras.utils.set_random_seed(7)
halves = build_encoder(2, [16]), build_decoder(2, [16])
before = [weight for half in halves for weight in half.get_weights()]
z = np.random.default_rng(0).standard_normal((5, 2), np.float32)

class Killed(BaseException):
    pass

def run(folder, params, kill):
    epochs, drawn = [], []
    def score(decode):
        drawn.append(decode(z))
        if kill and len(drawn) == kill:
            raise Killed
        return {"frechet_distance": distances[len(distances) - left.pop(0)], "edge_ratio": 1.0}
    left = list(range(len(distances), 0, -1)) if kill or not (folder / ".generator.partial").exists() else [2, 1]
    figures = fit_generator(params, halves, images, z, score, folder / "generator", folder / "report", {"from": "here"},
                            verbose=0)
    decoder = load_half(folder / "generator", "decoder")
    kept = np.rint(255 * np.asarray(decoder.predict_on_batch(z)["image"])).astype(np.uint8)
    same = [bool(np.array_equal(kept, one)) for one in drawn]
    return {"figures": figures, "chosen": same}

for argument in sys.argv[3:]:
    folder, kill, text = argument.split(" ", 2)
    try:
        print(json.dumps(run(Path(folder), Sharpen.model_validate_json(text), int(kill))))
    except Killed:
        print(json.dumps({"killed": True}))
    except TrainingError as error:
        print(json.dumps({"error": str(error)}))
after = [weight for half in halves for weight in half.get_weights()]
assert all(map(np.array_equal, before, after)), "the halves that were given changed"
"""


def run(prepared: Path, *runs: tuple[Path, Sharpen, int], **environment: str) -> list[dict[str, Any]]:
    """Each into its folder, killed as the epoch with the number is scored, if it has one."""
    arguments = [f"{folder} {kill} {params.model_dump_json()}" for folder, params, kill in runs]
    command = [sys.executable, "-c", ELSEWHERE, str(prepared), json.dumps(DISTANCES), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in (folder / "generator").iterdir()}


def test_runs_repeat_resume_and_keep_the_best_epoch(prepared_sample: Path, tmp_path: Path) -> None:
    whole, killed, other = (tmp_path / name for name in ("whole", "killed", "other"))
    seed = PARAMS.model_copy(update={"seed": 1})
    first, stopped, resumed, another = run(
        prepared_sample, (whole, PARAMS, 0), (killed, PARAMS, 2), (killed, PARAMS, 0), (other, seed, 0)
    )
    assert first["figures"]["epoch"] == 2
    assert first["figures"]["val_frechet_distance"] == first["figures"]["val_loss"] == 3.0
    assert first["chosen"] == [False, True, False]
    assert stopped == {"killed": True}
    assert resumed["figures"] == first["figures"]
    assert resumed["chosen"] == [True, False]  # the second and third epoch
    assert hashes(killed) == hashes(whole)
    assert set(hashes(whole)) == {"decoder.json", "decoder.weights.h5", "training.json"}
    assert hashes(other)["decoder.weights.h5"] != hashes(whole)["decoder.weights.h5"]
    assert another["figures"]["cross_entropy"] != first["figures"]["cross_entropy"]
    assert json.loads((whole / "generator/training.json").read_text()) == {
        "sharpen": PARAMS.model_dump(mode="json"), "inputs": {"from": "here"}, "epoch": 2
    }  # fmt: skip
    assert {path.name for path in tmp_path.glob("*/*")} == {"generator", "report"}
    curve = (killed / "report/plots/metrics/eval/frechet_distance.tsv").read_text().splitlines()
    assert [float(line.split("\t")[1]) for line in curve[1:]] == DISTANCES


def test_the_paper_s_own_way_trains_both_halves_from_nothing(prepared_sample: Path, tmp_path: Path) -> None:
    papers = PARAMS.model_copy(update={"start": "nothing", "encoder": "trained"})
    (found,) = run(prepared_sample, (tmp_path, papers, 0))
    assert found["figures"]["kl"] > 0
    names = {"decoder.json", "decoder.weights.h5", "encoder.json", "encoder.weights.h5", "training.json"}
    assert set(hashes(tmp_path)) == names


def test_jax_trains_too(prepared_sample: Path, tmp_path: Path) -> None:
    (found,) = run(prepared_sample, (tmp_path, PARAMS, 0), KERAS_BACKEND="jax")
    assert found["chosen"] == [False, True, False]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"frechet_distance": 2.0, "edge_ratio": 0.95}, 2.0),
        ({"frechet_distance": 2.0, "edge_ratio": 0.85}, 2.5),
        ({"frechet_distance": 2.0, "edge_ratio": 1.15}, 3.0),
        ({"edge_ratio": 0.7}, 2.0),  # without a judge
    ],
)
def test_an_epoch_is_chosen_by_distance_and_edges(figures: dict[str, float], expected: float) -> None:
    assert badness(figures) == pytest.approx(expected)


def test_batches_go_through_images_in_an_order_of_the_epoch_and_through_latents_in_theirs() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    latents = np.arange(7, dtype=np.float32)[:, None]
    params = PARAMS.model_copy(update={"batch_size": 4})
    orders, drawn = [], []
    batches = Batches(params, images, latents, 1)
    for epoch in (0, 1):
        batches.begin(epoch)
        pairs = [batches[step][0] for step in range(len(batches))]
        orders.append([int(image[0, 0]) for some, _ in pairs for image in some])
        drawn += [int(z) for _, some in pairs for z in some[:, 0]]
    assert all(len(set(order)) == 8 for order in orders)
    assert orders[0] != orders[1]
    assert drawn == [0, 1, 2, 3, 4, 5, 6, 0]
    prior = Batches(params, images, None, 3)
    np.testing.assert_array_equal(prior[1][0][1], Batches(params, images, None, 3)[1][0][1])
    assert not np.array_equal(prior[0][0][1], prior[1][0][1])
