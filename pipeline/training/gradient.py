"""The gradient of a network by its input inside a loss, which `keras.ops` cannot say: one way for each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from collections.abc import Callable


def input_gradient(function: Callable[[Any], Any], inputs: Any) -> Any:
    """The gradient of the sum of what `function` gives, by `inputs`, in their shape; itself differentiable."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda values: function(values).sum())(inputs)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(function(inputs))
    return tape.gradient(total, inputs)
