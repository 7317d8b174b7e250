"""Stage `report`: pictures of what the models do, and one page with them and all figures."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from pipeline.data.prepared import read_json, read_split
from pipeline.errors import DataError
from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.measures.elbo import kl_per_latent
from pipeline.reporting.definitions import GROUPS, HEADLINE, Meaning, flatten
from pipeline.reporting.plots import scatter_latents, training_curves
from pipeline.reporting.sheets import interpolations, manifold, traversals
from pipeline.shared.files import atomic_file, atomic_folder
from pipeline.shared.interface import MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TEMPLATES = Path(__file__).parent / "templates"
_SHEETS = ("reconstructions.png", "prior.png", "mixture.png")  # of stage `generate`
_OWN = ("latents.png", "manifold.png", "traversals.png", "interpolations.png", "training.png")


@dataclass(frozen=True)
class Inputs:
    """The files and folders that the report tells of."""

    exports: Path
    """The models, their manifest, and the sheets in `samples/`."""
    prepared: Path
    """The test digits."""
    origin: Path
    """The parameters and data that the weights came from, as `train` wrote them beside these."""
    curves: Path
    """DVCLive's figures of each epoch."""
    metrics: Path
    """The figures of `evaluate`."""


@dataclass(frozen=True)
class _Picture:
    """A picture in the page: `alt` says what is seen, `caption` how to read it."""

    title: str
    alt: str
    caption: str
    png: bytes
    lettered: bool
    """Whether there is text in it, which must stay readable."""

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels: two pixels of the picture each, so that it is crisp on fine screens."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.width // 2, image.height // 2


def report(inputs: Inputs, plots: Path, page: Path) -> dict[str, Any]:
    """Draw the pictures into the folder `plots` and write the page, which needs no other file.

    Returns:
        How many `figures` and `pictures` it shows, and its `bytes`.

    Raises:
        ModelError: a model is missing, damaged or has another interface, or the two have different latent sizes.
        DataError: figures, pictures, test digits or the manifest are missing or damaged; the stage to run is named.
        OutputError: `plots` holds something else, or something cannot be written.
    """
    metrics = read_json(inputs.metrics, "evaluate")
    manifest = read_json(inputs.exports / MANIFEST_FILE, "export")
    origin = read_json(inputs.origin, "train")
    source = origin["data"]["source"]
    if metrics.get("source") != source:
        raise DataError(
            f"{inputs.metrics} has figures of the source {metrics.get('source')}, the models are of {source}; "
            "run `vae evaluate` again"
        )
    pngs = {file: _read_png(inputs.exports / "samples" / file) for file in _SHEETS}
    with atomic_folder(plots, owns=_OWN) as beside:
        _draw(inputs, source, beside)
        pngs |= {file: (beside / file).read_bytes() for file in _OWN}
        content = _render(metrics, manifest, origin, pngs)
    with atomic_file(page) as beside:
        beside.write_text(content, encoding="utf-8")
    return {"figures": len(list(flatten(metrics))), "pictures": len(pngs), "bytes": len(content.encode())}


def _render(
    metrics: Mapping[str, Any], manifest: Mapping[str, Any], origin: Mapping[str, Any], pngs: Mapping[str, bytes]
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    figures = {figure.key: figure for figure in flatten(metrics)}
    return environment.get_template("report.html").render(
        manifest=manifest,
        origin=origin,
        headline=[figures[key] for key in HEADLINE if key in figures],
        groups=[
            (GROUPS.get(name, Meaning(name.capitalize())), list(flatten(group, name)))
            for name, group in metrics.items()
            if isinstance(group, dict)
        ],
        pictures={
            section: [_Picture(*about, pngs[file], file in _OWN) for file, about in shown.items()]
            for section, shown in _PICTURES.items()
        },
        parameters=[
            (section, name, value if isinstance(value, str) else json.dumps(value))
            for section in ("model", "train")
            for name, value in origin[section].items()
        ],
        variants=list(_variants(manifest)),
    )


def _draw(inputs: Inputs, source: str, folder: Path) -> None:
    encoder, decoder = Encoder(inputs.exports / "encoder"), Decoder(inputs.exports / "decoder")
    check_pair(encoder, decoder)
    images, labels = map(np.asarray, read_split(inputs.prepared, "test"))
    training_curves(inputs.curves, source, folder / "training.png")
    z_mean, z_log_var = encoder(images)
    kl = kl_per_latent(z_mean, z_log_var).mean(axis=0).tolist()
    scatter_latents(z_mean, labels, kl, f"Latents of {len(images):,} test digits ({source})", folder / "latents.png")
    manifold(decoder, kl, source, folder / "manifold.png")
    traversals(decoder, z_mean[0], int(labels[0]), kl, source, folder / "traversals.png")
    interpolations(decoder, images, labels, z_mean, source, folder / "interpolations.png")


def _read_png(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} was not found; run `vae generate` (or `dvc repro`) first") from None


def _variants(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was found when each file was checked, row by row."""
    sizes = {file["path"]: file["bytes"] for file in manifest["files"]}
    exact = manifest["validation"]["negative_elbo"]
    files = [variant for model in manifest["models"].values() for variant in model["variants"].items()]
    for name, about in [*files, *([("float32", manifest["mixture"])] if "mixture" in manifest else [])]:
        budget = about.get("budget", {})
        yield {
            "name": name,
            "file": about["file"],
            "bytes": sizes[about["file"]],
            "largest": _largest(about["largest_difference"]),
            "mean": _largest(about["mean_difference"]) if "mean_difference" in about else None,
            "mean_budget": budget.get("mean_difference"),
            "cost": round(about["negative_elbo"] - exact, 3) + 0.0 if "negative_elbo" in about else None,
            "cost_budget": budget.get("negative_elbo"),
        }


def _largest(differences: Any) -> float:
    """Of numbers in dictionaries in dictionaries."""
    return max(map(_largest, differences.values()), default=0.0) if isinstance(differences, dict) else differences


# By section of the page: title, what is seen, how to read it.
_PICTURES = {
    "digits": {
        "reconstructions.png": (
            "Reconstructions",
            "Pairs of rows: test digits and, below each, what the decoder makes of its latents.",
            "Test digits in the upper row of each pair; below them what the decoder makes of the means of "
            "their latents.",
        ),
        "interpolations.png": (
            "From digit to digit",
            "Rows of decoded digits that lead from one test digit to another.",
            "Between the means of two test digits' latents. Linear: the straight line. Spherical, where there is "
            "more than one latent: the arc, which stays as far from the origin as draws from the prior in many "
            "dimensions do.",
        ),
        "prior.png": (
            "Draws from the prior",
            "A square sheet of digits decoded from draws of the prior.",
            "Each decoded from latents drawn from N(0, I), none picked by hand.",
        ),
        "mixture.png": (
            "Draws from the mixture",
            "A square sheet of digits decoded from draws of a Gaussian mixture.",
            "Each decoded from latents drawn from the Gaussian mixture that was fitted to the training "
            "digits' latents.",
        ),
    },
    "latents": {
        "latents.png": (
            "Where the digits lie",
            "A scatter of the test digits' latents, each drawn as its numeral.",
            "Each test digit stands, as its numeral, at the mean of its latents: along the two with the largest "
            "KL, where there are more, and each digit once more by itself below; along a single one apart by digit.",
        ),
        "manifold.png": (
            "The manifold",
            "Decoded digits on a grid, which change smoothly into each other.",
            "The decoder along the same latents as above, in steps of equal probability under the prior.",
        ),
        "traversals.png": (
            "One latent at a time",
            "Rows of one digit that changes from left to right, one row per latent.",
            "What each latent does to one test digit, largest KL first. A row without change belongs to a "
            "latent that the decoder does not use.",
        ),
    },
    "training": {
        "training.png": (
            "Loss, reconstruction and KL",
            "Three charts over the epochs, training and validation: loss, reconstruction and KL.",
            "Training figures are means over an epoch, while the weights change; validation figures are taken "
            "at its end.",
        ),
    },
}
