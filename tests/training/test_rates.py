import keras
import numpy as np
import pytest

from pipeline.training.rates import RatedAdam, Trapezoid


@pytest.mark.parametrize(("step", "share"), [(0, 0.2), (1, 0.4), (4, 1), (49, 1), (50, 1), (75, 0.5), (99, 0.02)])
def test_a_rate_rises_stays_and_falls(step: int, share: float) -> None:
    assert float(Trapezoid(4, 100)(step)) == pytest.approx(share)


def test_each_variable_has_its_own_rate() -> None:
    """Adam's first step is the rate, in the direction against the gradient."""
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in range(3)]
    optimizer = RatedAdam([0.1, 0.01, 0.001], learning_rate=1.0)
    optimizer.build(variables)
    optimizer.apply([keras.ops.convert_to_tensor(np.float32([3, -4]))] * 3, variables)
    for variable, rate in zip(variables, [0.1, 0.01, 0.001], strict=True):
        np.testing.assert_allclose(variable, [-rate, rate], rtol=1e-4)
