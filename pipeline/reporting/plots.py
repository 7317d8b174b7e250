"""Charts: the test images in latent space, and the training curves."""

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.prepared import About
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
_LAYERS = 10  # the classes are drawn in turn, so that none covers the others; many classes in fewer, to save time
_SHAPES = "os^DvPX*<>"  # one for each ten classes whose names are too long to be drawn
_LONGEST = 20  # characters of a name in a legend
_MOST_CLASSES = 60  # in a legend, and with a small plot each

Floats = NDArray[np.float32]
Curve = tuple[list[int], list[float]]


def most_active(kl_per_latent: Sequence[float], count: int) -> list[int]:
    """The indices of the `count` latents with the largest KL, largest first."""
    return [int(latent) for latent in np.argsort(-np.asarray(kl_per_latent), kind="stable")[:count]]


def scatter_latents(
    z_mean: Floats,
    labels: NDArray[np.uint8] | None,
    about: About,
    kl_per_latent: Sequence[float],
    title: str,
    path: Path,
) -> None:
    """Plot each row of `z_mean` `[n, latent_dim]` along the two latents with the largest KL, coloured by its class.

    Where all names of classes have one or two characters, it is drawn as its name, else in a shape that a legend
    explains. Below it, a small plot for each class. With one latent, the class is the other axis. Without labels, all
    are alike.

    Args:
        z_mean: float32 `[n, latent_dim]`.
        labels: uint8 `[n]`, or None.
        about: the names of the classes, and what they are called.
        kl_per_latent: one for each latent, in nats.
        title: of the picture.
        path: the PNG to write.
    """
    axes, classes = sorted(most_active(kl_per_latent, 2)), about.classes
    x = z_mean[:, axes[0]]
    single = len(axes) == 1
    groups = np.zeros(len(x), np.uint8) if labels is None else labels
    found: list[int] = [] if labels is None else np.unique(labels).tolist()
    shown = found[:_MOST_CLASSES]
    noise = (
        np.random.default_rng(0).uniform(-0.35, 0.35, len(x)) if single else 0
    )  # so that they do not hide one another
    y: NDArray[Any] = groups + noise if single else z_mean[:, axes[1]]
    columns, height = (5, 2.25) if len(shown) <= 10 else (8, 1.5)
    lines = -(-len(shown) // columns)
    tall = max(7.5, 0.16 * len(found)) if single else 7.5
    below = 0 if single else height * lines
    figure = Figure(figsize=(_WIDTH, tall + below), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    if below:
        upper, lower = figure.subfigures(2, 1, height_ratios=[tall, below], squeeze=False)[:, 0]
        small = lower.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat
        _each_class(small, x, y, groups, [(number, classes[number]) for number in shown])
    else:
        upper = figure
    plot = upper.subplots()
    written = all(len(name) <= 2 and name.isalnum() and name.isascii() for name in classes)
    layers = min(_LAYERS, 1 + 10 * _LAYERS // max(1, len(found)))
    for layer in range(layers):
        for number in found or [0]:
            rows = np.flatnonzero(groups == number)[layer::layers]
            style = _style(number, classes[number] if written and found else None)
            named = found and not written and layer == 0 and number in shown
            # Without the space a name that begins with an underscore would be left out.
            label = f" {shortened(classes[number], _LONGEST)}" if named else None
            plot.scatter(x[rows], y[rows], linewidths=0, label=label, **style)
    if found and not written and not single:
        upper.legend(
            loc="outside right upper", frameon=False, ncols=1 + (len(shown) > 30), fontsize="small", markerscale=2
        )
    if single:
        plot.set_yticks(found, [shortened(classes[number], _LONGEST) for number in found])
    plot.set_xlabel(axis_label(axes[0], kl_per_latent))
    plot.set_ylabel((about.kind if found else "") if single else axis_label(axes[1], kl_per_latent))
    notes = ["" if len(kl_per_latent) <= 2 else f": the 2 of {len(kl_per_latent)} with the largest KL"]
    if len(found) > len(shown):
        notes.append(f"\nbelow, the first {len(shown)} of {len(found)} classes")
    plot.set_title(title + "".join(notes), loc="left", fontweight="bold")
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


def shortened(name: str, most: int) -> str:
    """The name of a class in at most so many characters, which Matplotlib takes for text and not for mathematics."""
    text = name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
    return text.replace("$", r"\$")


def save(figure: Figure, path: Path, mode: Literal["RGB", "L"] = "RGB") -> None:
    """Write a figure as a PNG whose bytes depend only on its pixels, without the alpha channel that Matplotlib adds."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        with Image.open(file) as picture:
            picture.convert(mode).save(path, format="PNG", dpi=(DPI, DPI))


def _style(number: int, name: str | None) -> dict[str, Any]:
    """How a class is drawn: as its name, or if that is None in a shape."""
    colour = COLOURS[number % len(COLOURS)]
    if name is None:
        return {"s": 9, "marker": _SHAPES[number // len(COLOURS) % len(_SHAPES)], "color": colour}
    text = name if name.isdigit() else rf"\mathrm{{{name}}}"
    return {"s": 18 * len(name), "marker": f"${text}$", "color": colour}


def _each_class(
    plots: Iterable[Axes], x: Floats, y: NDArray[Any], labels: NDArray[np.uint8], classes: Sequence[tuple[int, str]]
) -> None:
    """One plot per class: its rows in black, the others in grey behind them."""
    for plot, about in zip_longest(plots, classes):
        if about is None:
            plot.remove()
            continue
        rows = labels == about[0]
        for shown, colour in ((~rows, "#cccccc"), (rows, "#000000")):
            plot.scatter(x[shown], y[shown], s=2.5, linewidths=0, color=colour)
        plot.set_title(shortened(about[1], 14), fontsize="medium", fontweight="bold")
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
