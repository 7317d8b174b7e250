"""Labelled sheets of images decoded along paths through latent space, each pixel enlarged by a whole factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.data.prepared import About
from pipeline.inference.renderer import open_renderer
from pipeline.inference.session import Decoder
from pipeline.jobs.draws import quantile_grid
from pipeline.reporting.plots import DPI, axis_label, most_active, save, shortened
from pipeline.shared.interface import IMAGE_SHAPE

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIDE = 20  # images along a side of the manifold
_MOST_ROWS = 20  # in a sheet of traversals
_STEPS = 11  # in a path
_MOST_PAIRS = 5  # of images to walk between
_CLOSE_UPS, _ENLARGED, _SHARP = 10, 4, 0.1  # images at most, their factor, the softness of the sharp ones
_FARTHEST = 3.0  # in a traversal: standard deviations of the prior
_LONGEST = 12  # characters of a name in front of a row
_FONT, _GAP, _CHARACTER = 22, 14, 13  # pixels: height of text, between groups, widest character


@dataclass(frozen=True)
class _Row:
    """Images side by side, uint8 `[m, 28, 28]` or enlarged already; `apart` asks for a gap above the row."""

    label: str
    images: Pixels
    apart: bool = False


def manifold(decoder: Decoder, kl_per_latent: Sequence[float], source: str, path: Path) -> None:
    """Draw the decoder over a grid of the prior's quantiles: the two latents with the largest KL, the others at 0.

    As in Kingma & Welling (2013), figure 4; with one latent, a single row.
    """
    axes = sorted(most_active(kl_per_latent, 2))
    z = quantile_grid(_SIDE, decoder.latent_dim, axes)
    images = decoder.pixels(z)
    values = [
        _number(value) if min(place, _SIDE - 1 - place) % 2 == 0 else ""  # every second label only: they would touch
        for place, value in enumerate(z[:_SIDE, axes[0]])
    ]
    rows = [
        _Row(_number(z[start, axes[1]]) if len(axes) > 1 else "", images[start : start + _SIDE])
        for start in range(0, len(z), _SIDE)
    ]
    others = f", the other {len(kl_per_latent) - 2} at 0" if len(kl_per_latent) > 2 else ""
    names = " and ".join(f"z[{axis}]" for axis in axes)
    title = f"The manifold of {names} over the prior's quantiles{others}\ndecoder trained on {source}"
    labels = [axis_label(axis, kl_per_latent) for axis in axes]
    _draw(rows, values, title, path, scale=2, axes=labels)


def traversals(
    decoder: Decoder, start: Floats, shows: str, kl_per_latent: Sequence[float], source: str, path: Path
) -> None:
    """Draw how each latent changes an image, from -3 to 3; the others keep their values in `start` `[latent_dim]`.

    The latents with the largest KL come first; at most 20 are shown. `shows` says what the image shows, for the title.
    """
    values = np.linspace(-_FARTHEST, _FARTHEST, _STEPS, dtype=np.float32)
    shown = most_active(kl_per_latent, _MOST_ROWS)
    rows = []
    for latent in shown:
        z = np.tile(start, (_STEPS, 1))
        z[:, latent] = values
        rows.append(_Row(axis_label(latent, kl_per_latent), decoder.pixels(z)))
    which = "each latent" if len(shown) == len(kl_per_latent) else f"{len(shown)} of {len(kl_per_latent)} latents"
    title = (
        f"Traversals: {which} from \N{MINUS SIGN}{_FARTHEST:g} to {_FARTHEST:g}, largest KL first\n"
        f"the others as encoded from the first {shows} ({source})"
    )
    _draw(rows, [_number(value, 1) for value in values], title, path, scale=3)


def interpolations(
    decoder: Decoder,
    images: Pixels,
    labels: NDArray[np.uint8] | None,
    z_mean: Floats,
    about: About,
    source: str,
    path: Path,
) -> None:
    """Draw the path from one image to another: straight, and along the arc.

    The pairs are the first images of two classes, half the number of classes apart: 0 and 5, 1 and 6, ... 4 and 9. With
    fewer than two classes they are the first images, in order.

    Args:
        decoder: the model.
        images: the test images, uint8 `[n, 28, 28]`, n >= 2.
        labels: their labels, uint8 `[n]`, or None.
        z_mean: their latents, float32 `[n, latent_dim]`.
        about: what they show, for the labels of rows and the title.
        source: the source of the data, for the title.
        path: the PNG to write.
    """
    walks = (linear, spherical) if decoder.latent_dim > 1 else (linear,)  # between two numbers there is only one path
    rows = []
    for a, b in _pairs(labels, len(images)):
        for walk in walks:
            decoded = decoder.pixels(walk(z_mean[a], z_mean[b], _STEPS))
            both = np.concatenate([images[a][None], decoded, images[b][None]])
            ends = [] if labels is None else [shortened(about.classes[labels[row]], _LONGEST) for row in (a, b)]
            pair = f"{' to '.join(ends)}, " if ends and walk is linear else ""
            rows.append(_Row(f"{pair}{walk.__name__}", both, apart=walk is linear))
    shares = [f"{share:g}" for share in np.linspace(0, 1, _STEPS).round(2)]
    names = " and ".join(walk.__name__ for walk in walks)
    title = f"Interpolations between the latents of two test {about.noun}s\n{names}, originals at both ends ({source})"
    _draw(rows, ["original", *shares, "original"], title, path, scale=3, apart=(1, _STEPS + 1))


def close_up(
    decoders: Mapping[str, tuple[Decoder, Floats]],
    images: Pixels,
    labels: NDArray[np.uint8] | None,
    about: About,
    source: str,
    path: Path,
) -> None:
    """Draw the same latents as each decoder makes them, pixel by pixel, and as its renderer draws them large.

    Args:
        decoders: by name, each with the latents of the images, float32 `[n, latent_dim]`.
        images: the test images, uint8 `[n, 28, 28]`: the first of each class are shown, or the first ten.
        labels: their labels, uint8 `[n]`, or None.
        about: what they show, for the labels of columns and the title.
        source: the source of the data, for the title.
        path: the PNG to write.
    """
    first = np.arange(min(len(images), _CLOSE_UPS)) if labels is None else np.unique(labels, return_index=True)[1]
    first = first[:_CLOSE_UPS]
    rows = [_Row("original", images[first])]
    size = _ENLARGED * IMAGE_SHAPE[0]
    for name, (decoder, z) in decoders.items():
        renderer = open_renderer(decoder)
        rows.append(_Row(name, decoder.pixels(z[first]), apart=True))
        rows += [_Row(f"softness {soft:g}", renderer.pixels(z[first], size, soft)) for soft in (1.0, _SHARP)]
    columns = ["" if labels is None else shortened(about.classes[labels[row]], _LONGEST) for row in first]
    title = (
        f"The same latents at two sizes: {' and '.join(decoders)}, 28 x 28 pixels, then rendered at {size} x {size}\n"
        f"softness 1 is as trained; decoded from the first test {about.noun}s ({source})"
    )
    _draw(rows, columns, title, path, scale=_ENLARGED)


def _pairs(labels: NDArray[np.uint8] | None, count: int) -> list[tuple[int, int]]:
    """The rows of the images to walk between."""
    first = np.arange(min(count, 2 * _MOST_PAIRS))
    if labels is not None and (of_each := np.unique(labels, return_index=True)[1]).size > 1:
        first = of_each
    half = len(first) // 2
    starts = np.unique(np.linspace(0, half - 1, min(half, _MOST_PAIRS)).round().astype(int))
    return [(int(first[start]), int(first[start + half])) for start in starts]


def linear(start: Floats, end: Floats, steps: int) -> Floats:
    """`steps` points on the straight line between two points `[latent_dim]`, both ends included."""
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    line: Floats = (1 - share) * start + share * end
    return line


def spherical(start: Floats, end: Floats, steps: int) -> Floats:
    """`steps` points on the arc between two points `[latent_dim]`, both ends included.

    The angle grows evenly: White, Sampling Generative Networks (2016), arXiv:1609.04468, after Shoemake (1985). If the
    points are parallel, opposite or zero, no arc is defined, and the straight line is returned.
    """
    length = np.linalg.norm(start) * np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end / length, -1, 1)) if length else 0.0
    if np.sin(angle) < 1e-4:
        return linear(start, end, steps)
    share = np.linspace(0, 1, steps)[:, None]
    arc: Floats = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return arc.astype(np.float32)


def _number(value: float, digits: int = 2) -> str:
    """A number with a proper minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _draw(
    rows: Sequence[_Row],
    columns: Sequence[str],
    title: str,
    path: Path,
    *,
    scale: int,
    apart: Sequence[int] = (),
    axes: Sequence[str] = (),
) -> None:
    """Write rows of images with their labels as a PNG, without interpolating any pixel.

    Args:
        rows: all of the same length.
        columns: the labels of the columns, written above them, or below if the sheet has axes.
        title: its first line is bold.
        path: the PNG to write.
        scale: the factor by which the images are enlarged.
        apart: the columns that have a gap before them.
        axes: the labels of the horizontal and the vertical axis, if any.
    """
    cell = IMAGE_SHAPE[0] * scale
    heading, *notes = title.split("\n")
    head = 2 * _GAP + int(1.5 * _FONT * (1 + len(notes)))
    foot = int(3.5 * _FONT) if axes else _GAP
    if not axes:
        head += int(1.2 * _FONT)
    left = max(len(row.label) for row in rows) * _CHARACTER + 2 * _GAP + (2 * _FONT if len(axes) > 1 else 0)
    x = [left + column * cell + _GAP * sum(gap <= column for gap in apart) for column in range(len(columns))]
    y: list[int] = []
    for row in rows:
        y.append(y[-1] + cell + (_GAP if row.apart else 0) if y else head)
    width, height = x[-1] + cell + 2 * _GAP, y[-1] + cell + foot
    width = max(width, 2 * _GAP + _CHARACTER * max(map(len, (heading, *notes))))
    page = np.full((height, width), 255, np.uint8)
    for row, top in zip(rows, y, strict=True):
        for image, start in zip(row.images, x, strict=True):
            times = cell // len(image)
            page[top : top + cell, start : start + cell] = image.repeat(times, axis=0).repeat(times, axis=1)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(page[:, :, None].repeat(3, axis=2))  # as RGB: a colour map would change grey levels by one

    def write(text: str, at: tuple[float, float], *, size: float = _FONT, **how: str | float) -> None:
        points = size * 72 / DPI
        figure.text(at[0] / width, 1 - at[1] / height, text, fontsize=points, **how)  # type: ignore[arg-type]

    for line, text in enumerate((heading, *notes)):
        write(text, (2 * _GAP, _GAP + 1.5 * _FONT * line), va="top", weight="normal" if line else "bold")
    for label, start in zip(columns, x, strict=True):
        where = y[-1] + cell + 0.3 * _FONT if axes else head - 0.3 * _FONT
        write(label, (start + cell / 2, where), ha="center", va="top" if axes else "bottom", size=0.75 * _FONT)
    for row, top in zip(rows, y, strict=True):
        size = (0.75 if axes else 0.9) * _FONT
        write(row.label, (left - _GAP, top + cell / 2), ha="right", va="center", size=size)
    for text, at, angle in zip(
        axes,
        (((x[0] + x[-1] + cell) / 2, height - 1.2 * _FONT), (1.2 * _FONT, (y[0] + y[-1] + cell) / 2)),
        (0, 90),
        strict=False,
    ):
        write(text, at, ha="center", va="center", rotation=angle)
    save(figure, path, "L")
