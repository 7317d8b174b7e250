from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError, FormatError
from pipeline.reporting.plots import most_active, scatter_latents, training_curves
from tests.evaluating.conftest import ABOUT

LABELS = (np.arange(300) % 10).astype(np.uint8)


def draw(latent_dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((300, latent_dim), np.float32)


def plotted(
    z_mean: NDArray[np.float32],
    path: Path,
    labels: NDArray[np.uint8] | None = LABELS,
    classes: Sequence[str] = tuple("0123456789"),
) -> bytes:
    """The picture, where the latents number 0, 1, … have a KL of 0, 1, … nats."""
    scatter_latents(
        z_mean, labels, replace(ABOUT, classes=tuple(classes)), list(range(z_mean.shape[1])), "Latents", path
    )
    return path.read_bytes()


def hue_and_saturation(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with Image.open(path) as png:
        hue, saturation, _ = np.moveaxis(np.asarray(png.convert("HSV"), np.float64), -1, 0)
    return hue * 360 / 255, saturation / 255


def curves(folder: Path, epochs: int) -> Path:
    """What DVCLive writes: loss, reconstruction and KL fall by 1 nat an epoch."""
    for split in ("train", "eval"):
        (folder / split).mkdir(parents=True)
        for metric in ("loss", "reconstruction", "kl"):
            lines = [f"step\t{metric}", *(f"{epoch}\t{200.5 - epoch}" for epoch in range(epochs))]
            (folder / split / f"{metric}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_most_active_latents_come_first_and_equals_in_their_order() -> None:
    assert most_active([0.1, 2.0, 0.5, 2.0], 3) == [1, 3, 2]
    assert most_active([0.1], 3) == [0]


@pytest.mark.parametrize(("latent_dim", "size"), [(1, (1209, 1080)), (2, (1209, 1728)), (20, (1209, 1728))])
def test_equal_latents_give_equal_bytes(latent_dim: int, size: tuple[int, int], tmp_path: Path) -> None:
    z_mean = draw(latent_dim)
    assert plotted(z_mean, tmp_path / "first.png") == plotted(z_mean, tmp_path / "second.png")
    with Image.open(tmp_path / "first.png") as png:
        assert png.format == "PNG"
        assert png.size == size
        assert len(png.convert("RGB").getcolors(2**20) or []) > 10  # one for each digit, and more


def test_only_the_two_latents_with_the_largest_kl_are_shown(tmp_path: Path) -> None:
    z_mean = draw(20)
    before = plotted(z_mean, tmp_path / "latents.png")
    z_mean[:, :18] += 1
    assert plotted(z_mean, tmp_path / "latents.png") == before
    z_mean[:, 18] **= 2
    assert plotted(z_mean, tmp_path / "latents.png") != before


def test_digits_that_do_not_occur_are_left_out(tmp_path: Path) -> None:
    """Sevens alone: every mixture of their colour, #882255, with black and white has its hue, 330 degrees."""
    plotted(draw(2), tmp_path / "latents.png", np.full(300, 7, np.uint8))
    hue, saturation = hue_and_saturation(tmp_path / "latents.png")
    coloured = hue[saturation > 0.25]
    assert len(coloured) > 300
    assert np.abs(coloured - 330).max() < 5


def test_each_digit_is_told_apart_without_colour(tmp_path: Path) -> None:
    """As numerals: ones hold less ink than eights at the same places."""
    ink = {}
    for digit in (1, 8):
        plotted(draw(1), tmp_path / "latents.png", np.full(300, digit, np.uint8))
        _, saturation = hue_and_saturation(tmp_path / "latents.png")
        ink[digit] = int((saturation > 0.25).sum())
    assert ink[1] < 0.8 * ink[8]


def test_one_latent_is_plotted_against_the_digit(tmp_path: Path) -> None:
    """Where all latents are equal, the digits stand in one column, as high as most of the picture."""
    plotted(np.zeros((300, 1), np.float32), tmp_path / "latents.png")
    _, saturation = hue_and_saturation(tmp_path / "latents.png")
    rows, columns = np.nonzero(saturation > 0.25)
    assert np.ptp(columns) < 60
    assert np.ptp(rows) > 500


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize(
    "classes",
    [
        [],
        ["boot", "bag"],
        list("abcdefghijklmnopqrstuvwxyz"),
        [f"class {number}" for number in range(47)],
        [str(number) for number in range(256)],
    ],
    ids=len,
)
def test_any_number_of_classes_is_drawn(classes: list[str], latent_dim: int, tmp_path: Path) -> None:
    labels = (np.arange(300) % len(classes)).astype(np.uint8) if classes else None
    plotted(draw(latent_dim), tmp_path / "first.png", labels, classes)
    with Image.open(tmp_path / "first.png") as png:
        assert png.width == 1209
        assert png.height < 8000
    hues, saturation = hue_and_saturation(tmp_path / "first.png")
    assert len(np.unique(hues[saturation > 0.35].round())) >= min(5, len(classes))


def test_any_name_of_a_class_is_drawn(tmp_path: Path) -> None:
    """Also those that Matplotlib would take for mathematics, and one that it would leave out of a legend."""
    names = ["$5 - $10", "$\\frac{$", "_other", "a" * 300, "|", ""]
    labels = (np.arange(300) % len(names)).astype(np.uint8)
    for latent_dim in (1, 2):
        plotted(draw(latent_dim), tmp_path / "latents.png", labels, names)
        with Image.open(tmp_path / "latents.png") as png:
            assert png.width == 1209


def test_two_classes_of_one_colour_differ_in_shape(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(20)]
    z_mean = draw(2)
    pictures = {
        number: plotted(z_mean, tmp_path / "latents.png", np.full(300, number, np.uint8), names) for number in (3, 13)
    }
    assert pictures[3] != pictures[13]


@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_training_is_drawn_whatever_the_number_of_epochs(epochs: int, tmp_path: Path) -> None:
    folder = curves(tmp_path / "curves", epochs)
    for name in ("first.png", "second.png"):
        training_curves(folder, "sample", tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "first.png") as png:
        assert png.size == (1209, 489)


def test_a_missing_curve_names_the_stage_to_run(tmp_path: Path) -> None:
    folder = curves(tmp_path / "curves", 2)
    (folder / "eval" / "kl.tsv").unlink()
    with pytest.raises(DataError, match=r"eval/kl\.tsv was not found; run `vae train`"):
        training_curves(folder, "sample", tmp_path / "training.png")


@pytest.mark.parametrize("content", ["", "step\tkl\nx\t1\n", "step\tkl\n0\tnothing\n", "step\tother\n0\t1\n"])
def test_a_curve_that_is_not_one_is_refused(content: str, tmp_path: Path) -> None:
    folder = curves(tmp_path / "curves", 2)
    (folder / "train" / "kl.tsv").write_text(content)
    with pytest.raises(FormatError, match=r"train/kl\.tsv does not hold the columns step and kl"):
        training_curves(folder, "sample", tmp_path / "training.png")
