"""Pictures of latents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Paul Tol's "muted" scheme and black: ten colours that colour-blind people tell apart, of different lightness.
# https://personal.sron.nl/~pault/
COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip


def scatter_latents(
    z_mean: NDArray[np.float32],
    labels: NDArray[np.uint8],
    kl_per_latent: Sequence[float],
    title: str,
    path: Path,
) -> None:
    """Plot `z_mean` `[n, latent_dim]`, coloured by digit, along the two latents with the largest KL.

    With one latent the digit itself is the other axis.
    """
    order = np.argsort(kl_per_latent)[::-1]
    axes = sorted(int(axis) for axis in order[:2])
    x = z_mean[:, axes[0]]
    y: NDArray[Any] = z_mean[:, axes[1]] if len(axes) > 1 else labels
    figure = Figure(figsize=(7.5, 7), dpi=120, layout="constrained")
    plot = figure.subplots()
    for digit, colour in enumerate(COLOURS):
        rows = labels == digit
        if not rows.any():
            continue
        plot.scatter(x[rows], y[rows], s=4, alpha=0.6, linewidths=0, color=colour, label=str(digit))
        plot.annotate(
            str(digit),
            (float(np.median(x[rows])), float(np.median(y[rows]))),
            fontsize=15,
            fontweight="bold",
            ha="center",
            va="center",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
        )
    plot.set_xlabel(_axis_label(axes[0], kl_per_latent))
    plot.set_ylabel(_axis_label(axes[1], kl_per_latent) if len(axes) > 1 else "digit")
    shown = "" if len(kl_per_latent) <= 2 else f"\nthe 2 of {len(kl_per_latent)} latents with the largest KL"
    plot.set_title(title + shown)
    plot.legend(title="digit", markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _axis_label(axis: int, kl_per_latent: Sequence[float]) -> str:
    return f"z_mean[{axis}], KL {kl_per_latent[axis]:.2f} nats"
