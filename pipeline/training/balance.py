"""Whether the two networks of a VAE-GAN still learn from each other, watched while they train."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

from pipeline.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.params import Sharpen

WINDOW = 100  # steps over which a figure is averaged before it is judged: of one step it says little
LASTING = 3  # windows in a row that are too accurate: at the start the discriminator learns faster
LARGEST_LOGIT = 10.0
MOST_CROSS_ENTROPY = 2.0  # times that of the start


class Balance(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops a run in which one network left the other behind.

    Args:
        params: of the run.
        cross_entropy: of reconstructions at the start, in nats.
    """

    def __init__(self, params: Sharpen, cross_entropy: float) -> None:
        super().__init__()
        self._params, self._start = params, cross_entropy

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Begin the first window."""
        self._epoch, self._done, self._sums, self._accurate = epoch, 0, dict[str, float](), 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keras gives averages from the first step of the epoch on; their differences give those of a window."""
        done = batch + 1
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not all(map(math.isfinite, figures.values())):
            shown = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            raise TrainingError(f"a loss is not finite {self._where(done)} ({shown}); {self._lower_rates()}")
        if done - self._done == WINDOW:
            sums = {name: value * done for name, value in figures.items()}
            self._judge({name: (total - self._sums.get(name, 0.0)) / WINDOW for name, total in sums.items()}, done)
            self._done, self._sums = done, sums

    def _judge(self, window: Mapping[str, float], done: int) -> None:
        accuracy = (window["accuracy_real"] + window["accuracy_fake"]) / 2
        self._accurate = self._accurate + 1 if accuracy > self._params.largest_accuracy else 0
        logit = max(abs(window["logit_real"]), abs(window["logit_fake"]))
        if self._accurate == LASTING:
            raise TrainingError(
                f"the discriminator tells {accuracy:.1%} of the images right {self._where(done)}, expected at most "
                f"{self._params.largest_accuracy:.0%}, so that the decoder learns little from it; lower "
                f"sharpen.discriminator_rate (now {self._params.discriminator_rate:g}), raise sharpen.gradient_penalty "
                f"(now {self._params.gradient_penalty:g}), or set sharpen.largest_accuracy to 1 for a decoder that is "
                "too simple to be taken for real"
            )
        if logit > LARGEST_LOGIT:
            raise TrainingError(
                f"the discriminator's logits reach {logit:.1f} {self._where(done)}, expected at most "
                f"{LARGEST_LOGIT:g}; raise sharpen.gradient_penalty (now {self._params.gradient_penalty:g}), "
                f"or {self._lower_rates()}"
            )
        if window["cross_entropy"] > MOST_CROSS_ENTROPY * self._start:
            raise TrainingError(
                f"the cross-entropy of reconstructions is {window['cross_entropy']:.1f} nats {self._where(done)}, "
                f"more than twice the {self._start:.1f} of the start; raise sharpen.cross_entropy_weight "
                f"(now {self._params.cross_entropy_weight:g}) or lower sharpen.adversarial_weight "
                f"(now {self._params.adversarial_weight:g})"
            )

    def _where(self, done: int) -> str:
        return f"in epoch {self._epoch + 1}, step {done:,}"

    def _lower_rates(self) -> str:
        params = self._params
        return (
            f"lower sharpen.discriminator_rate (now {params.discriminator_rate:g}) "
            f"and sharpen.decoder_rate (now {params.decoder_rate:g})"
        )
