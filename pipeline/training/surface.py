"""The layer of a decoder that makes a surface over the picture instead of pixels; see `pipeline.shared.spline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from pipeline.shared.spline import SIDE, SLOPE_TO_SCALE, basis, centres, over_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

COEFFICIENTS, LOGITS = "coefficients", "logits"  # layers of a decoder: of its surface if it has one, and of the pixels


@keras.saving.register_keras_serializable("pipeline")
class SurfaceLogits(layers.Layer):  # type: ignore[misc]
    """The logits of the data's pixels from the coefficients of a surface, as `render` draws it at softness 1.

    Args:
        knots: along a side of the input `[batch, knots, knots]`; the output is `[batch, 28, 28]`.
    """

    def __init__(self, knots: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.knots = knots
        both = np.concatenate(basis(over_picture(knots), centres(SIDE), 1.0))
        self._basis = np.ascontiguousarray(both.T, np.float32)

    def call(self, coefficients: KerasTensor) -> KerasTensor:
        """See the class."""
        down = _times(ops.transpose(coefficients, (0, 2, 1)), self._basis)  # values, then slopes
        both = _times(ops.transpose(down, (0, 2, 1)), self._basis)
        f, f_x, f_y = both[:, :SIDE, :SIDE], both[:, :SIDE, SIDE:], both[:, SIDE:, :SIDE]
        scale = ops.sqrt(1 + (SLOPE_TO_SCALE**2) * (ops.square(f_x) + ops.square(f_y)))
        return f / scale

    def get_config(self) -> dict[str, Any]:
        """The number of knots, beside what every layer has."""
        return {**super().get_config(), "knots": self.knots}


def _times(tensor: KerasTensor, matrix: NDArray[np.float32]) -> KerasTensor:
    """The last axis times a matrix, as one product of two matrices: backends are slow at many small ones."""
    product = ops.matmul(ops.reshape(tensor, (-1, matrix.shape[0])), ops.cast(matrix, tensor.dtype))
    return ops.reshape(product, (-1, *tensor.shape[1:-1], matrix.shape[1]))
