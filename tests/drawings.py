"""Pictures of digits as a camera or a scanner gives them, made of digits of MNIST."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def photograph(digit: Pixels, seed: int, height: int = 220, width: int = 300) -> Pixels:
    """A digit in dark ink on unevenly lit, grainy paper, somewhere in the picture and a little blurred."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(90, 150))
    strokes = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float64) / 255
    ink = np.zeros((height, width))
    top, left = int(rng.integers(5, height - side - 5)), int(rng.integers(5, width - side - 5))
    ink[top : top + side, left : left + side] = strokes
    across = np.linspace(0, rng.uniform(-1, 1), width) + np.linspace(0, rng.uniform(-1, 1), height)[:, None]
    paper = 205 + 35 * across + rng.normal(0, 5, (height, width))
    return cv2.GaussianBlur(np.clip(paper - ink * 150, 0, 255).astype(np.uint8), (3, 3), 0.8)
