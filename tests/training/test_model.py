import keras
import numpy as np
import pytest
from keras import ops

from pipeline.interface import IMAGE_SHAPE
from pipeline.training.model import VAE, Sampling, build_decoder, build_encoder, kl_divergence, reconstruction_loss


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
    z = np.asarray(Sampling(seed=0)(mean, log_var))
    np.testing.assert_allclose(z.mean(axis=0), [1, -2], atol=5 * 2 / np.sqrt(rows))
    np.testing.assert_allclose(z.std(axis=0), [0.5, 2], rtol=0.02)


def test_sampling_repeats_with_its_seed_and_differs_between_calls() -> None:
    zeros = np.zeros((8, 2), np.float32)
    one, other = Sampling(seed=3), Sampling.from_config(Sampling(seed=3).get_config())
    first = np.asarray(one(zeros, zeros))
    np.testing.assert_array_equal(first, other(zeros, zeros))
    assert not np.array_equal(first, one(zeros, zeros))


@pytest.mark.parametrize(("latent_dim", "units"), [(1, []), (2, [16]), (20, [32, 16])])
def test_halves_have_the_promised_shapes(latent_dim: int, units: list[int]) -> None:
    encoder, decoder = build_encoder(latent_dim, units), build_decoder(latent_dim, units)
    latents = encoder(np.zeros((3, *IMAGE_SHAPE), np.uint8))
    assert {name: tuple(value.shape) for name, value in latents.items()} == {
        "z_mean": (3, latent_dim),
        "z_log_var": (3, latent_dim),
    }
    image = np.asarray(decoder(latents["z_mean"])["image"])
    assert image.shape == (3, *IMAGE_SHAPE)
    assert image.min() >= 0
    assert image.max() <= 1


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
