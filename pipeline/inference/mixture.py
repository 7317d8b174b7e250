"""The mixture of Gaussians that lies beside a decoder, on ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.inference.session import open_model
from pipeline.shared.interface import MIXTURE, MODEL_FILE, mismatches, read_latent_dim

Floats = NDArray[np.float32]

_MATRIX_ELEMENTS = 2**20  # of one call, which takes a matrix for each row: 4 MB stay in cache


class Mixture:
    """A mixture of Gaussians over the latents, as the exporter fits it.

    Attributes:
        path: of the file.
        latent_dim: how many latents.
        sha256: of the file's bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open an ONNX file or a folder with `model.onnx`.

        Raises:
            ModelError: it is missing, not ONNX, or has another interface.
        """
        self.path = path / MODEL_FILE if path.is_dir() else path
        if not self.path.is_file():
            raise ModelError(f"{path} was not found; draw from the prior, or run `vae export` to fit a mixture")
        self._session, self.sha256 = open_model(self.path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        problems = mismatches(MIXTURE, inputs, outputs)
        latent_dim = read_latent_dim(MIXTURE, inputs, outputs)
        if problems or latent_dim is None:
            raise ModelError(f"{self.path} is no mixture: {'; '.join(problems) or 'its latent size is not fixed'}")
        self.latent_dim = latent_dim
        self._rows = max(1, _MATRIX_ELEMENTS // latent_dim**2)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, the model is opened there."""
        return type(self), (self.path,)

    def run(self, uniform: NDArray[np.generic], noise: NDArray[np.generic]) -> list[Floats]:
        """The one output `z`, float32 `[n, latent_dim]`, as it is.

        Args:
            uniform: float32 `[n]` in [0, 1).
            noise: float32 `[n, latent_dim]`.

        Raises:
            ModelError: the model fails.
        """
        z = np.empty(noise.shape, np.float32)
        try:
            for start in range(0, len(z), self._rows):
                rows = slice(start, start + self._rows)
                (z[rows],) = self._session.run(["z"], {"uniform": uniform[rows], "noise": noise[rows]})
        except Exception as error:
            # ONNX Runtime raises a dozen unrelated classes.
            raise ModelError(f"{self.path} fails: {' '.join(str(error).split())[:200]}") from error
        return [z]
