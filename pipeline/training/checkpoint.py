"""What a killed run goes on from: the state after its last whole epoch, in a hidden folder beside the output."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from pipeline.shared.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_FILE = "checkpoint.npz"

Arrays = list["NDArray[Any]"]


@dataclass
class Progress:
    """How far a run has come."""

    history: list[dict[str, float]] = field(default_factory=list)
    """The figures of each epoch so far."""
    best: Arrays = field(default_factory=list)
    """The weights after the epoch with the lowest validation loss."""

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss, counted from 1."""
        losses = [figures["val_loss"] for figures in self.history]
        return losses.index(min(losses)) + 1


class Checkpoint:
    """The state of one run, told from others by a fingerprint of all that decides on its result.

    Args:
        output: the folder that the run will write; the checkpoint lies in `.NAME.partial` beside it.
        decides: all that the result depends on, as JSON.
    """

    def __init__(self, output: Path, decides: Mapping[str, Any]) -> None:
        output = output.resolve()
        self.folder = output.with_name(f".{output.name}.partial")
        self._fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def save(self, state: Sequence[keras.Variable], progress: Progress) -> None:
        """Replace the checkpoint; `state` is every variable that training changes."""
        about = json.dumps({"fingerprint": self._fingerprint, "history": progress.history})
        arrays = {f"state_{i}": np.asarray(variable) for i, variable in enumerate(state)}
        arrays |= {f"best_{i}": array for i, array in enumerate(progress.best)}
        with atomic_file(self.folder / _FILE) as beside, beside.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(about), **arrays)

    def restore(self, state: Sequence[keras.Variable]) -> Progress:
        """Put the last state of the same run into the variables; an empty progress if there is none."""
        try:
            with np.load(self.folder / _FILE, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays["about"]))
        except FileNotFoundError:
            return Progress()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            log.warning("%s is damaged; training begins anew", self.folder / _FILE)
            return Progress()
        if about["fingerprint"] != self._fingerprint:
            log.info("the checkpoint in %s is of another run; training begins anew", self.folder)
            return Progress()
        for i, variable in enumerate(state):
            variable.assign(arrays[f"state_{i}"])
        best = [arrays[f"best_{i}"] for i in range(sum(name.startswith("best_") for name in arrays))]
        return Progress(about["history"], best)

    def remove(self) -> None:
        """Leave nothing behind; the result is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)
