"""Colours become the grey levels that a formula states; other sizes keep their proportions."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.sources.pixels import fit, misfit, shape, shape_all, to_grey
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Pixels

COLOURS = arrays(np.uint8, st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([3, 4])))


@given(COLOURS)
def test_grey_is_the_luma_of_bt_601_on_paper_that_shows_it(colours: Pixels) -> None:
    luma = colours[..., :3] @ [0.299, 0.587, 0.114]
    alpha = colours[..., 3] / 255 if colours.shape[-1] == 4 else np.ones(colours.shape[:-1])
    for image, level, weight in zip(colours, luma, alpha, strict=True):
        mean = (level * weight).sum() / weight.sum() if weight.any() else 255
        papers = [paper for paper, fits in ((255, mean < 128.5), (0, mean > 127.5)) if fits]
        errors = [np.abs(to_grey(image) - weight * level - (1 - weight) * paper).max() for paper in papers]
        assert min(errors) <= (0.5 if image.shape[-1] == 3 else 1) + 1e-9
    assert np.array_equal(to_grey(colours), np.array([*map(to_grey, colours)]).reshape(colours.shape[:-1]))


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (127, 255), (128, 0), (255, 0)])
def test_ink_on_nothing_stays_visible(ink: int, paper: int) -> None:
    drawing = np.full((1, 9, 9, 4), 200, np.uint8)  # whatever lies below full transparency
    drawing[..., 3] = 0
    drawing[:, 3:6, 3:6] = [ink, ink, ink, 255]
    expected = np.full((9, 9), paper)
    expected[3:6, 3:6] = ink
    assert np.array_equal(to_grey(drawing)[0], expected)


def test_an_image_of_nothing_is_empty() -> None:
    assert not to_grey(np.zeros((2, 2, 4), np.uint8)).any()


@given(arrays(np.uint8, (3, 3, 1)))
def test_equal_channels_are_that_grey(grey: Pixels) -> None:
    assert np.array_equal(to_grey(grey), grey[..., 0])
    assert np.array_equal(to_grey(np.repeat(grey, 3, axis=-1)), grey[..., 0])
    opaque = np.concatenate([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    assert np.array_equal(to_grey(opaque), grey[..., 0])


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, lambda image: image),
        ({"invert": True}, lambda image: 255 - image),
        ({"transpose": True}, lambda image: image.T),
        ({"invert": True, "transpose": True, "resize": True}, lambda image: 255 - image.T),
    ],
)
def test_an_image_is_shaped_as_the_reader_chose(
    choices: dict[str, bool], expected: Callable[[Pixels], Pixels], images: Pixels
) -> None:
    reading = Reading(**choices)
    assert np.array_equal(shape(images[0], reading), expected(images[0]))
    assert np.array_equal(shape_all(images, reading)[0], np.array([*map(expected, images)]))
    assert shape_all(images[:0], reading)[0].shape == (0, 28, 28)


def test_paper_is_inverted_before_background_is_padded() -> None:
    wide = np.full((14, 28), 55, np.uint8)
    assert shape(wide, Reading(invert=True, resize=True))[:, 0].tolist() == [0] * 7 + [200] * 14 + [0] * 7


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
