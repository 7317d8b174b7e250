"""A VAE whose decoder also learns from a discriminator: Larsen et al. (2016), arXiv:1512.09300, algorithm 1.

    images x -> encoder -> z -> decoder -> reconstructions
    latents z' ------------------> decoder -> samples
    x, or reconstructions and samples -> discriminator -> real or not; features

Three losses, each a function of one network alone, the others being constants in it, so that the gradient of their sum
is what the paper gives to each:

    discriminator: real against not real, and the penalty R1
    decoder:       to be taken for real, distance to x in the discriminator's features, a little cross-entropy
    encoder:       KL, and that distance

The adversarial part is the non-saturating one (Goodfellow et al. 2014, arXiv:1406.2661, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.training.discriminator import build_discriminator, feature_distance, normalised
from pipeline.training.gradient import input_gradient
from pipeline.training.model import Sampling, kl_divergence, reconstruction_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.params import Sharpen

_PENALISED = 8  # real images a step on which R1 is measured: a second derivative is dear
FIGURES = (
    "accuracy_real", "accuracy_fake", "logit_real", "logit_fake", "gradient_penalty", "cross_entropy",
    "feature_distance", "kl",
)  # fmt: skip


class VAEGAN(keras.Model):  # type: ignore[misc]
    """Encoder, decoder and discriminator with the three losses.

    It is trained on pairs of uint8 images `[batch, 28, 28]` and float32 latents `[samples, latent_dim]`; as many
    images are reconstructed, from the first on, as there are latents. `FIGURES` are averaged over steps.

    Args:
        encoder: images to Gaussians; it becomes untrainable if it is frozen.
        decoder: latents to images.
        params: weights of the losses.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, params: Sharpen, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder, self.params = encoder, decoder, params
        self.discriminator = build_discriminator()
        encoder.trainable = params.encoder == "trained"
        self.sampling = Sampling(params.seed, name="sampling")
        outputs = {"image": decoder.output["image"], "logits": decoder.get_layer("logits").output}
        self.drawing = keras.Model(decoder.input, outputs, name="drawing")
        self.averages = [
            self.add_weight(shape=weight.shape, initializer="zeros", trainable=False, name=f"average_{number}")
            for number, weight in enumerate(decoder.trainable_variables)
        ]
        for average, weight in zip(self.averages, decoder.trainable_variables, strict=True):
            average.assign(np.asarray(weight))  # a copy: JAX refuses to give one buffer away twice
        self.figures = {name: keras.metrics.Mean(name) for name in FIGURES}
        self.built = True

    def generator_weights(self) -> list[NDArray[Any]]:
        """Of the decoder, in the order of its `get_weights`: the moving averages, and what training leaves alone."""
        averages = {
            id(weight): average for weight, average in zip(self.decoder.trainable_variables, self.averages, strict=True)
        }
        return [np.asarray(averages.get(id(weight), weight)) for weight in self.decoder.weights]

    def call(self, x: tuple[KerasTensor, KerasTensor]) -> dict[str, KerasTensor]:
        """What the losses start from: images as float32, the latents of some of them and `z` of the samples."""
        images, latents = x
        count = ops.shape(latents)[0]
        encoded = self.encoder(images[:count])
        z = self.sampling(encoded["z_mean"], encoded["z_log_var"])[:, 0]
        return {"real": ops.cast(images, "float32") / 255, "z": z, "samples": latents, **encoded}

    def compute_loss(
        self,
        x: KerasTensor = None,  # noqa: ARG002
        y: KerasTensor = None,  # noqa: ARG002
        y_pred: Any = None,
        sample_weight: KerasTensor = None,  # noqa: ARG002
        training: bool = True,  # noqa: ARG002
    ) -> KerasTensor:
        """The sum of the three, a scalar without a meaning of its own; keeps the decoder's moving average."""
        losses = self.losses_by_network(y_pred)
        for average, weight in zip(self.averages, self.decoder.trainable_variables, strict=True):
            average.assign(average + (1 - self.params.average) * (weight - average))
        return sum(losses.values())

    def losses_by_network(self, called: dict[str, KerasTensor]) -> dict[str, KerasTensor]:
        """By network, from the output of a call; of the encoder only if it is trained."""
        real = called["real"]
        fakes = self.drawing(ops.concatenate([fixed(called["z"]), called["samples"]]))
        seen = self.discriminator(real)
        features = fixed(seen["features"])
        losses = {
            "discriminator": self.discriminator_loss(real, seen["logit"], fixed(fakes["image"])),
            "decoder": self.decoder_loss(real, features, fakes),
        }
        if self.encoder.trainable:
            losses["encoder"] = self.encoder_loss(called, features)
        return losses

    def discriminator_loss(self, real: KerasTensor, logit: KerasTensor, fake: KerasTensor) -> KerasTensor:
        """Cross-entropy of telling real images from others, and R1 (Mescheder et al. 2018, arXiv:1801.04406)."""
        logits = {"real": logit, "fake": self.discriminator(fake)["logit"]}
        slope = input_gradient(lambda images: self.discriminator(images)["logit"], real[:_PENALISED])
        penalty = ops.mean(ops.sum(ops.square(slope), axis=(1, 2)))
        self._note("accuracy_real", logits["real"] > 0)
        self._note("accuracy_fake", logits["fake"] < 0)
        for kind, values in logits.items():
            self._note(f"logit_{kind}", values)
        self._note("gradient_penalty", penalty)
        told = ops.mean(ops.softplus(-logits["real"])) + ops.mean(ops.softplus(logits["fake"]))
        return told + self.params.gradient_penalty / 2 * penalty

    def decoder_loss(self, real: KerasTensor, features: KerasTensor, fakes: dict[str, KerasTensor]) -> KerasTensor:
        """To be taken for real, and to be near the image in features and pixels; `fakes`: reconstructions first."""
        seen = frozen(self.discriminator, fakes["image"])
        adversarial = ops.mean(ops.softplus(-seen["logit"]))
        count = ops.shape(seen["logit"])[0] // 2
        distance = _distance(features, seen["features"][:count])
        cross_entropy = ops.mean(reconstruction_loss(real[:count], fakes["logits"][:count]))
        self._note("cross_entropy", cross_entropy)
        self._note("feature_distance", distance)
        params = self.params
        return (
            params.adversarial_weight * adversarial
            + params.feature_weight * distance
            + params.cross_entropy_weight * cross_entropy
        )

    def encoder_loss(self, encoded: dict[str, KerasTensor], features: KerasTensor) -> KerasTensor:
        """KL and the distance in features, weighted as for the decoder; of the output of a call."""
        images = frozen(self.drawing, encoded["z"])["image"]
        distance = _distance(features, frozen(self.discriminator, images)["features"])
        kl = ops.mean(kl_divergence(encoded["z_mean"], encoded["z_log_var"]))
        self._note("kl", kl)
        return self.params.feature_weight * distance + self.params.kl_weight * kl

    def _note(self, name: str, values: KerasTensor) -> None:
        self.figures[name].update_state(ops.mean(ops.cast(values, "float32")))


def _distance(of_real: KerasTensor, features: KerasTensor) -> KerasTensor:
    """Of reconstructions from the first real images, averaged."""
    count = ops.shape(features)[0]
    return ops.mean(feature_distance(normalised(features, of_real), normalised(of_real[:count], of_real)))


def fixed(values: Any) -> Any:
    """The same, through which no gradient goes."""
    return ops.stop_gradient(values)


def frozen(model: keras.Model, inputs: KerasTensor) -> dict[str, KerasTensor]:
    """The outputs of a model whose weights are constants: a gradient goes to the inputs alone."""
    weights = [fixed(ops.convert_to_tensor(variable)) for variable in model.trainable_variables]
    others = [ops.convert_to_tensor(variable) for variable in model.non_trainable_variables]
    outputs: dict[str, KerasTensor] = model.stateless_call(weights, others, inputs)[0]
    return outputs
