"""The discriminator of a VAE-GAN: a small network that tells decoded images from real ones.

image [28, 28] -> three convolutions -> logit, above 0 for real; the second convolution gives features
"""

from __future__ import annotations

import keras
from keras import KerasTensor, layers, ops

from pipeline.shared.interface import IMAGE_SHAPE

_PATCH = 2  # pixels along each side that become channels: a convolution then costs a quarter
_SIDE = IMAGE_SHAPE[0] // _PATCH
_FILTERS = (24, 48, 48)
_UNITS = 128
_SLOPE = 0.2  # of the leaky ReLU below 0


def build_discriminator() -> keras.Model:
    """Images to a logit and the features by which reconstructions are compared.

    Input `image`: float32 `[batch, 28, 28]` in [0, 1]. Outputs `logit`: float32 `[batch]`, above 0 if it is more
    likely real; `features`: float32 `[batch, 14, 14, 48]`, of the second convolution. Without normalisation. A
    logit depends on its batch, through the deviation of the images from each other: give images of one kind.
    """
    image = keras.Input(IMAGE_SHAPE, name="image")
    hidden = layers.Reshape((_SIDE, _PATCH, _SIDE, _PATCH), name="cut")(image)
    hidden = layers.Permute((1, 3, 2, 4), name="patches")(hidden)
    hidden = layers.Reshape((_SIDE, _SIDE, _PATCH**2), name="channels")(hidden)
    hidden = _convolution(_FILTERS[0], "convolution_1")(hidden)
    features = _convolution(_FILTERS[1], "features")(hidden)
    hidden = _convolution(_FILTERS[2], "convolution_3", strides=2)(features)
    hidden = layers.Flatten(name="flatten")(hidden)
    hidden = BatchDeviation(name="deviation")(hidden)
    hidden = layers.Dense(_UNITS, activation=_leaky_relu, name="dense")(hidden)
    logit = layers.Reshape((), name="logit")(layers.Dense(1, name="real")(hidden))
    return keras.Model(image, {"logit": logit, "features": features}, name="discriminator")


def _convolution(channels: int, name: str, strides: int = 1) -> layers.Layer:
    return layers.Conv2D(channels, 3, strides=strides, padding="same", activation=_leaky_relu, name=name)


def _leaky_relu(values: KerasTensor) -> KerasTensor:
    return ops.leaky_relu(values, _SLOPE)


class BatchDeviation(layers.Layer):  # type: ignore[misc]
    """Adds one column: how far the rows of a batch are apart, so that a decoder of few kinds of images is found out.

    The standard deviation over the batch of each value, averaged over values; the same for all rows. Karras et al.
    (2017), arXiv:1710.10196, section 3.
    """

    def call(self, values: KerasTensor) -> KerasTensor:
        """float32 `[batch, n]` to `[batch, n + 1]`."""
        deviation = ops.mean(ops.sqrt(ops.var(values, axis=0) + 1e-8))
        return ops.concatenate([values, ops.zeros_like(values[:, :1]) + deviation], axis=1)

    def compute_output_shape(self, shape: tuple[int | None, int]) -> tuple[int | None, int]:
        """One more column."""
        return (*shape[:-1], shape[-1] + 1)


def normalised(features: KerasTensor, real: KerasTensor) -> KerasTensor:
    """Features `[n, 14, 14, 48]`, each channel divided by its standard deviation over those of `real` images."""
    deviation = ops.sqrt(ops.var(real, axis=(0, 1, 2)) + 1e-8)
    return features / deviation


def feature_distance(features: KerasTensor, of_real: KerasTensor) -> KerasTensor:
    """Half the squared distance, summed over features: `[n, 14, 14, 48]` twice to `[n]`.

    Up to a constant, -log N(features of the real image | features of the reconstruction, I): Larsen et al. (2016),
    arXiv:1512.09300, equation 7.
    """
    return 0.5 * ops.sum(ops.square(features - of_real), axis=(1, 2, 3))
