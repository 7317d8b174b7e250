"""The variational autoencoder: the only home of the model's mathematics.

Everything is written in `keras.ops`, so that it runs unchanged on every backend of Keras.

    x [28, 28] -> encoder -> z_mean, z_log_var [latent_dim]
    z = z_mean + exp(z_log_var / 2) * eps,  eps ~ N(0, I)
    z -> decoder -> logits -> sigmoid -> image [28, 28]

Kingma & Welling, Auto-Encoding Variational Bayes (2013), arXiv:1312.6114; equation and appendix numbers below refer to
that paper. Burda et al., Importance Weighted Autoencoders (2015), arXiv:1509.00519.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import KerasTensor, layers, ops

from pipeline.shared.interface import DECODER, ENCODER, IMAGE_SHAPE, PIXELS
from pipeline.training.surface import COEFFICIENTS, LOGITS, SurfaceLogits

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_encoder(
    latent_dim: int, units: Sequence[int], filters: Sequence[int] = (), activation: str = "relu"
) -> keras.Model:
    """Images to the parameters of a diagonal Gaussian.

    Input `image`: uint8 `[batch, 28, 28]`. Outputs `z_mean`, `z_log_var`: float32 `[batch, latent_dim]`.

    Args:
        latent_dim: the number of latents.
        units: of each dense hidden layer.
        filters: channels of each convolution before these, over the patches of the image.
        activation: of every hidden layer, as Keras names it.
    """
    image = keras.Input(IMAGE_SHAPE, dtype="uint8", name="image")
    hidden = layers.Rescaling(1 / 255, name="scale")(image)
    if filters:
        hidden = layers.Reshape((_SIDE, _PATCH, _SIDE, _PATCH), name="cut")(hidden)
        hidden = layers.Permute((1, 3, 2, 4), name="patches")(hidden)
        hidden = layers.Reshape((_SIDE, _SIDE, _PATCH**2), name="channels")(hidden)
        hidden = _convolutions(hidden, filters, activation, "encoder")
    hidden = layers.Flatten(name="flatten")(hidden)
    hidden = _dense_stack(hidden, units, activation, "encoder")
    # Mixed precision ends here: the latents need float32.
    outputs = {name: layers.Dense(latent_dim, dtype="float32", name=name)(hidden) for name in ("z_mean", "z_log_var")}
    return keras.Model(image, outputs, name=ENCODER.role)


def build_decoder(
    latent_dim: int,
    units: Sequence[int],
    filters: Sequence[int] = (),
    activation: str = "relu",
    surface: int = 0,
) -> keras.Model:
    """Latents to images.

    Input `z`: float32 `[batch, latent_dim]`. Output `image`: float32 `[batch, 28, 28]`, each in [0, 1].
    The layer named `logits` holds the values before the sigmoid, that named `coefficients` what a surface is made of.

    Args:
        latent_dim: the number of latents.
        units: of each dense hidden layer.
        filters: channels that go into each convolution after these, over the patches of the image; the last
            convolution makes their pixels, or the knots of the surface.
        activation: of every hidden layer, as Keras names it.
        surface: knots along each side of a surface of logits, from which the pixels are drawn; 0: no surface.
    """
    z = keras.Input((latent_dim,), name="z")
    hidden = _dense_stack(z, units, activation, "decoder")
    # Values to make along each side, and how many of them a patch has.
    count, patch = (surface, _KNOTS) if surface else (IMAGE_SHAPE[0], _PATCH)
    name = COEFFICIENTS if surface else LOGITS
    if filters:
        side = count // patch
        hidden = layers.Dense(side * side * filters[0], activation=activation, name="spread")(hidden)
        hidden = layers.Reshape((side, side, filters[0]), name="channels")(hidden)
        hidden = _convolutions(hidden, filters[1:], activation, "decoder")
        hidden = layers.Conv2D(patch**2, _KERNEL, padding="same", dtype="float32", name="pixels")(hidden)
        hidden = layers.Reshape((side, side, patch, patch), dtype="float32", name="patches")(hidden)
        hidden = layers.Permute((1, 3, 2, 4), dtype="float32", name="join")(hidden)
    else:
        hidden = layers.Dense(count**2, dtype="float32", name="pixels")(hidden)
    made = layers.Reshape((count, count), dtype="float32", name=name)(hidden)
    logits = SurfaceLogits(surface, dtype="float32", name=LOGITS)(made) if surface else made
    image = layers.Activation("sigmoid", dtype="float32", name="image")(logits)
    return keras.Model(z, {"image": image}, name=DECODER.role)


# Convolutions run over 7 x 7 patches of 4 x 4 pixels, whose pixels are the channels: cutting an image up and joining
# it again costs no arithmetic (Shi et al. (2016), arXiv:1609.05158), and a plain convolution is fast in every runtime.
_PATCH = 4  # pixels along each side
_SIDE = IMAGE_SHAPE[0] // _PATCH
_KERNEL = 3  # patches along each side
_KNOTS = 3  # along each side of a patch of a surface


def _dense_stack(hidden: KerasTensor, units: Sequence[int], activation: str, name: str) -> KerasTensor:
    for number, size in enumerate(units, start=1):
        hidden = layers.Dense(size, activation=activation, name=f"{name}_{number}")(hidden)
    return hidden


def _convolutions(hidden: KerasTensor, filters: Sequence[int], activation: str, name: str) -> KerasTensor:
    """Each is added to its input where their channels are as many: He et al. (2015), arXiv:1512.03385."""
    for number, channels in enumerate(filters, start=1):
        convolution = layers.Conv2D(
            channels, _KERNEL, padding="same", activation=activation, name=f"{name}_convolution_{number}"
        )
        before, hidden = hidden, convolution(hidden)
        if before.shape == hidden.shape:
            hidden = layers.Add(name=f"{name}_sum_{number}")([before, hidden])
    return hidden


@keras.saving.register_keras_serializable("pipeline")
class Sampling(layers.Layer):  # type: ignore[misc]
    """Draws `z` from the encoder's Gaussian by the reparameterisation trick (section 2.4), `samples` times."""

    def __init__(self, seed: int | None = None, samples: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed, self.samples = seed, samples
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, z_mean: KerasTensor, z_log_var: KerasTensor) -> KerasTensor:
        """Both float32 `[batch, latent_dim]`; the result `[batch, samples, latent_dim]`."""
        z_mean, z_log_var = z_mean[:, None], z_log_var[:, None]
        shape = ops.shape(z_mean)
        noise = keras.random.normal((shape[0], self.samples, shape[2]), seed=self.seed_generator)
        return z_mean + ops.exp(z_log_var / 2) * noise

    def get_config(self) -> dict[str, Any]:
        """Seed and number of samples, beside what every layer has."""
        return {**super().get_config(), "seed": self.seed, "samples": self.samples}


def reconstruction_loss(image: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Binary cross-entropy in nats, summed over pixels: `[..., 28, 28]` twice to `[...]`.

    With pixels of 0 and 1 it is -log p(x|z) (appendix C.1). With grey levels in [0, 1] it is the classic objective,
    not a likelihood. Written in the logits l, since the sigmoid saturates in float32: softplus(l) - x l, where
    softplus(l) = (l + |l|) / 2 + log(1 + exp(-|l|)).
    """
    # Compilers vectorise along the last axis: 784 fill vectors that 28 do not.
    image, logits = (ops.reshape(values, (*ops.shape(values)[:-2], PIXELS)) for values in (image, logits))
    magnitude = ops.abs(logits)
    return ops.sum((0.5 - image) * logits + magnitude / 2 + ops.log1p(ops.exp(-magnitude)), axis=-1)


def kl_divergence(z_mean: KerasTensor, z_log_var: KerasTensor) -> KerasTensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) in nats, summed over latents: `[batch]` (appendix B)."""
    return 0.5 * ops.sum(ops.exp(z_log_var) + ops.square(z_mean) - 1 - z_log_var, axis=-1)


def log_ratio(z: KerasTensor, z_mean: KerasTensor, z_log_var: KerasTensor) -> KerasTensor:
    """The log of p(z) / q(z|x) of draws `[batch, samples, latent_dim]`, summed over latents: `[batch, samples]`."""
    z_mean, z_log_var = z_mean[:, None], z_log_var[:, None]
    distance = ops.square(z - z_mean) * ops.exp(-z_log_var)
    return 0.5 * ops.sum(distance + z_log_var - ops.square(z), axis=-1)


def importance_weighted_bound(log_weights: KerasTensor) -> KerasTensor:
    """The lower bound on log p(x) of Burda et al. (equation 8): `[batch, samples]` to `[batch]`."""
    return ops.logsumexp(log_weights, axis=-1) - math.log(log_weights.shape[-1])


class VAE(keras.Model):  # type: ignore[misc]
    """Encoder, sampling and decoder with the negative evidence lower bound as loss (equation 10).

    It is trained on images alone, uint8 `[batch, 28, 28]`, or on their numbers, int32 `[batch]`, where `lookup` looks
    them up. It reports `reconstruction` and `kl` in nats per image, averaged over images, whose sum is `loss` unless
    the KL is weighted, or more than one sample makes the loss an importance-weighted bound.

    Args:
        encoder: images to Gaussians.
        decoder: latents to images.
        seed: of all draws.
        lookup: a layer from numbers to images.
        kl_weight: of the KL, in training only.
        kl_warmup_steps: in which this weight grows from 0.
        samples: draws of the latents per image.
        binarise: draw every pixel afresh, with its grey level as probability.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        seed: int,
        *,
        lookup: layers.Layer | None = None,
        kl_weight: float = 1.0,
        kl_warmup_steps: int = 0,
        samples: int = 1,
        binarise: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.lookup = lookup
        self.kl_weight, self.kl_warmup_steps, self.binarise = kl_weight, kl_warmup_steps, binarise
        self.sampling = Sampling(seed, samples, dtype="float32", name="sampling")
        self.pixel_seed = keras.random.SeedGenerator(seed + 1)
        self.logits = keras.Model(decoder.input, decoder.get_layer("logits").output, name="decoder_logits")
        # Its own count: on JAX the optimizer's is out of sight while the loss is computed.
        self.step = self.add_weight(shape=(), dtype="float32", initializer="zeros", trainable=False, name="step")
        self.reconstruction = keras.metrics.Mean("reconstruction")
        self.kl = keras.metrics.Mean("kl")

    def call(self, x: KerasTensor) -> dict[str, KerasTensor]:
        """All that the loss needs: `image` in [0, 1], `logits` `[batch, samples, 28, 28]`, `z` and its Gaussian."""
        x = self.lookup(x) if self.lookup is not None else x
        image = ops.cast(x, "float32") / 255
        if self.binarise:
            draws = keras.random.uniform(ops.shape(image), dtype="float32", seed=self.pixel_seed)
            image = ops.cast(draws < image, "float32")
            x = ops.cast(255 * image, "uint8")
        latents = self.encoder(x)
        z = self.sampling(latents["z_mean"], latents["z_log_var"])
        logits = self.logits(ops.reshape(z, (-1, z.shape[-1])))
        logits = ops.reshape(logits, (-1, self.sampling.samples, *IMAGE_SHAPE))
        return {"image": image, "logits": logits, "z": z, **latents}

    def compute_loss(
        self,
        x: KerasTensor = None,  # noqa: ARG002
        y: KerasTensor = None,  # noqa: ARG002
        y_pred: Any = None,
        sample_weight: KerasTensor = None,  # noqa: ARG002
        training: bool = True,
    ) -> KerasTensor:
        """The negative of the bound, averaged over the batch; a scalar. Outside training the KL has its full weight."""
        reconstruction = reconstruction_loss(y_pred["image"][:, None], y_pred["logits"])
        kl = kl_divergence(y_pred["z_mean"], y_pred["z_log_var"])
        batch = ops.shape(kl)[0]
        self.reconstruction.update_state(ops.mean(reconstruction), batch)
        self.kl.update_state(ops.mean(kl), batch)
        weight = self._next_kl_weight() if training else 1.0
        if self.sampling.samples == 1:
            return ops.mean(reconstruction[:, 0] + weight * kl)
        ratio = log_ratio(y_pred["z"], y_pred["z_mean"], y_pred["z_log_var"])
        return -ops.mean(importance_weighted_bound(weight * ratio - reconstruction))

    def trained_variables(self) -> list[keras.Variable]:
        """All that a step changes, besides the optimizer's: weights, the count of steps, both generators."""
        generators = (self.sampling.seed_generator, self.pixel_seed)
        states = [generator.state for generator in generators]
        return [*self.encoder.variables, *self.decoder.variables, self.step, *states]

    def _next_kl_weight(self) -> KerasTensor | float:
        if not self.kl_warmup_steps:
            return self.kl_weight
        weight = self.kl_weight * ops.minimum(1.0, self.step / self.kl_warmup_steps)
        self.step.assign_add(1.0)
        return weight
