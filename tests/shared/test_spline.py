"""The splines against SciPy's, and what a picture is that is drawn from a surface against closed forms."""

import math

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.special import expit

from pipeline.shared.spline import PIXELS, SIDE, Knots, basis, centres, over_picture, render, through_pixels

PLACES = np.linspace(0, 1, 101)
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


@pytest.mark.parametrize("knots", [over_picture(27), over_picture(6), PIXELS])
def test_values_and_slopes_are_those_of_scipys_b_splines(knots: Knots) -> None:
    values, slopes = basis(knots, PLACES, 0.0)
    for number, peak in enumerate(SIDE * knots.places):
        spline = BSpline.basis_element(peak + knots.spacing * np.arange(-2, 3), extrapolate=False)
        np.testing.assert_allclose(values[:, number], np.nan_to_num(spline(SIDE * PLACES)), atol=1e-12)
        np.testing.assert_allclose(slopes[:, number], np.nan_to_num(spline.derivative()(SIDE * PLACES)), atol=1e-12)


@pytest.mark.parametrize("knots", [over_picture(24), PIXELS])
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_the_splines_add_up_to_one_and_follow_a_straight_line(knots: Knots, pixel: float) -> None:
    inside = PLACES[np.abs(PLACES - 0.5) < 0.5 - pixel / SIDE]
    values, slopes = basis(knots, inside, pixel)
    np.testing.assert_allclose(values.sum(axis=1), 1)
    np.testing.assert_allclose(values @ knots.places, inside, atol=1e-12)
    np.testing.assert_allclose(slopes @ (SIDE * knots.places), 1)


def test_the_spline_through_pixels_has_their_values_and_follows_a_straight_line() -> None:
    values, _ = basis(PIXELS, centres(SIDE), 0.0)
    np.testing.assert_allclose(values @ through_pixels(), np.eye(SIDE), atol=1e-12)
    np.testing.assert_allclose(through_pixels() @ centres(SIDE), PIXELS.places, atol=1e-12)


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


def test_through_pixels_the_size_of_the_data_gives_the_logits_back() -> None:
    logits = np.random.default_rng(0).normal(-5, 10, (3, SIDE, SIDE))
    drawn = render(logits, PIXELS, centres(SIDE), centres(SIDE))
    np.testing.assert_allclose(drawn, expit(np.clip(logits, -10, 10)), atol=1e-12)
    assert np.abs(drawn - expit(logits)).max() < 5e-5


def test_softness_has_a_floor() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (1, SIDE, SIDE))
    places = centres(100)
    drawn = [render(logits, PIXELS, places, places, 0.28, softness) for softness in (0.0, 0.05, 0.06)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])
