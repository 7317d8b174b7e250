"""Many steps of training in one compiled call.

Keras' own `steps_per_execution` returns to Python (JAX) or to TensorFlow's executor after each step. Here XLA itself
loops, which makes a small step a fifth faster.
"""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.training.model import VAE


class Blocks(keras.utils.PyDataset):  # type: ignore[misc]
    """The numbers from 0 in batches, several batches at a time: int32 `[steps, batch_size]`.

    All batches have the same size, and the remainder of an epoch is dropped. Since the images are shuffled before each
    epoch, no image is left out of all epochs.

    Args:
        count: of images; fewer than `batch_size` make one smaller batch.
        batch_size: of a step.
        steps: of a block; the last one may have fewer.
    """

    def __init__(self, count: int, batch_size: int, steps: int) -> None:
        # With more than one worker Keras turns the tuning thread of tf.data off, for which the end of an epoch often
        # waits for a second and more. To stop the workers takes 0.1 s, for nothing where tf.data has no part.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1)
        batch_size = min(batch_size, count)
        self.steps, self.steps_of_block = count // batch_size, steps
        batches = np.arange(self.steps * batch_size, dtype=np.int32).reshape(self.steps, batch_size)
        self._blocks = [batches[first : first + steps] for first in range(0, self.steps, steps)]

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, number: int) -> tuple[NDArray[np.int32]]:
        return (self._blocks[number],)


class BlockVAE(VAE):
    """A VAE on numbers of images whose training takes a block of batches at a time; on TensorFlow and JAX.

    Args:
        looped: whether a block may have more than one batch.
        arguments: those of `VAE`.
        named: the same.
    """

    def __init__(self, *arguments: Any, looped: bool, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.looped = looped
        self(np.zeros(1, np.int32))  # builds it: `fit` would try to with a block, as if that were a batch

    def train_step(self, *arguments: Any) -> Any:
        """Keras hands over the batches, and with JAX the state of the model before them."""
        *state, (blocks,) = arguments
        if not self.looped:
            return super().train_step(*state, (blocks[0],))
        return self._jax_steps(state[0], blocks) if state else self._tensorflow_steps(blocks)

    def _jax_steps(self, state: Any, blocks: Any) -> tuple[dict[str, Any], Any]:
        import jax

        def step(state: Any, numbers: Any) -> tuple[Any, dict[str, Any]]:
            logs, state = super(BlockVAE, self).train_step(state, (numbers,))
            return state, logs

        state, logs = jax.lax.scan(step, state, blocks)
        return {name: values[-1] for name, values in logs.items()}, state

    def _tensorflow_steps(self, blocks: Any) -> dict[str, Any]:
        import tensorflow as tf

        def step(number: Any) -> tuple[Any]:
            super(BlockVAE, self).train_step((blocks[number],))
            return (number + 1,)

        tf.while_loop(lambda number: number < tf.shape(blocks)[0], step, (0,))
        logs: dict[str, Any] = self.get_metrics_result()
        return logs
