"""Digits side by side in one PNG."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE

Pixels = NDArray[np.uint8]
_HEIGHT, _WIDTH = IMAGE_SHAPE


def tile(images: Pixels, columns: int) -> Pixels:
    """uint8 `[n, 28, 28]` row by row on one sheet, white on black; unused places stay black."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, *IMAGE_SHAPE), np.uint8)
    sheet[: len(images)] = images
    return sheet.reshape(rows, columns, _HEIGHT, _WIDTH).swapaxes(1, 2).reshape(rows * _HEIGHT, columns * _WIDTH)


def beside_originals(originals: Pixels, images: Pixels, columns: int) -> Pixels:
    """Rows of originals, each above the row of what was made of them, with a grey line between the pairs."""
    rows = []
    for start in range(0, len(images), columns):
        piece = slice(start, start + columns)
        pair = np.concatenate([tile(originals[piece], columns), tile(images[piece], columns)])
        rows += [pair, np.full((4, columns * _WIDTH), 96, np.uint8)]
    return np.concatenate(rows[:-1])


def save_png(sheet: Pixels, path: Path, scale: int = 2) -> None:
    """Write a sheet, each pixel `scale` times as large."""
    from PIL import Image  # noqa: PLC0415  (for jobs that draw alone)

    Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1)).save(path, format="PNG")
