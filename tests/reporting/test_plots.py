from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.reporting.plots import scatter_latents

LABELS = (np.arange(300) % 10).astype(np.uint8)


def draw(latent_dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((300, latent_dim), np.float32)


def plotted(z_mean: NDArray[np.float32], path: Path, labels: NDArray[np.uint8] = LABELS) -> bytes:
    """The picture, where the latents number 0, 1, … have a KL of 0, 1, … nats."""
    scatter_latents(z_mean, labels, list(range(z_mean.shape[1])), "Latents", path)
    return path.read_bytes()


def hue_and_saturation(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with Image.open(path) as png:
        hue, saturation, _ = np.moveaxis(np.asarray(png.convert("HSV"), np.float64), -1, 0)
    return hue * 360 / 255, saturation / 255


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_equal_latents_give_equal_bytes(latent_dim: int, tmp_path: Path) -> None:
    z_mean = draw(latent_dim)
    assert plotted(z_mean, tmp_path / "first.png") == plotted(z_mean, tmp_path / "second.png")
    with Image.open(tmp_path / "first.png") as png:
        assert png.format == "PNG"
        assert png.size == (900, 840)
        assert len(png.convert("RGB").getcolors(2**20) or []) > 10  # one for each digit, and more


def test_only_the_two_latents_with_the_largest_kl_are_shown(tmp_path: Path) -> None:
    z_mean = draw(20)
    before = plotted(z_mean, tmp_path / "latents.png")
    z_mean[:, :18] += 1
    assert plotted(z_mean, tmp_path / "latents.png") == before
    for axis in (18, 19):
        changed = z_mean.copy()
        changed[:, axis] **= 2
        assert plotted(changed, tmp_path / "latents.png") != before


def test_digits_that_do_not_occur_are_left_out(tmp_path: Path) -> None:
    """Sevens alone: every mixture of their colour, #882255, with black and white has its hue, 330 degrees."""
    plotted(draw(2), tmp_path / "latents.png", np.full(300, 7, np.uint8))
    hue, saturation = hue_and_saturation(tmp_path / "latents.png")
    coloured = hue[saturation > 0.25]
    assert len(coloured) > 300
    assert np.abs(coloured - 330).max() < 5


def test_one_latent_is_plotted_against_the_digit(tmp_path: Path) -> None:
    """Where all latents are equal, the digits stand in one column, as high as most of the picture."""
    plotted(np.zeros((300, 1), np.float32), tmp_path / "latents.png")
    _, saturation = hue_and_saturation(tmp_path / "latents.png")
    rows, columns = np.nonzero(saturation[:, :750] > 0.25)  # without the legend
    assert np.ptp(columns) < 60
    assert np.ptp(rows) > 500
