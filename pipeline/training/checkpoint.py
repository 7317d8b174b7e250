"""The state of a run after its last whole epoch, from which a killed run resumes, in a hidden folder by the output."""

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
class History:
    """The epochs of a run so far, and the weights of the best of them."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    """The figures of each epoch, in nats per image: `loss`, `reconstruction`, `kl`, each also as `val_...`."""
    best: Arrays = field(default_factory=list)
    """The weights after the epoch with the lowest validation loss."""

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss, counted from 1."""
        losses = [figures["val_loss"] for figures in self.epochs]
        return losses.index(min(losses)) + 1


class Checkpoint:
    """The state of one run, with a fingerprint of everything that its result depends on.

    Args:
        output: the folder that the run will write; the checkpoint is in `.NAME.partial` beside it.
        decides: everything that the result depends on; it must be serialisable as JSON.
    """

    def __init__(self, output: Path, decides: Mapping[str, Any]) -> None:
        output = output.resolve()
        self.folder = output.with_name(f".{output.name}.partial")
        self._fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def save(self, state: Sequence[keras.Variable], history: History) -> None:
        """Replace the checkpoint; `state` is every variable that training changes."""
        about = json.dumps({"fingerprint": self._fingerprint, "history": history.epochs})
        arrays = {f"state_{i}": np.asarray(variable) for i, variable in enumerate(state)}
        arrays |= {f"best_{i}": array for i, array in enumerate(history.best)}
        with atomic_file(self.folder / _FILE) as beside, beside.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(about), **arrays)

    def restore(self, state: Sequence[keras.Variable]) -> History:
        """Assign the last state of the same run to the variables; return an empty history if there is none."""
        try:
            with np.load(self.folder / _FILE, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays["about"]))
        except FileNotFoundError:
            return History()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            log.warning("%s is damaged; training starts over", self.folder / _FILE)
            return History()
        if about["fingerprint"] != self._fingerprint:
            log.info(
                "the checkpoint in %s is of other parameters, data, code or versions; training starts over", self.folder
            )
            return History()
        for i, variable in enumerate(state):
            variable.assign(arrays[f"state_{i}"])
        best = [arrays[f"best_{i}"] for i in range(sum(name.startswith("best_") for name in arrays))]
        return History(about["history"], best)

    def remove(self) -> None:
        """Delete the checkpoint, once the result is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)
