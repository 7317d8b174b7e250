"""Latents that are not read but made: draws from the prior or from a mixture, and a grid over the prior's quantiles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from pipeline.errors import ModelError
from pipeline.inference.mixture import Mixture
from pipeline.jobs.latent_rows import Floats, LatentSource, Loaded

_ROWS_PER_DRAW = 4096  # from one generator


@dataclass(frozen=True)
class Draws(LatentSource):
    """`count` draws from the prior N(0, I), or from a mixture.

    Rows 4,096 k and on are drawn from `numpy.random.default_rng([seed, k])`, so that each stretch can be drawn by
    itself, and more draws begin with the same. The noise of a mixture is the same as that of the prior; what picks
    its Gaussians is drawn from `numpy.random.default_rng([seed, k, 1])`.
    """

    count: int
    seed: int
    latent_dim: int
    mixture: Mixture | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The words that define them."""
        of = "N(0, I)" if self.mixture is None else f"mixture {self.mixture.sha256}"
        return f"{of} seed={self.seed} latent_dim={self.latent_dim}"

    def state(self) -> str:
        """See `LatentSource.state`."""
        return self.name

    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        """See `LatentSource.load`."""
        return lambda: Loaded(self._rows(start, stop))

    def _rows(self, start: int, stop: int) -> Floats:
        blocks = range(start // _ROWS_PER_DRAW, -(-stop // _ROWS_PER_DRAW))
        drawn = [self._draw(block, min(_ROWS_PER_DRAW, stop - block * _ROWS_PER_DRAW)) for block in blocks]
        return np.concatenate(drawn)[start - blocks.start * _ROWS_PER_DRAW :]

    def _draw(self, block: int, rows: int) -> Floats:
        """The first rows of a block of 4,096."""
        noise = np.random.default_rng([self.seed, block]).standard_normal((rows, self.latent_dim), np.float32)
        if self.mixture is None:
            return noise
        (z,) = self.mixture.run(np.random.default_rng([self.seed, block, 1]).random(rows, np.float32), noise)
        return z


def prior(count: int, seed: int, latent_dim: int) -> Draws:
    """`count` draws from N(0, I)."""
    return Draws(count, seed, latent_dim)


def mixture(path: Path, count: int, seed: int, latent_dim: int) -> Draws:
    """`count` draws from the Gaussian mixture at `path`, an ONNX file or a folder with `model.onnx`.

    Raises:
        ModelError: no such file, not a mixture, or one of another latent size.
    """
    model = Mixture(path)
    if model.latent_dim != latent_dim:
        raise ModelError(f"{model.path} gives {model.latent_dim} latent(s), the decoder takes {latent_dim}")
    return Draws(count, seed, latent_dim, model)


@dataclass(frozen=True)
class QuantileGrid(LatentSource):
    """What `quantile_grid` makes of the first two latents."""

    side: int
    latent_dim: int

    @property
    def count(self) -> int:  # type: ignore[override]
        """Places of the grid."""
        return self.side * self.side if self.latent_dim > 1 else self.side

    @property
    def name(self) -> str:  # type: ignore[override]
        """The words that define them."""
        return f"quantiles of N(0, I) side={self.side} latent_dim={self.latent_dim}"

    def state(self) -> str:
        """See `LatentSource.state`."""
        return self.name

    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        """See `LatentSource.load`."""
        return lambda: Loaded(quantile_grid(self.side, self.latent_dim, start=start, stop=stop))


def quantile_grid(
    side: int, latent_dim: int, axes: Sequence[int] = (0, 1), start: int = 0, stop: int | None = None
) -> Floats:
    """A square grid over the quantiles (i + 1/2) / side of the prior, as in Kingma & Welling (2013), figure 4.

    The first of `axes` grows from left to right, the second from bottom to top; further latents are 0. With one
    latent, or one axis, a single row.

    Returns:
        The places from `start` up to `stop` of the grid, row by row: all of it is float32 `[side * side, latent_dim]`,
        or `[side, latent_dim]`.
    """
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)])
    axes = axes[:latent_dim]
    places = np.arange(start, side ** len(axes) if stop is None else stop)
    z = np.zeros((len(places), latent_dim), np.float32)
    z[:, axes[0]] = quantiles[places % side]
    if len(axes) > 1:
        z[:, axes[1]] = quantiles[side - 1 - places // side]
    return z
