"""Grey levels to ink and paper."""

import numpy as np
from numpy.typing import NDArray

_STREAM = 2  # random numbers apart from those that the same seed gives to draws of latents


def binarise(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Each pixel drawn once: 255 with probability grey level / 255, else 0. uint8 of any shape to the same."""
    generator = np.random.default_rng([seed, 0, _STREAM])
    # Of the 255 levels below it, a pixel is above as many as its own level.
    ink = generator.integers(0, 255, images.shape, np.uint8) < images
    return ink.astype(np.uint8) * np.uint8(255)
