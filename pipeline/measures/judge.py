"""The judge on ONNX Runtime: images to features and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.prepared import read_json
from pipeline.errors import FormatError, ModelError
from pipeline.inference.model import Floats, OnnxModel
from pipeline.inference.parallel import map_ordered
from pipeline.shared.interface import ABOUT_JUDGE, CLASSES, JUDGE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BATCH = 256


def open_judge(folder: Path) -> tuple[Judge | None, dict[str, Any]]:
    """The judge in `folder`, None if the data allow none, and what stage `judge` says of it.

    Raises:
        DataError: stage `judge` did not run; FormatError: what it wrote is damaged.
        ModelError: the model is missing, not ONNX, or has another interface.
    """
    about = read_json(folder / ABOUT_JUDGE, "judge")
    if "source" not in about or not ("not_measured" in about or {"classes", "accuracy"} <= about.keys()):
        raise FormatError(f"{folder / ABOUT_JUDGE} does not say what it judges; run `vae judge` again")
    return None if "not_measured" in about else Judge(folder, about["classes"]), about


class Judge(OnnxModel):
    """A classifier of images, and what it sees in them; see `OnnxModel`."""

    def __init__(self, folder: Path, classes: int) -> None:
        """Open the `model.onnx` of a folder; it tells so many `classes`.

        Raises:
            ModelError: it is missing, not ONNX, or has another interface.
        """
        # On a CPU, so that a figure does not depend on the device.
        super().__init__(folder, JUDGE.sized({CLASSES: classes}), provider="cpu")

    def __call__(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Features, float32 `[n, 64]`, and probabilities, float32 `[n, classes]`, of uint8 `[n, 28, 28]`, n > 0.

        Raises:
            ModelError: the model fails, or gives numbers that are not finite.
        """
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        results = map_ordered(self.run, batches, self.workers)
        features, probabilities = map(np.concatenate, zip(*results, strict=True))
        if not (np.isfinite(features).all() and np.isfinite(probabilities).all()):
            raise ModelError(f"{self.path} gives numbers that are not finite; run `vae judge` again")
        return features, probabilities
