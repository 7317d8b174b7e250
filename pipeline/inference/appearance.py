"""What the images look like that a model was trained on, so that others can be told from them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_PREFIX = "images_"
_USUAL = 2.0  # spreads by which the mean of a pile may differ: one digit alone differs by 1.3 from all
_BRIGHTER = 0.2  # at the border, of the range of grey levels


@dataclass(frozen=True)
class Appearance:
    """Figures of a pile of images, as shares of the range of grey levels."""

    mean: float
    """Of all pixels."""
    spread: float
    """Standard deviation of the images' means."""
    border: float
    """Mean of the outermost pixels."""

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Self:
        """Those of uint8 `[n, height, width]`, at least one image."""
        means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64) / 255
        edges = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
        border = np.concatenate([edge.reshape(-1) for edge in edges]).mean(dtype=np.float64) / 255
        return cls(float(means.mean()), float(means.std()), float(border))

    @classmethod
    def read(cls, facts: Mapping[str, str]) -> Self | None:
        """Those of the training images, from what a model's file says; None if it doesn't."""
        try:
            return cls(*(float(facts[_PREFIX + name]) for name in ("mean", "spread", "border")))
        except (KeyError, ValueError):
            return None

    def facts(self) -> dict[str, str]:
        """For the metadata of a model's file."""
        return {_PREFIX + name: f"{value:.4f}" for name, value in asdict(self).items()}

    def remark(self, images: NDArray[np.uint8]) -> str | None:
        """In what uint8 `[n, height, width]` look unlike these, and what may help; None if they don't."""
        if not len(images):
            return None
        found = Appearance.of(images)
        usual = self.spread * (_USUAL + 3 / math.sqrt(len(images)))
        bright, other = found.border > self.border + _BRIGHTER, abs(found.mean - self.mean) > usual
        if not (bright or other):
            return None
        if images.max() <= 1:
            advice = "no pixel is above 1 of 255: if 1 is full ink, say --range 0..1"
        elif bright:
            advice = "if the ink is dark on a light background, say --invert"
        else:
            advice = "their latents may mean little"
        return (
            f"the images look unlike those that the model was trained on: mean level {found.mean:.2f} "
            f"(theirs {self.mean:.2f}), at the border {found.border:.2f} ({self.border:.2f}); {advice}"
        )
