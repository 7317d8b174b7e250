"""Digits side by side in one PNG."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def tile(images: Pixels, columns: int) -> Pixels:
    """uint8 `[n, height, width]` row by row on one sheet, white on black; unused places stay black."""
    rows, (height, width) = -(-len(images) // columns), images.shape[1:]
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[: len(images)] = images
    return sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def beside_originals(originals: Pixels, images: Pixels, columns: int) -> Pixels:
    """Rows of originals, each above the row of what was made of them, with a grey line between the pairs."""
    rows = []
    for start in range(0, len(images), columns):
        piece = slice(start, start + columns)
        pair = np.concatenate([tile(originals[piece], columns), tile(images[piece], columns)])
        rows += [pair, np.full((images.shape[1] // 7, pair.shape[1]), 96, np.uint8)]
    return np.concatenate(rows[:-1])


def save_png(sheet: Pixels, path: Path, scale: int = 2) -> None:
    """Write a sheet, each pixel `scale` times as large."""
    from PIL import Image  # noqa: PLC0415  (for jobs that draw alone)

    Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1)).save(path, format="PNG")
