"""How unusual an image is to a trained autoencoder: the excess, at the mean of its latents.

    excess = sum over pixels of KL(Bernoulli(x) || Bernoulli(p)) + KL(q(z|x) || p(z))
    score = excess / sqrt(1 + sum over pixels of x)

x are the grey levels in [0, 1] and p what the decoder makes of z_mean. The first term is the cross-entropy of the
classic objective less the entropy that the grey levels have by themselves: 0 where the reconstruction is perfect. With
that entropy in it, the negative ELBO ranks plain strange images below rich usual ones, as likelihoods do (Nalisnick
et al. 2019, arXiv:1810.09136). The more ink an image has, the more excess is usual; it grows nearly as the root.
docs/scores.md has the figures, and those of other scores that were tried.
"""

from __future__ import annotations

import keras
from keras import KerasTensor, layers, ops

from pipeline.shared.interface import PIXELS, SCORER
from pipeline.training.model import kl_divergence, reconstruction_loss
from pipeline.training.surface import LOGITS

_TINY = 1e-30  # stands for 0 within a logarithm that is multiplied by 0


def entropy(image: KerasTensor) -> KerasTensor:
    """Of grey levels in [0, 1] as probabilities of ink, in nats, summed over pixels: `[batch, 28, 28]` to `[batch]`."""
    x = ops.reshape(image, (-1, PIXELS))
    ink, paper = (share * ops.log(ops.maximum(share, _TINY)) for share in (x, 1 - x))
    return -ops.sum(ink + paper, axis=-1)


@keras.saving.register_keras_serializable("pipeline")
class Scores(layers.Layer):  # type: ignore[misc]
    """From images, their Gaussians and the logits of their reconstructions to `excess`, its two parts, and `score`."""

    def call(self, image: KerasTensor, parts: dict[str, KerasTensor]) -> dict[str, KerasTensor]:
        """`image`: uint8 `[batch, 28, 28]`; the results: float32 `[batch]`, none below 0."""
        x = ops.cast(image, "float32") / 255
        reconstruction = ops.relu(reconstruction_loss(x, parts[LOGITS]) - entropy(x))  # rounding may leave it below
        kl = ops.relu(kl_divergence(parts["z_mean"], parts["z_log_var"]))
        excess = reconstruction + kl
        score = excess / ops.sqrt(1 + ops.sum(x, axis=(1, 2)))
        return {"excess": excess, "reconstruction": reconstruction, "kl": kl, "score": score}


def build_reconstruction(encoder: keras.Model, decoder: keras.Model) -> keras.Model:
    """Images to what a score is made of.

    Input `image`: uint8 `[batch, 28, 28]`. Outputs: `z_mean`, `z_log_var`, float32 `[batch, latent_dim]`, and `logits`
    of the reconstruction from z_mean, float32 `[batch, 28, 28]`.
    """
    logits = keras.Model(decoder.input, decoder.get_layer(LOGITS).output)
    latents = encoder(encoder.input)
    return keras.Model(encoder.input, {**latents, LOGITS: logits(latents["z_mean"])}, name=SCORER.role)


def build_scorer(encoder: keras.Model, decoder: keras.Model) -> keras.Model:
    """Images to scores.

    Input `image`: uint8 `[batch, 28, 28]`. Outputs: `excess`, `reconstruction` and `kl`, in nats, and `score`, all
    float32 `[batch]`.
    """
    parts = build_reconstruction(encoder, decoder)
    scores = Scores(dtype="float32", name="scores")(parts.input, parts.output)
    return keras.Model(parts.input, scores, name=SCORER.role)
