"""The picture of `vae compare`: both distributions of the score, its deciles, and the PSI of each latent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.measures.drift import Drift

_USUAL, _PILE = "#332288", "#CC6677"  # of Paul Tol's scheme "muted": https://personal.sron.nl/~pault/
_SOLID: dict[str, Any] = {"color": _USUAL, "linestyle": "-"}  # distinguishable without colour as well
_DASHED: dict[str, Any] = {"color": _PILE, "linestyle": "--"}
_NEITHER, _GRID = "#999999", "#dddddd"
_DPI = 144  # twice what CSS calls a pixel
_SHOWN = 0.998  # of each distribution; the rest would squeeze it
_MOST_BINS, _FEWEST_BARS, _MOST_BARS = 80, 6, 40

Floats = NDArray[np.floating[Any]]


def draw(
    usual: Floats,
    pile: Floats,
    score: Drift,
    latents: Sequence[Drift],
    threshold: float,
    labels: tuple[str, str],
    path: Path,
) -> None:
    """Draw a comparison.

    Args:
        usual: score of what is usual, `[n]`.
        pile: that of what is judged, `[m]`.
        score: how far the second is from the first.
        latents: the same of each latent; may be empty.
        threshold: of the PSI.
        labels: what the two are.
        path: the PNG to write.
    """
    figure = Figure(figsize=(8.4, 6.4), dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    layout = "ee;dl" if latents else "e;d"
    plots = figure.subplot_mosaic(layout, height_ratios=[1.3, 1])
    _densities(plots["e"], (usual, pile), score, labels)
    _shares(plots["d"], score)
    if latents:
        _bars(plots["l"], latents, threshold)
    for plot in plots.values():
        plot.spines[["top", "right"]].set_visible(False)
        plot.set_axisbelow(True)
    found = "has drifted" if score.psi > threshold else "has not drifted"
    title = f"The score {found}: PSI {score.psi:.3f} (threshold {threshold:g}), KS {score.ks:.3f}"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.savefig(path, format="png", metadata={"Software": None})  # so that no version is in the bytes


def _densities(plot: Axes, samples: tuple[Floats, Floats], score: Drift, labels: tuple[str, str]) -> None:
    """Both distributions, over the deciles of the first."""
    ends = [float(np.quantile(values, _SHOWN)) for values in samples]
    for place in score.deciles:
        plot.axvline(place, color=_GRID, linewidth=0.8, zorder=0)
    for values, end, label, look in zip(samples, ends, labels, (_SOLID, _DASHED), strict=True):
        bins = min(_MOST_BINS, int(np.ceil(2 * len(values) ** (1 / 3))))  # Rice's rule
        density, edges = np.histogram(values, bins, (float(values.min()), end), density=True)
        plot.stairs(density, edges, fill=True, color=look["color"], alpha=0.12)
        plot.stairs(density, edges, linewidth=1.8, label=label.replace("$", r"\$"), **look)  # no mathematics
    beyond = "; the highest 0.2 % are not shown" if any(s.max() > e for s, e in zip(samples, ends, strict=True)) else ""
    plot.set_xlabel(f"score (grey lines: deciles of what is usual{beyond})")
    plot.set_ylabel("density")
    plot.set_ylim(bottom=0)
    plot.legend(frameon=False)


def _shares(plot: Axes, score: Drift) -> None:
    """What each decile of the usual score holds of the pile."""
    places = np.arange(1, len(score.shares) + 1)
    plot.bar(places, score.shares, 0.75, color=_PILE)
    edges = np.arange(len(places) + 1) + 0.5
    plot.stairs(np.array(score.usual_shares), edges, color=_USUAL, linewidth=1.8, baseline=None)
    plot.set_title("Share of the pile in each usual decile", loc="left", fontsize="medium")
    plot.set_xlabel("decile of the score, from the lowest")
    plot.set_ylim(bottom=0)
    plot.set_xticks(places)
    plot.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # whole numbers
    plot.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    plot.grid(axis="y", color=_GRID, linewidth=0.8)


def _bars(plot: Axes, latents: Sequence[Drift], threshold: float) -> None:
    """The PSI of each latent; of many, the largest ones."""
    chosen = sorted(range(len(latents)), key=lambda latent: -latents[latent].psi)[:_MOST_BARS]
    chosen.sort()
    values = [latents[latent].psi for latent in chosen]
    plot.bar(range(len(chosen)), values, 0.75, color=[_PILE if value > threshold else _NEITHER for value in values])
    plot.axhline(threshold, color="#666666", linewidth=1, linestyle="--")
    every = -(-len(chosen) // 12)
    plot.set_xticks(range(0, len(chosen), every), [str(latent) for latent in chosen[::every]])
    drifted = sum(one.psi > threshold for one in latents)
    most = "" if len(chosen) == len(latents) else f"; the largest {len(chosen)}"
    title = f"PSI of each latent: {drifted} of {len(latents)} drifted{most}"
    plot.set_title(title, loc="left", fontsize="medium")
    plot.set_xlabel(f"latent (dashed: the threshold, {threshold:g})")
    middle, reach = (len(chosen) - 1) / 2, max(len(chosen), _FEWEST_BARS) / 2 + 0.3
    plot.set_xlim(middle - reach, middle + reach)
    plot.set_ylim(0, 1.1 * max(threshold, *values))
    plot.grid(axis="y", color=_GRID, linewidth=0.8)
