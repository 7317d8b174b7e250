import numpy as np

from pipeline.data.binarise import binarise


def test_pixels_are_drawn_with_the_probability_of_their_grey_level() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 20_000, axis=1)
    ink = binarise(levels, seed=3)
    assert ink.dtype == np.uint8
    assert set(np.unique(ink)) == {0, 255}
    share = levels[:, 0] / 255
    deviations = np.abs((ink > 0).mean(axis=1) - share) - 5 * np.sqrt(share * (1 - share) / 20_000)
    assert deviations.max() <= 0  # black and white themselves are certain
    assert (binarise(levels, seed=3) == ink).all()
    assert (binarise(levels, seed=4) != ink).any()
