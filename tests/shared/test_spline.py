import math

import numpy as np
import pytest

from pipeline.shared.spline import PIXELS, SIDE, Knots, basis, centres, over_picture, render, through_pixels

SIZES = [28, 64, 280, 1080]


def smooth_logits(count: int = 20) -> np.ndarray:
    """Logits `[count, 28, 28]` of rings and blots with edges as wide as those of a VAE: some two pixels."""
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    generator = np.random.default_rng(0)
    rings = []
    for _ in range(count):
        centre, radius = generator.uniform(10, 18, 2), generator.uniform(4, 8)
        distance = np.hypot(y - centre[0], x - centre[1])
        rings.append(np.clip(2.5 * (2 - np.abs(distance - radius)), -8, 8))
    return np.array(rings)


@pytest.mark.parametrize("knots", [PIXELS, over_picture(24), over_picture(31)])
def test_splines_add_up_to_1_and_their_slopes_to_0(knots: Knots) -> None:
    values, slopes = basis(knots, centres(280), 0.1)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(slopes.sum(axis=1), 0, atol=1e-12)


def test_slopes_are_the_differences_of_values() -> None:
    knots, places, step = over_picture(27), np.linspace(0.1, 0.9, 200), 1e-6
    after, before = (basis(knots, places + shift / SIDE, 0.0)[0] for shift in (step, -step))
    np.testing.assert_allclose(basis(knots, places, 0.0)[1], (after - before) / (2 * step), atol=1e-8)


def test_the_spline_through_pixels_has_their_values_as_averages() -> None:
    np.testing.assert_allclose(basis(PIXELS, centres(SIDE), 1.0)[0] @ through_pixels(), np.eye(SIDE), atol=1e-9)


def test_at_the_size_of_the_data_the_logits_come_out_again() -> None:
    logits = smooth_logits()
    image = render(logits, PIXELS, centres(SIDE), centres(SIDE))
    np.testing.assert_allclose(image, 1 / (1 + np.exp(-logits)), atol=1e-9)


@pytest.mark.parametrize(("softness", "bound"), [(1.0, 0.004), (0.1, 0.007)])
def test_a_large_image_averages_to_the_small_one(softness: float, bound: float) -> None:
    logits = smooth_logits()
    small = render(logits, PIXELS, centres(SIDE), centres(SIDE), 1.0, softness)
    large = render(logits, PIXELS, centres(10 * SIDE), centres(10 * SIDE), 0.1, softness)
    averaged = large.reshape(len(logits), SIDE, 10, SIDE, 10).mean(axis=(2, 4))
    assert np.abs(averaged - small).mean() < bound


@pytest.mark.parametrize("softness", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("size", SIZES)
def test_an_edge_is_as_wide_as_the_logistic_says(size: int, softness: float) -> None:
    """Over a straight edge f = g x, ink is a logistic of scale sqrt(softness^2 + (pixel g / 2 pi)^2) / g.

    It rises from 10 to 90 % over 2 ln 9 of these. With g = 2, as in digits, at 1080 x 1080 and softness 0.1 that is
    under 6 pixels if g is at least 2.9 a 28th, and ten times as wide at softness 1.
    """
    gradient, knots = 3.0, over_picture(27)
    coefficients = np.tile(gradient * (SIDE * knots.places - SIDE / 2), (1, knots.count, 1))
    pixel = SIDE / size
    row = render(coefficients, knots, [0.5], centres(20 * size), pixel, softness)[0, 0]
    width = np.interp([0.1, 0.9], row, centres(20 * size) * size) @ [-1, 1]
    scale = math.hypot(softness, pixel * gradient / (2 * math.pi)) / gradient
    assert width == pytest.approx(2 * math.log(9) * scale / pixel, rel=0.01)
    if (size, softness) == (1080, 0.1):
        assert width < 6
    if (size, softness) == (1080, 1.0):
        assert width > 40


def test_softness_has_a_floor() -> None:
    logits = smooth_logits(1)
    places = centres(280)
    floor, below = (render(logits, PIXELS, places, places, 0.1, softness) for softness in (0.05, 0.0))
    np.testing.assert_array_equal(floor, below)
