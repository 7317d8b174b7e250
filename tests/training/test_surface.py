"""The layer of a decoder with a surface draws what the formula draws."""

import json

import keras
import numpy as np
import pytest
from scipy.special import expit

from pipeline.shared.spline import SIDE, centres, over_picture, render
from pipeline.training.model import build_decoder
from pipeline.training.surface import COEFFICIENTS


@pytest.mark.parametrize("filters", [[], [4, 2]])
def test_a_decoder_with_a_surface_draws_it_at_softness_1(filters: list[int]) -> None:
    keras.utils.set_random_seed(0)
    decoder = build_decoder(3, [8], filters, "gelu", surface=24)
    z = np.random.default_rng(0).normal(0, 3, (5, 3)).astype(np.float32)
    coefficients = keras.Model(decoder.input, decoder.get_layer(COEFFICIENTS).output).predict_on_batch(z)
    assert coefficients.shape == (5, 24, 24)
    expected = render(coefficients.astype(np.float64), over_picture(24), centres(SIDE), centres(SIDE))
    np.testing.assert_allclose(decoder.predict_on_batch(z)["image"], expected, atol=1e-6)
    logits = keras.Model(decoder.input, decoder.get_layer("logits").output).predict_on_batch(z)
    np.testing.assert_allclose(expit(logits), expected, atol=1e-6)


def test_it_is_read_back_in_safe_mode() -> None:
    decoder = build_decoder(2, [8], surface=27)
    config = json.loads(decoder.to_json())
    copy = keras.saving.deserialize_keras_object(config, safe_mode=True)
    copy.set_weights(decoder.get_weights())
    z = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(copy.predict_on_batch(z)["image"], decoder.predict_on_batch(z)["image"])
