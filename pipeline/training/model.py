"""The variational autoencoder: the only home of the model's mathematics.

Everything is written in `keras.ops`, so that it runs unchanged on every backend of Keras.

    x [28, 28] -> encoder -> z_mean, z_log_var [latent_dim]
    z = z_mean + exp(z_log_var / 2) * eps,  eps ~ N(0, I)
    z -> decoder -> logits -> sigmoid -> image [28, 28]

Kingma & Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114; equation and appendix numbers below refer to
that paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import KerasTensor, layers, ops

from pipeline.interface import DECODER, ENCODER, IMAGE_SHAPE, PIXELS

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_encoder(latent_dim: int, units: Sequence[int]) -> keras.Model:
    """Images to the parameters of a diagonal Gaussian.

    Input `image`: uint8 `[batch, 28, 28]`. Outputs `z_mean`, `z_log_var`: float32 `[batch, latent_dim]`.
    """
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name="image")
    hidden = layers.Rescaling(1 / 255, name="scale")(image)
    hidden = layers.Reshape((PIXELS,), name="flatten")(hidden)
    hidden = _dense_stack(hidden, units, "encoder")
    outputs = {name: layers.Dense(latent_dim, name=name)(hidden) for name in ("z_mean", "z_log_var")}
    return keras.Model(image, outputs, name=ENCODER.role)


def build_decoder(latent_dim: int, units: Sequence[int]) -> keras.Model:
    """Latents to images.

    Input `z`: float32 `[batch, latent_dim]`. Output `image`: float32 `[batch, 28, 28]`, each in [0, 1].
    The layer named `logits` holds the values before the sigmoid.
    """
    z = keras.Input((latent_dim,), name="z")
    hidden = _dense_stack(z, units, "decoder")
    logits = layers.Dense(PIXELS, name="pixels")(hidden)
    logits = layers.Reshape(IMAGE_SHAPE, name="logits")(logits)
    return keras.Model(z, {"image": layers.Activation("sigmoid", name="image")(logits)}, name=DECODER.role)


def _dense_stack(hidden: KerasTensor, units: Sequence[int], name: str) -> KerasTensor:
    for number, size in enumerate(units, start=1):
        hidden = layers.Dense(size, activation="relu", name=f"{name}_{number}")(hidden)
    return hidden


@keras.saving.register_keras_serializable("pipeline")
class Sampling(layers.Layer):  # type: ignore[misc]
    """Draws `z` from the encoder's Gaussian by the reparameterisation trick (section 2.4)."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, z_mean: KerasTensor, z_log_var: KerasTensor) -> KerasTensor:
        """Both float32 `[batch, latent_dim]`; so is the result."""
        noise = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(z_log_var / 2) * noise

    def get_config(self) -> dict[str, Any]:
        """The seed, beside what every layer has."""
        return {**super().get_config(), "seed": self.seed}


def reconstruction_loss(image: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Binary cross-entropy of grey levels in nats, summed over pixels: `[batch]`.

    `image` float32 `[batch, 28, 28]` in [0, 1], `logits` of the same shape. With grey levels this is the classic
    objective, not a likelihood (appendix C.1 is for binary pixels).
    """
    return ops.sum(ops.binary_crossentropy(image, logits, from_logits=True), axis=(1, 2))


def kl_divergence(z_mean: KerasTensor, z_log_var: KerasTensor) -> KerasTensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) in nats, summed over latents: `[batch]` (appendix B)."""
    return 0.5 * ops.sum(ops.exp(z_log_var) + ops.square(z_mean) - 1 - z_log_var, axis=-1)


class VAE(keras.Model):  # type: ignore[misc]
    """Encoder, sampling and decoder with the negative evidence lower bound as loss (equation 10).

    It is trained on uint8 images `[batch, 28, 28]` alone and reports `reconstruction` and `kl`, whose sum is `loss`:
    nats per image, averaged over images.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.sampling = Sampling(seed, name="sampling")
        # The loss is computed from logits: the sigmoid saturates in float32.
        self.logits = keras.Model(decoder.input, decoder.get_layer("logits").output, name="decoder_logits")
        self.reconstruction = keras.metrics.Mean("reconstruction")
        self.kl = keras.metrics.Mean("kl")

    def call(self, image: KerasTensor) -> dict[str, KerasTensor]:
        """All that the loss needs: `logits`, `z_mean`, `z_log_var`."""
        latents = self.encoder(image)
        return {"logits": self.logits(self.sampling(latents["z_mean"], latents["z_log_var"])), **latents}

    def compute_loss(
        self,
        x: KerasTensor = None,
        y: KerasTensor = None,  # noqa: ARG002
        y_pred: Any = None,
        sample_weight: KerasTensor = None,  # noqa: ARG002
        training: bool = True,  # noqa: ARG002
    ) -> KerasTensor:
        """The negative ELBO, averaged over the batch; a scalar."""
        image = ops.cast(x, "float32") / 255
        reconstruction = ops.mean(reconstruction_loss(image, y_pred["logits"]))
        kl = ops.mean(kl_divergence(y_pred["z_mean"], y_pred["z_log_var"]))
        batch = ops.shape(x)[0]
        self.reconstruction.update_state(reconstruction, batch)
        self.kl.update_state(kl, batch)
        return reconstruction + kl
