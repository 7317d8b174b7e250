"""The training images on the device, looked up by number, so that an epoch copies no pixels to it."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops
from numpy.typing import NDArray


class ImageLookup(layers.Layer):  # type: ignore[misc]
    """All images of a run; `call` turns numbers into images.

    Call `shuffle` before each epoch to permute the first `shuffled` images. The permutation depends on the seed and the
    epoch alone, so that a resumed run sees the images in the same order as an uninterrupted one.

    Args:
        images: uint8 `[n, 28, 28]`.
        shuffled: the number of images that are shuffled; the rest are for validation.
        seed: of the permutations.
    """

    def __init__(self, images: NDArray[np.uint8], shuffled: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shuffled, self.seed = shuffled, seed
        self._images = self._constant(images, "images")
        self._order = self._constant(np.arange(len(images), dtype=np.int32), "order")

    def _constant(self, values: NDArray[Any], name: str) -> keras.Variable:
        variable = self.add_weight(
            shape=values.shape, dtype=values.dtype.name, initializer="zeros", trainable=False, name=name
        )
        variable.assign(values)
        return variable

    def shuffle(self, epoch: int) -> None:
        """Permute the images for `epoch`, counted from 0."""
        order = np.arange(self._order.shape[0], dtype=np.int32)
        order[: self.shuffled] = np.random.default_rng([self.seed, epoch]).permutation(self.shuffled)
        self._order.assign(order)

    def call(self, number: KerasTensor) -> KerasTensor:
        """Numbers int32 `[batch]` to images uint8 `[batch, 28, 28]`."""
        return ops.take(self._images, ops.take(self._order, number, axis=0), axis=0)
