import numpy as np
import pytest

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.discriminator import BatchDeviation, build_discriminator, feature_distance, normalised


def test_images_become_logits_and_features() -> None:
    images = np.random.default_rng(0).random((5, *IMAGE_SHAPE), np.float32)
    found = build_discriminator().predict_on_batch(images)
    assert found["logit"].shape == (5,)
    assert found["features"].shape == (5, 14, 14, 48)


def test_the_size_is_the_one_of_its_layers() -> None:
    """3 x 3 x 4 x 24, 3 x 3 x 24 x 48 and 3 x 3 x 48 x 48 with biases; 7 x 7 x 48 and one more to 128, and 128 to 1."""
    convolutions = (36 + 1) * 24 + (9 * 24 + 1) * 48 + (9 * 48 + 1) * 48
    assert build_discriminator().count_params() == convolutions + (49 * 48 + 1 + 1) * 128 + 128 + 1


def test_it_tells_a_batch_of_one_image_from_one_of_many() -> None:
    values = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    found = np.asarray(BatchDeviation()(values))
    np.testing.assert_array_equal(found[:, :10], values)
    np.testing.assert_allclose(found[:, 10], np.full(6, values.std(axis=0).mean()), rtol=1e-5)
    alike = np.asarray(BatchDeviation()(np.tile(values[:1], (6, 1))))
    np.testing.assert_allclose(alike[:, 10], np.zeros(6), atol=1e-3)


def test_the_distance_in_features_is_half_the_squared_one_in_deviations() -> None:
    generator = np.random.default_rng(0)
    scale = np.arange(1, 5, dtype=np.float32)
    real, other = (scale * generator.normal(size=(50, 3, 3, 4)).astype(np.float32) for _ in range(2))
    found = np.asarray(feature_distance(normalised(other, real), normalised(real, real)))
    deviation = real.std(axis=(0, 1, 2))
    np.testing.assert_allclose(found, 0.5 * (((other - real) / deviation) ** 2).sum(axis=(1, 2, 3)), rtol=1e-4)
    assert found.mean() == pytest.approx(36, rel=0.1)  # of independent ones, the number of features
