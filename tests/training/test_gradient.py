import numpy as np
import tensorflow as tf
from keras import ops

from pipeline.training.gradient import input_gradient


def test_the_gradient_by_the_input_has_a_gradient_itself() -> None:
    values, weight = np.float32([[1, 2], [-3, 0.5]]), tf.Variable(2.0)
    with tf.GradientTape() as tape:
        slope = input_gradient(lambda x: weight * ops.sum(x**3, axis=1), tf.constant(values))
        penalty = ops.sum(slope**2)
    np.testing.assert_allclose(slope, 3 * 2 * values**2, rtol=1e-6)
    # The penalty is 9 w^2 times the sum of x^4; by w, it is 18 w times that sum.
    np.testing.assert_allclose(tape.gradient(penalty, weight), 18 * 2 * (values**4).sum(), rtol=1e-6)
