"""Where the gradients go: Larsen et al. (2016), arXiv:1512.09300, algorithm 1."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from pipeline.params import Sharpen
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.discriminator import feature_distance, normalised
from pipeline.training.model import build_decoder, build_encoder, kl_divergence, reconstruction_loss
from pipeline.training.vaegan import VAEGAN
from tests.training.runs import DEFAULTS

FROZEN = DEFAULTS.sharpen
TRAINED = FROZEN.model_copy(update={"encoder": "trained", "kl_weight": 0.5})


def make(params: Sharpen) -> VAEGAN:
    keras.utils.set_random_seed(0)
    return VAEGAN(build_encoder(2, [16]), build_decoder(2, [16]), params)


def batch(rows: int = 16) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (rows, *IMAGE_SHAPE), np.uint8)
    return images, generator.standard_normal((rows // 2, 2), np.float32)


def networks(vaegan: VAEGAN) -> dict[str, list[keras.Variable]]:
    parts = {name: getattr(vaegan, name) for name in ("discriminator", "decoder", "encoder")}
    return {name: [variable for layer in part.layers for variable in layer.weights] for name, part in parts.items()}


def tensors(variables: list[keras.Variable]) -> list[Any]:
    return [variable.value for variable in variables]


@pytest.mark.parametrize(("params", "learn"), [(FROZEN, 2), (TRAINED, 3)])
def test_each_loss_reaches_every_weight_of_its_network_and_no_other(params: Sharpen, learn: int) -> None:
    vaegan = make(params)
    with tf.GradientTape(persistent=True) as tape:
        for variables in networks(vaegan).values():
            tape.watch(tensors(variables))
        losses = vaegan.losses_by_network(vaegan(batch()))
    assert list(losses) == ["discriminator", "decoder", "encoder"][:learn]
    for loss, value in losses.items():
        for network, variables in networks(vaegan).items():
            found = tape.gradient(value, tensors(variables))
            reached = [gradient is not None and bool(np.any(gradient)) for gradient in found]
            assert reached == [network == loss] * len(variables), (loss, network)


def test_the_gradient_of_their_sum_gives_each_network_what_the_paper_does() -> None:
    """The paper's losses written down plainly, each differentiated by the weights of one network alone."""
    vaegan, (images, latents) = make(TRAINED), batch()
    params, real, half = TRAINED, images.astype(np.float32) / 255, len(latents)
    owners = networks(vaegan)
    with tf.GradientTape(persistent=True) as tape:
        called = vaegan((images, latents))
        together = sum(vaegan.losses_by_network(called).values())

        fakes = vaegan.drawing(ops.concatenate([called["z"], latents]))
        of_real, of_fake = vaegan.discriminator(real), vaegan.discriminator(fakes["image"])
        features = [normalised(values, of_real["features"]) for values in (of_fake["features"], of_real["features"])]
        distance = ops.mean(feature_distance(features[0][:half], features[1][:half]))
        told = ops.mean(-ops.log_sigmoid(of_real["logit"])) + ops.mean(-ops.log_sigmoid(-of_fake["logit"]))
        with tf.GradientTape() as inner:
            few = tf.constant(real[:8])
            inner.watch(few)
            total = tf.reduce_sum(vaegan.discriminator(few)["logit"])
        penalty = tf.reduce_mean(tf.reduce_sum(inner.gradient(total, few) ** 2, axis=(1, 2)))
        plain = {
            "discriminator": told + params.gradient_penalty / 2 * penalty,
            "decoder": params.adversarial_weight * ops.mean(-ops.log_sigmoid(of_fake["logit"]))
            + params.feature_weight * distance
            + params.cross_entropy_weight * ops.mean(reconstruction_loss(real[:half], fakes["logits"][:half])),
            "encoder": params.feature_weight * distance
            + params.kl_weight * ops.mean(kl_divergence(called["z_mean"], called["z_log_var"])),
        }
    for network, variables in owners.items():
        found = tape.gradient(together, tensors(variables))
        for one, expected in zip(found, tape.gradient(plain[network], tensors(variables)), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-6, err_msg=network)


def test_the_average_follows_the_decoder_and_is_what_generates() -> None:
    params = FROZEN.model_copy(update={"average": 0.9})
    vaegan = make(params)
    expected = vaegan.decoder.get_weights()
    for before, average in zip(expected, vaegan.generator_weights(), strict=True):
        np.testing.assert_array_equal(average, before)
    vaegan.compile(keras.optimizers.Adam(0.01))
    for _ in range(3):
        expected = [0.9 * a + 0.1 * w for a, w in zip(expected, vaegan.decoder.get_weights(), strict=True)]
        vaegan.train_on_batch(batch())
    for found, average in zip(vaegan.generator_weights(), expected, strict=True):
        np.testing.assert_allclose(found, average, atol=1e-6)


@pytest.mark.parametrize(("params", "moves"), [(FROZEN, False), (TRAINED, True)])
def test_a_frozen_encoder_stays_what_it_was(params: Sharpen, moves: bool) -> None:
    vaegan = make(params)
    before = vaegan.encoder.get_weights()
    vaegan.compile(keras.optimizers.Adam(0.01))
    vaegan.train_on_batch(batch())
    same = [np.array_equal(a, b) for a, b in zip(before, vaegan.encoder.get_weights(), strict=True)]
    assert not any(same) if moves else all(same)


def test_figures_are_those_of_the_step() -> None:
    vaegan, (images, latents) = make(FROZEN), batch()
    vaegan.losses_by_network(vaegan((images, latents)))
    figures = {name: float(metric.result()) for name, metric in vaegan.figures.items()}
    logits = np.asarray(vaegan.discriminator(images.astype(np.float32) / 255)["logit"])
    assert figures["logit_real"] == pytest.approx(logits.mean(), abs=1e-5)
    assert figures["accuracy_real"] == (logits > 0).mean()
    assert 500 < figures["cross_entropy"] < 600  # of noise: 784 log 2 = 543
