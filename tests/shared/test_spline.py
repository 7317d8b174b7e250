"""The splines against SciPy's, and what a picture is that is drawn from a surface against closed forms."""

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.special import expit

from pipeline.shared.spline import PIXELS, SIDE, Knots, basis, centres, over_picture, render, through_pixels

PLACES = np.linspace(0, 1, 101)


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


@pytest.mark.parametrize("softness", [1.0, 0.1])
def test_a_straight_edge_is_as_wide_as_softness_and_pixel_make_it(softness: float) -> None:
    """f = 2 x: a logistic of scale sqrt(softness^2 + (2 pixel / 2 pi)^2) / 2, whose 10-90 % width is 2 ln 9 scales."""
    knots, size = over_picture(27), 1080
    line = np.broadcast_to(2 * SIDE * (knots.places - 0.5), (1, 27, 27))
    (image,) = render(line, knots, [0.5], centres(size), SIDE / size, softness)
    low, high = np.interp([0.1, 0.9], image[0], size * centres(size))
    scale = np.hypot(softness, SIDE / size / np.pi) / 2
    assert high - low == pytest.approx(2 * np.log(9) * scale * size / SIDE, rel=1e-2)


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
