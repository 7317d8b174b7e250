from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.training.checkpoint import Checkpoint, History

DECIDES = {"train": {"seed": 0}}
HISTORY = [{"loss": 3.0, "val_loss": 2.5}, {"loss": 2.0, "val_loss": 2.25}, {"loss": 1.0, "val_loss": 2.25}]


def variables(value: float) -> list[keras.Variable]:
    return [keras.Variable(np.full((2, 3), value, np.float32)), keras.Variable(np.array([int(value)], np.uint32))]


def test_the_state_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "models", DECIDES)
    checkpoint.save(variables(7), History(HISTORY, [np.ones(4, np.float32)]))
    state = variables(0)
    history = Checkpoint(tmp_path / "models", DECIDES).restore(state)
    for found, expected in zip(state, variables(7), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert history.epochs == HISTORY
    np.testing.assert_array_equal(history.best, [np.ones(4)])


def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss() -> None:
    assert History(HISTORY).best_epoch == 2


def test_it_lies_hidden_beside_the_output_and_goes(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "models", DECIDES)
    checkpoint.save(variables(7), History(HISTORY))
    assert [path.name for path in tmp_path.iterdir()] == [".models.partial"]
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["missing", "of another run", "cut short", "no archive"])
def test_without_a_usable_checkpoint_training_starts_over(tmp_path: Path, harm: str) -> None:
    checkpoint = Checkpoint(tmp_path / "models", DECIDES)
    checkpoint.save(variables(7), History(HISTORY))
    file = checkpoint.folder / "checkpoint.npz"
    match harm:
        case "missing":
            file.unlink()
        case "of another run":
            checkpoint = Checkpoint(tmp_path / "models", {"train": {"seed": 1}})
        case "cut short":
            file.write_bytes(file.read_bytes()[:-100])
        case "no archive":
            file.write_bytes(b"nothing of use")
    state = variables(0)
    assert checkpoint.restore(state) == History()
    np.testing.assert_array_equal(state[0], np.zeros((2, 3)))
