"""Colours become the grey levels that a formula states; other sizes keep their proportions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.sources.pixels import fit, misfit, to_grey
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Pixels

COLOURS = arrays(np.uint8, st.tuples(st.integers(0, 9), st.sampled_from([3, 4])))


@given(COLOURS)
def test_grey_is_the_luma_of_bt_601_on_black(colours: Pixels) -> None:
    alpha = colours[:, 3] / 255 if colours.shape[1] == 4 else np.ones(len(colours))
    luma = colours[:, :3] @ [0.299, 0.587, 0.114]
    assert np.abs(to_grey(colours) - alpha * luma).max(initial=0) <= (0.5 if colours.shape[1] == 3 else 1) + 1e-9


@given(arrays(np.uint8, (9, 1)))
def test_equal_channels_are_that_grey(grey: Pixels) -> None:
    assert np.array_equal(to_grey(grey), grey[:, 0])
    assert np.array_equal(to_grey(np.repeat(grey, 3, axis=1)), grey[:, 0])
    opaque = np.concatenate([grey, grey, grey, np.full_like(grey, 255)], axis=1)
    assert np.array_equal(to_grey(opaque), grey[:, 0])


def test_an_image_is_padded_to_a_square_in_its_middle() -> None:
    wide = np.full((14, 56), 200, np.uint8)
    expected = np.zeros((28, 28), np.uint8)
    expected[10:18] = np.array([100, *[200] * 6, 100])[:, None]  # 21 rows of padding end in the middle of a pixel
    assert np.array_equal(fit(wide), expected)
    assert np.array_equal(fit(wide.T), expected.T)


@pytest.mark.parametrize("side", [1, 7, 28, 100])
def test_a_plain_square_stays_plain(side: int) -> None:
    assert np.array_equal(fit(np.full((side, side), 77, np.uint8)), np.full((28, 28), 77))


@pytest.mark.parametrize(
    ("height", "width", "resize", "reason"),
    [
        (28, 28, False, None),
        (28, 28, True, None),
        (28, 27, True, None),
        (28, 27, False, "is 27 x 28 pixels, expected 28 x 28; --resize fits it"),
        (0, 9, True, "is 9 x 0 pixels, expected a side of 1 to 8,192"),
        (9, 9000, True, "is 9,000 x 9 pixels, expected a side of 1 to 8,192"),
    ],
)
def test_sizes_that_fit(height: int, width: int, resize: bool, reason: str | None) -> None:
    assert misfit(height, width, Reading(resize=resize)) == reason
