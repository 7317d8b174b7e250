"""How fast each network of a VAE-GAN learns: one Adam with a rate for each, and how the rates change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import KerasTensor, ops

if TYPE_CHECKING:
    from collections.abc import Sequence


class RatedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose learning rate is multiplied by a factor for each variable.

    Args:
        factors: of the variables, in the order in which it is built with them.
        arguments: those of Adam.
    """

    def __init__(self, factors: Sequence[float], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.factors = list(factors)

    def update_step(self, gradient: KerasTensor, variable: KerasTensor, learning_rate: KerasTensor) -> None:
        """One step of one variable."""
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


class Trapezoid(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Up from 0 in the first steps, 1 until the middle, and in a line down to 0 at the last step.

    Args:
        warmup_steps: in which it rises.
        steps: of the whole run.
    """

    def __init__(self, warmup_steps: int, steps: int) -> None:
        self.warmup_steps, self.steps = warmup_steps, steps

    def __call__(self, step: KerasTensor) -> KerasTensor:
        """The share of the full rate at a step, counted from 0."""
        done = ops.cast(step, "float32")
        rising = (done + 1) / (self.warmup_steps + 1)
        return ops.minimum(1.0, ops.minimum(rising, 2 * (1 - done / self.steps)))

    def get_config(self) -> dict[str, int]:
        """Both numbers."""
        return {"warmup_steps": self.warmup_steps, "steps": self.steps}
