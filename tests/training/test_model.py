import keras
import numpy as np
import pytest
from keras import ops

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.model import (
    VAE,
    Sampling,
    build_decoder,
    build_encoder,
    importance_weighted_bound,
    kl_divergence,
    log_ratio,
    reconstruction_loss,
)


def test_kl_divergence_of_the_prior_from_itself_is_zero() -> None:
    zeros = np.zeros((3, 5), np.float32)
    np.testing.assert_array_equal(kl_divergence(zeros, zeros), np.zeros(3))


def test_kl_divergence_agrees_with_monte_carlo() -> None:
    mean, log_var = np.array([[0.7, -1.2]], np.float32), np.array([[-0.5, 0.4]], np.float32)
    z = mean + np.exp(log_var / 2) * np.random.default_rng(0).standard_normal((400_000, 2))
    log_q = -0.5 * (log_var + (z - mean) ** 2 / np.exp(log_var))
    log_p = -0.5 * z**2
    draws = (log_q - log_p).sum(axis=1)
    standard_error = draws.std() / np.sqrt(len(draws))
    assert float(kl_divergence(mean, log_var)[0]) == pytest.approx(draws.mean(), abs=5 * standard_error)


def test_reconstruction_loss_is_the_cross_entropy_summed_over_pixels() -> None:
    generator = np.random.default_rng(0)
    image = generator.random((4, *IMAGE_SHAPE))
    logits = generator.normal(size=(4, *IMAGE_SHAPE))
    p = 1 / (1 + np.exp(-logits))
    expected = -(image * np.log(p) + (1 - image) * np.log(1 - p)).sum(axis=(1, 2))
    found = reconstruction_loss(image.astype(np.float32), logits.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_reconstruction_loss_stays_finite_where_the_sigmoid_saturates() -> None:
    image = np.ones((1, *IMAGE_SHAPE), np.float32)
    found = float(reconstruction_loss(image, np.full((1, *IMAGE_SHAPE), -200, np.float32))[0])
    assert found == pytest.approx(200 * 784)


def test_sampling_draws_from_the_given_gaussian() -> None:
    rows = 100_000
    mean = np.tile(np.float32([1.0, -2.0]), (rows, 1))
    log_var = np.tile(np.log(np.float32([0.25, 4.0])), (rows, 1))
    z = np.asarray(Sampling(seed=0)(mean, log_var))[:, 0]
    np.testing.assert_allclose(z.mean(axis=0), [1, -2], atol=5 * 2 / np.sqrt(rows))
    np.testing.assert_allclose(z.std(axis=0), [0.5, 2], rtol=0.02)


def test_sampling_repeats_with_its_seed_and_differs_between_calls() -> None:
    zeros = np.zeros((8, 2), np.float32)
    one, other = Sampling(seed=3), Sampling.from_config(Sampling(seed=3).get_config())
    first = np.asarray(one(zeros, zeros))
    np.testing.assert_array_equal(first, other(zeros, zeros))
    assert not np.array_equal(first, one(zeros, zeros))


def test_sampling_draws_several_times_from_each_gaussian() -> None:
    mean, log_var = np.float32([[5, -5], [0, 3]]), np.float32([[-20, -20], [0, 0]])
    z = np.asarray(Sampling(seed=0, samples=1000)(mean, log_var))
    assert z.shape == (2, 1000, 2)
    np.testing.assert_allclose(z[0], np.tile(mean[0], (1000, 1)), atol=1e-3)
    np.testing.assert_allclose(z[1].mean(axis=0), mean[1], atol=5 / np.sqrt(1000))


def test_the_mean_log_ratio_is_minus_the_kl() -> None:
    mean, log_var = np.float32([[0.7, -1.2]]), np.float32([[-0.5, 0.4]])
    ratios = np.asarray(log_ratio(Sampling(seed=0, samples=400_000)(mean, log_var), mean, log_var))[0]
    expected = -float(kl_divergence(mean, log_var)[0])
    assert ratios.mean() == pytest.approx(expected, abs=5 * ratios.std() / np.sqrt(len(ratios)))


def test_the_importance_weighted_bound_is_the_log_of_the_mean_weight() -> None:
    weights = np.float32([[0.1, 0.2, 0.3], [1e-30, 1e-30, 4e-30]])
    found = np.asarray(importance_weighted_bound(np.log(weights)))
    np.testing.assert_allclose(found, np.log(weights.mean(axis=1)), rtol=1e-6)
    # Of one sample it is that sample's weight, and so the bound of Kingma & Welling.
    np.testing.assert_allclose(importance_weighted_bound(np.log(weights[:, :1])), np.log(weights[:, 0]), rtol=1e-6)


SHAPES = [(1, [], []), (2, [16], []), (20, [32, 16], []), (2, [], [4]), (5, [16], [4, 8])]


@pytest.mark.parametrize(("latent_dim", "units", "filters"), SHAPES)
def test_halves_have_the_promised_shapes(latent_dim: int, units: list[int], filters: list[int]) -> None:
    encoder = build_encoder(latent_dim, units, filters, "gelu")
    decoder = build_decoder(latent_dim, units, filters, "gelu")
    latents = encoder(np.zeros((3, *IMAGE_SHAPE), np.uint8))
    assert {name: tuple(value.shape) for name, value in latents.items()} == {
        "z_mean": (3, latent_dim),
        "z_log_var": (3, latent_dim),
    }
    image = np.asarray(decoder(latents["z_mean"])["image"])
    assert image.shape == (3, *IMAGE_SHAPE)
    assert image.min() >= 0
    assert image.max() <= 1


def test_decoder_joins_channels_to_the_pixels_of_their_patch() -> None:
    decoder = build_decoder(1, [], [1])
    spread, pixels = decoder.get_layer("spread"), decoder.get_layer("pixels")
    spread.set_weights([np.zeros_like(spread.get_weights()[0]), np.arange(7 * 7, dtype=np.float32)])
    centre = np.zeros((3, 3, 1, 16), np.float32)
    centre[1, 1, 0] = np.arange(16)  # the channels become the pixels of each 4 x 4 patch, row by row
    pixels.set_weights([centre, np.zeros(16, np.float32)])
    logits = keras.Model(decoder.input, decoder.get_layer("logits").output)
    image = np.asarray(logits(np.zeros((1, 1), np.float32)))[0]
    np.testing.assert_allclose(image[4:8, 8:12], (7 + 2) * np.arange(16).reshape(4, 4), rtol=1e-6)


def test_encoder_cuts_images_into_the_patches_that_the_decoder_joins() -> None:
    encoder = build_encoder(1, [], [4])
    patches = keras.Model(encoder.input, encoder.get_layer("channels").output)
    images = np.random.default_rng(0).integers(0, 256, (2, *IMAGE_SHAPE), np.uint8)
    expected = [[image[4 * r : 4 * r + 4, 4 * c : 4 * c + 4] for r in range(7) for c in range(7)] for image in images]
    np.testing.assert_allclose(patches(images), np.reshape(expected, (2, 7, 7, 16)) / 255, rtol=1e-6)


def test_a_convolution_is_added_to_its_input_where_channels_are_as_many() -> None:
    assert [layer.name for layer in build_encoder(1, [], [4, 4, 8]).layers if "sum" in layer.name] == ["encoder_sum_2"]
    assert [layer.name for layer in build_decoder(1, [], [4, 4, 8]).layers if "sum" in layer.name] == ["decoder_sum_1"]


def test_encoder_scales_bytes_to_grey_levels() -> None:
    encoder = build_encoder(1, [])
    white = np.full((1, *IMAGE_SHAPE), 255, np.uint8)
    kernel, bias = encoder.get_layer("z_mean").get_weights()
    np.testing.assert_allclose(encoder(white)["z_mean"], [kernel.sum(axis=0) + bias], rtol=1e-4, atol=1e-5)


def test_loss_is_reconstruction_plus_kl_and_falls() -> None:
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (64, *IMAGE_SHAPE), np.uint8)
    vae = VAE(build_encoder(2, [16]), build_decoder(2, [16]), seed=0)
    vae.compile(optimizer=keras.optimizers.Adam(1e-3))
    history = vae.fit(images, batch_size=20, epochs=5, verbose=0).history  # the last batch holds 4
    np.testing.assert_allclose(history["loss"], np.add(history["reconstruction"], history["kl"]), rtol=1e-6)
    assert history["loss"][-1] < history["loss"][0]


def test_every_weight_learns() -> None:
    vae = VAE(build_encoder(2, [8]), build_decoder(2, [8]), seed=0)
    vae.compile(optimizer="adam")
    images = np.random.default_rng(0).integers(0, 256, (16, *IMAGE_SHAPE), np.uint8)
    vae.predict_on_batch(images)
    before = [ops.convert_to_numpy(weight).copy() for weight in vae.trainable_variables]
    vae.train_on_batch(images)
    assert len(before) == 10
    changed = [not np.array_equal(old, new) for old, new in zip(before, vae.trainable_variables, strict=True)]
    assert all(changed)


def weights_and_gradients(vae: VAE, images: np.ndarray) -> tuple[list[keras.Variable], list[np.ndarray]]:
    """The loss's derivatives as the optimizer sees them: one step of plain descent with rate 1."""
    vae.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False, run_eagerly=True)
    before = [np.asarray(weight) for weight in vae.trainable_variables]
    rewind(vae)
    vae.train_on_batch(images)
    after = [np.asarray(weight) for weight in vae.trainable_variables]
    for weight, value in zip(vae.trainable_variables, before, strict=True):
        weight.assign(value)
    return vae.trainable_variables, [old - new for old, new in zip(before, after, strict=True)]


def rewind(vae: VAE) -> None:
    """The same draws once more."""
    vae.sampling.seed_generator.state.assign(np.array([0, 0]))


def loss_of(vae: VAE, images: np.ndarray) -> float:
    rewind(vae)
    return float(vae.compute_loss(y_pred=vae(images), training=True))


@pytest.mark.parametrize(("samples", "kl_weight"), [(1, 1.0), (1, 0.5), (4, 1.0)])
def test_gradients_agree_with_finite_differences(samples: int, kl_weight: float) -> None:
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (4, *IMAGE_SHAPE), np.uint8)
    halves = build_encoder(2, [6], activation="tanh"), build_decoder(2, [6], activation="tanh")
    vae = VAE(*halves, seed=0, samples=samples, kl_weight=kl_weight)
    vae(images)
    weights, gradients = weights_and_gradients(vae, images)
    generator = np.random.default_rng(1)
    for weight, gradient in zip(weights, gradients, strict=True):
        value = np.asarray(weight)
        direction = generator.standard_normal(value.shape).astype(np.float32)
        step = 1e-2 / np.linalg.norm(direction)
        losses = []
        for sign in (1, -1):
            weight.assign(value + sign * step * direction)
            losses.append(loss_of(vae, images))
        weight.assign(value)
        slope = (losses[0] - losses[1]) / (2 * step)
        # float32 losses near 500 have steps of 3e-5.
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.02, abs=float(6e-5 / step))


def test_the_kl_weight_grows_with_the_steps_and_counts_in_training_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *IMAGE_SHAPE), np.uint8)
    vae = VAE(build_encoder(2, []), build_decoder(2, []), seed=0, kl_weight=2.0, kl_warmup_steps=4)
    vae.compile(optimizer="sgd")
    outputs = vae(images)
    kl = float(ops.mean(kl_divergence(outputs["z_mean"], outputs["z_log_var"])))
    unweighted = float(vae.compute_loss(y_pred=outputs, training=False))
    for step, weight in [(0, 0.0), (1, 0.5), (4, 2.0), (9, 2.0)]:
        vae.step.assign(step)
        found = float(vae.compute_loss(y_pred=outputs, training=True))
        assert found == pytest.approx(unweighted + (weight - 1) * kl, rel=1e-5)


def test_binarised_pixels_are_drawn_afresh_for_encoder_and_loss_alike() -> None:
    images = np.full((2, *IMAGE_SHAPE), 128, np.uint8)
    vae = VAE(build_encoder(2, []), build_decoder(2, []), seed=0, binarise=True)
    first, second = (vae(images) for _ in range(2))
    for outputs in (first, second):
        image = np.asarray(outputs["image"])
        assert set(np.unique(image)) == {0, 1}
        expected = vae.encoder((255 * image).astype(np.uint8))["z_mean"]
        np.testing.assert_allclose(outputs["z_mean"], expected, rtol=1e-5)
    assert not np.array_equal(first["image"], second["image"])


def test_a_checkpoint_has_a_place_for_every_variable_that_a_step_changes() -> None:
    """Random states and the count of steps too, or a resumed run would end with other bytes."""
    vae = VAE(build_encoder(2, [16]), build_decoder(2, [16]), seed=0, kl_warmup_steps=10, binarise=True)
    vae.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (20, *IMAGE_SHAPE), np.uint8)
    vae.fit(images, batch_size=10, verbose=0)
    before = [np.asarray(variable).copy() for variable in vae.variables]
    vae.fit(images, batch_size=10, verbose=0)
    kept = {id(variable) for variable in [*vae.trained_variables(), *vae.optimizer.variables, *vae.metrics_variables]}
    changed = [
        variable for variable, old in zip(vae.variables, before, strict=True) if not np.array_equal(variable, old)
    ]
    assert len(changed) > len(vae.encoder.variables) + len(vae.decoder.variables)
    assert [variable.path for variable in changed if id(variable) not in kept] == []
    assert id(vae.pixel_seed.state) in {id(variable) for variable in changed}
