"""Figures of generated images beside those of real training images, which stand in for a perfect generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.jobs.draws import mixture, prior
from pipeline.measures.samples import Comparison
from pipeline.shared.interface import MIXTURE

if TYPE_CHECKING:
    from pipeline.inference.session import Decoder
    from pipeline.jobs.latent_rows import LatentSource
    from pipeline.measures.judge import Judge

Pixels = NDArray[np.uint8]

FLOOR = "floor"
MOST = 10_000  # images of each kind
_STREAM = 4  # of random numbers, apart from those that the other figures draw


def count_samples(train: int, test: int) -> int:
    """How many images of each kind are compared, given so many: always as many, since the figures depend on it."""
    return min(MOST, train, test)


def latent_sources(decoder: Decoder, count: int, seed: int) -> dict[str, LatentSource]:
    """Where the latents of generated images come from, by name; includes the mixture if one lies beside the decoder."""
    sources: dict[str, LatentSource] = {"prior": prior(count, seed, decoder.latent_dim)}
    path = decoder.path.parent / MIXTURE.role
    if path.is_dir():
        sources[MIXTURE.role] = mixture(path, count, seed, decoder.latent_dim)
    return sources


def compare_with_floor(
    judge: Judge | None, train: Pixels, test: Pixels, seed: int
) -> tuple[Comparison, dict[str, dict[str, float]]]:
    """A comparison with test images, and what it finds of training images: the row `floor`.

    Where there are more than are compared, some of them are drawn from `numpy.random.default_rng([seed, 0, 4])`.

    Args:
        judge: if there is one.
        train: uint8 `[n, 28, 28]`.
        test: uint8 `[m, 28, 28]`.
        seed: of the draws.
    """
    generator = np.random.default_rng([seed, 0, _STREAM])
    count = count_samples(len(train), len(test))
    compare = Comparison(test[choose(len(test), count, generator)], judge)
    return compare, {FLOOR: compare(train[choose(len(train), count, generator)])}


def choose(among: int, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """So many different rows, in their order."""
    rows: NDArray[np.intp] = np.sort(generator.choice(among, count, replace=False))
    return rows


def sample_figures(
    compare: Comparison, decoder: Decoder, sources: dict[str, LatentSource]
) -> dict[str, dict[str, float]]:
    """The figures of images decoded from each source, rounded to bytes as `vae generate` writes them."""
    return {name: compare(decoder.pixels(source.read(0, source.count)().z)) for name, source in sources.items()}
