"""What happens between the steps of training: the order of the images, the log, checkpoints, and when to stop."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from pipeline.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.params import Train
    from pipeline.training.checkpoint import Checkpoint, History
    from pipeline.training.epoch_log import EpochLog
    from pipeline.training.lookup import ImageLookup
    from pipeline.training.loop import Blocks

log = logging.getLogger(__name__)

_COLLAPSED = 0.1  # nats of KL that carry nothing of an image: which of ten classes it is takes log 10 = 2.3
_COLLAPSED_EPOCHS = 3  # in a row


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best weights, writes log and checkpoint after each epoch, and stops a run that leads nowhere.

    Args:
        params: of the run.
        blocks: that it goes through.
        lookup: of the images, which are shuffled before each epoch.
        history: of earlier epochs, if any; each epoch is appended.
        checkpoint: where to save.
        epoch_log: where the figures of each epoch are logged.
        state: every variable that training changes.
        weights: those that are the result.
    """

    def __init__(
        self,
        params: Train,
        blocks: Blocks,
        lookup: ImageLookup,
        history: History,
        checkpoint: Checkpoint,
        epoch_log: EpochLog,
        state: Sequence[keras.Variable],
        weights: Sequence[keras.Variable],
    ) -> None:
        super().__init__()
        self._params, self._blocks, self._lookup = params, blocks, lookup
        self._history, self._checkpoint, self._epoch_log = history, checkpoint, epoch_log
        self._state, self._weights = state, weights

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Shuffle the images."""
        self._lookup.shuffle(epoch)
        self._epoch, self._step = epoch, 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stop at a loss that is not finite; called after each call of compiled steps."""
        done = min((batch + 1) * self._blocks.steps_of_block, self._blocks.steps)
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not all(map(math.isfinite, figures.values())):
            shown = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            steps = f"step {done:,}" if done == self._step + 1 else f"steps {self._step + 1:,} to {done:,}"
            raise TrainingError(
                f"the loss is not finite in epoch {self._epoch + 1}, {steps} ({shown}); "
                f"lower train.learning_rate (now {self._params.learning_rate:g}) "
                "or set train.clip_norm"
            )
        self._step = done

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the figures, keep the best weights, save a checkpoint, and decide whether to stop."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(figures["val_loss"]):
            raise TrainingError(
                f"the validation loss is {figures['val_loss']:g} after epoch {epoch + 1}; "
                f"lower train.learning_rate (now {self._params.learning_rate:g})"
            )
        history = self._history
        history.epochs.append(figures)
        self._epoch_log.add(figures)
        self._refuse_collapse()
        if history.best_epoch == epoch + 1:
            history.best = [np.asarray(weight) for weight in self._weights]
        self._checkpoint.save(self._state, history)
        patience = self._params.patience
        if patience and epoch + 1 - history.best_epoch >= patience:
            log.info("stopped after epoch %d: no better validation loss since epoch %d", epoch + 1, history.best_epoch)
            self.model.stop_training = True

    def _refuse_collapse(self) -> None:
        """A posterior that is the prior for several epochs in a row, once the KL has its full weight."""
        last = self._history.epochs[-_COLLAPSED_EPOCHS:]
        if len(self._history.epochs) < _COLLAPSED_EPOCHS + self._params.kl_warmup_epochs:
            return
        if max(figures["val_kl"] for figures in last) < _COLLAPSED:
            raise TrainingError(
                f"the posterior collapsed: the validation KL is {last[-1]['val_kl']:.3f} nats after epoch "
                f"{len(self._history.epochs)} and was below {_COLLAPSED:g} for {_COLLAPSED_EPOCHS} epochs, so that "
                "the latents say nothing of the image; lower train.learning_rate or train.kl_weight, or raise "
                "train.kl_warmup_epochs"
            )
