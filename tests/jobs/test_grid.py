from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.jobs.grid import Pixels, beside_originals, save_png, tile


def flat(*levels: int) -> Pixels:
    """One image of each grey level."""
    return np.repeat(np.array(levels, np.uint8), 784).reshape(-1, 28, 28)


def test_tile_fills_row_by_row_and_leaves_the_rest_black() -> None:
    sheet = tile(flat(1, 2, 3, 4, 5), columns=3)
    assert sheet.shape == (2 * 28, 3 * 28)
    assert sheet[::28, ::28].tolist() == sheet[27::28, 27::28].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_tile_keeps_each_image_upright() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    assert np.array_equal(tile(image.repeat(2, axis=0), columns=2), np.hstack([image[0], image[0]]))


def test_each_original_stands_above_its_image_and_a_line_parts_the_pairs() -> None:
    sheet = beside_originals(flat(1, 2, 3), flat(11, 12, 13), columns=2)
    pair = 2 * 28
    assert sheet.shape == (pair + 4 + pair, 2 * 28)
    assert sheet[:pair:28, ::28].tolist() == [[1, 2], [11, 12]]
    assert sheet[pair + 4 :: 28, ::28].tolist() == [[3, 0], [13, 0]]
    assert np.unique(sheet[pair : pair + 4]).tolist() == [96]


@pytest.mark.parametrize("scale", [1, 3])
def test_png_holds_each_pixel_scale_times(scale: int, tmp_path: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 256, (28, 56), np.uint8)
    save_png(sheet, tmp_path / "grid.png", scale)
    with Image.open(tmp_path / "grid.png") as png:
        assert png.mode == "L"
        assert np.array_equal(np.asarray(png), np.kron(sheet, np.ones((scale, scale), np.uint8)))
