"""A run that is killed at any moment goes on where it was, and ends with the same bytes as one that is not."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.params import Train
from pipeline.training.digits import Digits
from tests.test_house import ROOT
from tests.training.conftest import Trained
from tests.training.runs import KNOBS, TRAIN, command_elsewhere, hashes, run


class Killed(BaseException):
    """Stands for SIGKILL at one moment of the run."""


def kill_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    shuffle = Digits.shuffle

    def fail(self: Digits, number: int) -> None:
        if number == epoch:
            raise Killed
        shuffle(self, number)

    monkeypatch.setattr(Digits, "shuffle", fail)


def test_a_run_killed_in_two_of_its_epochs_ends_with_the_same_bytes(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, epoch)
            run(prepared_sample, tmp_path, KNOBS)
        assert not (tmp_path / "models").exists()
    whole = trained(KNOBS)
    assert run(prepared_sample, tmp_path, KNOBS) == whole.figures
    assert hashes(tmp_path) == hashes(whole.folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_process_killed_at_a_random_moment_ends_with_the_same_bytes(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    params = TRAIN.model_copy(update={"epochs": 12})
    command = command_elsewhere(prepared_sample, params, tmp_path)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / ".models.partial/checkpoint.npz"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))  # some epoch, some step
    process.kill()
    process.wait()
    assert not (tmp_path / "models").exists()
    run(prepared_sample, tmp_path, params)
    assert hashes(tmp_path) == hashes(trained(params).folder)
