"""Charts: the test digits in latent space, and the training curves."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError, FormatError

# Paul Tol's "muted" scheme with its two lightest colours darkened for thin numerals, plus black: ten colours of
# different lightness that colour-blind people can distinguish. https://personal.sron.nl/~pault/
COLOURS = (
    "#332288", "#5AA9D0", "#44AA99", "#117733", "#999933", "#C2AD45", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
DPI = 144  # twice what CSS calls a pixel
_WIDTH = 8.4  # inches
_CURVES = {"loss": "loss", "reconstruction": "reconstruction", "kl": "KL"}
_SPLITS: dict[str, dict[str, Any]] = {  # distinguishable without colour as well
    "train": {"label": "training", "color": "#332288", "linestyle": "-", "marker": "o"},
    "eval": {"label": "validation", "color": "#CC6677", "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
_LAYERS = 10  # the digits are drawn in turn, so that none covers the others

Floats = NDArray[np.float32]
Curve = tuple[list[int], list[float]]


def most_active(kl_per_latent: Sequence[float], count: int) -> list[int]:
    """The indices of the `count` latents with the largest KL, largest first."""
    return [int(latent) for latent in np.argsort(-np.asarray(kl_per_latent), kind="stable")[:count]]


def scatter_latents(
    z_mean: Floats,
    labels: NDArray[np.uint8],
    kl_per_latent: Sequence[float],
    title: str,
    path: Path,
) -> None:
    """Plot each row of `z_mean` `[n, latent_dim]` as its numeral, along the two latents with the largest KL.

    Below it, a small plot for each digit. With one latent, the label is the other axis.
    """
    axes = sorted(most_active(kl_per_latent, 2))
    x = z_mean[:, axes[0]]
    single = len(axes) == 1
    noise = (
        np.random.default_rng(0).uniform(-0.35, 0.35, len(labels)) if single else 0
    )  # so that they do not hide one another
    y: NDArray[Any] = labels + noise if single else z_mean[:, axes[1]]
    figure = Figure(
        figsize=(_WIDTH, 7.5 if single else 12), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    )
    if single:
        plot = figure.subplots()
        plot.set_yticks(range(len(COLOURS)))
    else:
        parts = figure.subfigures(2, 1, height_ratios=[7.5, 4.5], squeeze=False)
        plot = parts[0, 0].subplots()
        _each_digit(parts[1, 0].subplots(2, 5, sharex=True, sharey=True).flat, x, y, labels)
    for layer in range(_LAYERS):
        for digit, colour in enumerate(COLOURS):
            rows = np.flatnonzero(labels == digit)[layer::_LAYERS]
            plot.scatter(x[rows], y[rows], s=18, marker=f"${digit}$", linewidths=0, color=colour)
    plot.set_xlabel(axis_label(axes[0], kl_per_latent))
    plot.set_ylabel("digit" if single else axis_label(axes[1], kl_per_latent))
    shown = "" if len(kl_per_latent) <= 2 else f": the 2 of {len(kl_per_latent)} with the largest KL"
    plot.set_title(title + shown, loc="left", fontweight="bold")
    save(figure, path)


def training_curves(folder: Path, source: str, path: Path) -> None:
    """Plot loss, reconstruction and KL over the epochs, from DVCLive's `{train,eval}/*.tsv` in `folder`.

    Raises:
        DataError: a file is missing.
        FormatError: a file does not hold steps and numbers.
    """
    figure = Figure(figsize=(_WIDTH, 3.4), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    for plot, (metric, name) in zip(figure.subplots(1, len(_CURVES)), _CURVES.items(), strict=True):
        for split, style in _SPLITS.items():
            epochs, values = _read_curve(folder / split / f"{metric}.tsv", metric)
            every = -(-len(epochs) // 20)  # more markers would merge into a thick line
            plot.plot(epochs, values, linewidth=1.8, markersize=5, markevery=every, **style)
        plot.set_title(name)
        plot.set_xlabel("epoch")
        plot.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        plot.grid(color="#dddddd", linewidth=0.8)
        plot.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("nats per image")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(f"Training on {source}", x=0.01, ha="left", fontweight="bold")
    save(figure, path)


def axis_label(latent: int, kl_per_latent: Sequence[float]) -> str:
    """The label of an axis along a latent."""
    return f"z[{latent}], KL {kl_per_latent[latent]:.2f} nats"


def save(figure: Figure, path: Path, mode: Literal["RGB", "L"] = "RGB") -> None:
    """Write a figure as a PNG whose bytes depend only on its pixels, without the alpha channel that Matplotlib adds."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        with Image.open(file) as picture:
            picture.convert(mode).save(path, format="PNG", dpi=(DPI, DPI))


def _each_digit(plots: Iterable[Axes], x: Floats, y: NDArray[Any], labels: NDArray[np.uint8]) -> None:
    """One plot per digit: that digit in black, the others in grey behind it."""
    for digit, plot in enumerate(plots):
        rows = labels == digit
        for shown, colour in ((~rows, "#cccccc"), (rows, "#000000")):
            plot.scatter(x[shown], y[shown], s=2.5, linewidths=0, color=colour)
        plot.set_title(f"{digit}", fontsize="medium", fontweight="bold")
        plot.tick_params(labelsize="small")


def _read_curve(path: Path, metric: str) -> Curve:
    """The epochs, counted from 1, and the values in one of DVCLive's files."""
    try:
        with path.open(newline="") as file:
            rows = [(int(row["step"]) + 1, float(row[metric])) for row in csv.DictReader(file, delimiter="\t")]
        if not rows:
            raise ValueError("no epoch")
    except FileNotFoundError:
        raise DataError(f"{path} was not found; run `vae train` (or `dvc repro`) first") from None
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} does not hold the columns step and {metric}; run `vae train` again") from error
    return [epoch for epoch, _ in rows], [value for _, value in rows]
