"""What score is usual: that of images which were held out in training, so that any other becomes a percentile."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ALL = "all"
QUANTILES = 1001
_FACT, _COUNT = "score_quantiles", "score_images"
_DIGITS = 4  # after the point

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Usual:
    """Quantiles of the score of validation images, in equal steps of probability from 0 to 1."""

    quantiles: Mapping[str, NDArray[np.float64]]
    """Of `all` images, and of each class by its label as text: `[1001]` each."""
    images: int
    """From how many they come."""

    @classmethod
    def of(cls, score: Floats, labels: NDArray[np.uint8] | None = None) -> Self:
        """Those of `score` `[n]` and, where there are `labels` `[n]`, of each class."""
        steps = np.linspace(0, 1, QUANTILES)
        groups = {ALL: score}
        if labels is not None:
            groups |= {str(label): score[labels == label] for label in np.unique(labels)}
        found = {name: np.quantile(some.astype(np.float64), steps).round(_DIGITS) for name, some in groups.items()}
        return cls(found, len(score))

    @classmethod
    def read(cls, facts: Mapping[str, str]) -> Self | None:
        """Those that a model's file tells in its metadata; None if it doesn't."""
        try:
            lists = json.loads(facts[_FACT])
            quantiles = {str(name): np.array(values, np.float64) for name, values in lists.items()}
            images = int(facts[_COUNT])
        except (KeyError, ValueError, TypeError, AttributeError):
            return None
        rising = all(
            len(one) == QUANTILES and np.isfinite(one).all() and (np.diff(one) >= 0).all() for one in quantiles.values()
        )
        return cls(quantiles, images) if rising and ALL in quantiles and images > 0 else None

    def lists(self) -> dict[str, list[float]]:
        """The quantiles as a manifest has them."""
        return {name: values.tolist() for name, values in self.quantiles.items()}

    def facts(self) -> dict[str, str]:
        """For the metadata of a model's file."""
        return {_FACT: json.dumps(self.lists(), separators=(",", ":")), _COUNT: str(self.images)}

    def percentile(self, score: Floats, of: str = ALL) -> NDArray[np.float32]:
        """How many of a hundred usual images have a lower score: float32 `[n]` from 0 to 100.

        Args:
            score: `[n]`.
            of: which images are meant: all, or those of a class.
        """
        return np.interp(score, self.quantiles[of], np.linspace(0, 100, QUANTILES)).astype(np.float32)
