"""The mixture of Gaussians that lies beside a decoder, on ONNX Runtime."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.inference.model import Floats, OnnxModel
from pipeline.shared.interface import MIXTURE, MODEL_FILE

_MATRIX_ELEMENTS = 2**20  # of one call, which takes a matrix for each row: 4 MB stay in cache


class Mixture(OnnxModel):
    """A mixture of Gaussians over the latents, as the exporter fits it; see `OnnxModel`."""

    def __init__(self, path: Path) -> None:
        """Open an ONNX file or a folder with `model.onnx`.

        Raises:
            ModelError: it is missing, not ONNX, or has another interface.
        """
        file = path / MODEL_FILE if path.is_dir() else path
        if not file.is_file():
            raise ModelError(f"{path} was not found; draw from the prior, or run `vae export` to fit a mixture")
        # The file, since the folder is part of a bundle and none itself. Draws are the same wherever they are decoded.
        super().__init__(file, MIXTURE, provider="cpu")

    def run(self, *tensors: NDArray[np.generic]) -> list[Floats]:
        """The one output `z`, float32 `[n, latent_dim]`.

        Args:
            tensors: `uniform`, float32 `[n]` in [0, 1), and `noise`, float32 `[n, latent_dim]`.

        Raises:
            ModelError: the model fails.
        """
        uniform, noise = tensors
        rows = max(1, _MATRIX_ELEMENTS // self.latent_dim**2)
        z = np.empty(noise.shape, np.float32)
        for start in range(0, len(z), rows):
            (z[start : start + rows],) = super().run(uniform[start : start + rows], noise[start : start + rows])
        return [z]
