"""A run that is killed at any moment goes on where it was, and ends with the same bytes as one that is not."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from pipeline.params import Train
from pipeline.training import fingerprint
from pipeline.training.lookup import ImageLookup
from tests.test_house import ROOT
from tests.training.conftest import Trained
from tests.training.runs import KNOBS, command_elsewhere, hashes, run


class Killed(BaseException):
    """Stands for SIGKILL at one moment of the run."""


def kill_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    shuffle = ImageLookup.shuffle

    def fail(self: ImageLookup, number: int) -> None:
        if number == epoch:
            raise Killed
        shuffle(self, number)

    monkeypatch.setattr(ImageLookup, "shuffle", fail)


@pytest.fixture(scope="module")
def killed(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_in(patch, 1)
        run(prepared_sample, folder)
    return folder


@pytest.mark.parametrize("changed", ["nothing", "data/binarise.py", "shared/interface.py", "keras", "numpy", "backend"])
def test_a_checkpoint_of_other_code_or_versions_is_not_used(
    changed: str, killed: Path, prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, package = shutil.copytree(killed, tmp_path / "killed"), tmp_path / "pipeline"
    shutil.copytree(ROOT / "pipeline", package, ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    if (package / changed).exists():
        with (package / changed).open("a") as source:
            source.write("# changed\n")
    elif changed != "nothing":
        library = keras.backend.backend() if changed == "backend" else changed
        monkeypatch.setattr(sys.modules[library], "__version__", "0.1")
    begun: list[int] = []

    def begin(_: ImageLookup, epoch: int) -> None:
        begun.append(epoch)
        raise Killed

    monkeypatch.setattr(ImageLookup, "shuffle", begin)
    with pytest.raises(Killed):
        run(prepared_sample, folder)
    assert begun == [1 if changed == "nothing" else 0]


def test_the_log_of_a_running_training_holds_every_epoch_so_far(killed: Path) -> None:
    for split in ("train", "eval"):
        for name in ("loss", "reconstruction", "kl"):
            lines = (killed / "report/plots/metrics" / split / f"{name}.tsv").read_text().splitlines()
            assert len(lines) == 1 + 1  # the names, and epoch 1
    metrics = json.loads((killed / "report/metrics.json").read_text())
    assert metrics["step"] == 1
    assert "chosen" not in metrics


def test_a_process_killed_at_a_random_moment_ends_with_the_same_bytes(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    command = command_elsewhere(prepared_sample, KNOBS, tmp_path)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / ".models.partial/checkpoint.npz"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))  # some epoch, some step
    process.kill()
    process.wait()
    assert not (tmp_path / "models").exists()
    whole = trained(KNOBS)
    assert run(prepared_sample, tmp_path, KNOBS) == whole.figures
    assert hashes(tmp_path) == hashes(whole.folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
