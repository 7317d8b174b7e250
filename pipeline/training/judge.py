"""The judge: a small classifier, in whose features generated images are compared with real ones.

image [28, 28] -> three convolutions -> features [64] -> probabilities [classes]
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import layers

from pipeline.errors import TrainingError
from pipeline.shared.interface import IMAGE_SHAPE, JUDGE
from pipeline.training.device import prepare_device, repeat_exactly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.params import Judge

log = logging.getLogger(__name__)

_CONVOLUTIONS = ((32, 5, 2), (64, 3, 2), (64, 3, 1))  # channels, side and stride of each


def build_judge(classes: int, dropout: float) -> keras.Model:
    """Images to features and classes.

    Input `image`: uint8 `[batch, 28, 28]`. Outputs `features`: float32 `[batch, 64]`, none below 0; `probabilities`:
    float32 `[batch, classes]`.

    Args:
        classes: how many.
        dropout: share of what the convolutions give that is left out in training.
    """
    features, probabilities = JUDGE.outputs
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name="image")
    hidden = layers.Rescaling(1 / 255, name="scale")(image)
    hidden = layers.Reshape((*IMAGE_SHAPE, 1), name="channel")(hidden)
    for number, (channels, side, stride) in enumerate(_CONVOLUTIONS, start=1):
        hidden = layers.Conv2D(
            channels, side, strides=stride, padding="same", activation="relu", name=f"convolution_{number}"
        )(hidden)
    hidden = layers.Dropout(dropout, name="dropout")(layers.Flatten(name="flatten")(hidden))
    seen = layers.Dense(features.shape[-1], activation="relu", name=features.name)(hidden)
    told = layers.Dense(classes, activation="softmax", name=probabilities.name)(seen)
    return keras.Model(image, {features.name: seen, probabilities.name: told}, name=JUDGE.role)


def fit_judge(params: Judge, images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> keras.Model:
    """Train a judge; the same arguments give the same weights on the same machine.

    Args:
        params: how it is fitted.
        images: uint8 `[n, 28, 28]`.
        labels: uint8 `[n]`, below `classes`.
        classes: how many.

    Raises:
        TrainingError: the loss is not finite.
    """
    prepare_device()
    # Without XLA, which takes seven times as long for these convolutions on a CPU.
    repeat_exactly(params.seed, jit_compile=False)
    model = build_judge(classes, params.dropout)
    batch_size = min(params.batch_size, len(images))
    steps = len(images) // batch_size
    rate = keras.optimizers.schedules.CosineDecay(params.learning_rate, params.epochs * steps)
    classifier = keras.Model(model.input, model.output["probabilities"])
    classifier.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    for epoch in range(params.epochs):
        order = np.random.default_rng([params.seed, epoch]).permutation(len(images))[: steps * batch_size]
        history = classifier.fit(
            images[order],
            labels[order],
            batch_size=batch_size,
            shuffle=False,  # `order` does it
            verbose=0,
        )
        loss, accuracy = (history.history[name][0] for name in ("loss", "accuracy"))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of the judge is {loss:g} after epoch {epoch + 1}; lower judge.learning_rate "
                f"(now {params.learning_rate:g})"
            )
        log.info("judge, epoch %d of %d: loss %.3f, accuracy %.1f %%", epoch + 1, params.epochs, loss, 100 * accuracy)
    return model
