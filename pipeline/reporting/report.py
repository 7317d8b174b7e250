"""Stage `report`: draw what the models do, and write one page with these pictures and all figures."""

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
from pipeline.evaluating.definitions import GROUPS, HEADLINE, Meaning, flatten
from pipeline.evaluating.variants import variants
from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.measures.elbo import kl_per_latent
from pipeline.reporting.plots import scatter_latents, training_curves
from pipeline.reporting.sheets import interpolations, manifold, traversals
from pipeline.shared.files import atomic_file, atomic_folder
from pipeline.shared.interface import MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATES = Path(__file__).parent / "templates"
_SHEETS = ("reconstructions.png", "prior.png", "mixture.png")  # of stage `generate`
_OWN = ("latents.png", "manifold.png", "traversals.png", "interpolations.png", "training.png")


@dataclass(frozen=True)
class Inputs:
    """The files and folders that the report is made from."""

    exports: Path
    """The models, their manifest, and the sheets of digits in `samples/`."""
    prepared: Path
    """The test digits."""
    origin: Path
    """The parameters and data of the training run, which `train` records beside the weights."""
    curves: Path
    """DVCLive's metrics of each epoch."""
    metrics: Path
    """The figures of `evaluate`."""


@dataclass(frozen=True)
class _Picture:
    """A picture in the page: `alt` says what it shows, `caption` how to read it."""

    title: str
    alt: str
    caption: str
    png: bytes
    lettered: bool
    """Whether it contains text, which must stay readable on small screens."""

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels; each is two pixels of the picture, for sharpness on high-density screens."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.width // 2, image.height // 2


def report(inputs: Inputs, plots: Path, page: Path) -> dict[str, Any]:
    """Draw the pictures into the folder `plots` and write the page, a single self-contained file.

    Returns:
        The number of `figures` and `pictures` on the page, and its size in `bytes`.

    Raises:
        ModelError: a model is missing, damaged or has another interface, or the two have different latent sizes.
        DataError: figures, pictures, test digits or the manifest are missing; the message names the stage to run.
        OutputError: `plots` contains other files, or a file cannot be written.
    """
    metrics = read_json(inputs.metrics, "evaluate")
    manifest = read_json(inputs.exports / MANIFEST_FILE, "export")
    origin = read_json(inputs.origin, "train")
    source = origin["data"]["source"]
    if metrics.get("source") != source:
        raise DataError(
            f"{inputs.metrics} holds figures for the source {metrics.get('source')}, but the models were trained on "
            f"{source}; run `vae evaluate` again"
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
        variants=list(variants(manifest)),
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


# By section of the page, for each picture: its title, what it shows, and how to read it.
_PICTURES = {
    "digits": {
        "reconstructions.png": (
            "Reconstructions",
            "Pairs of rows: test digits, with the reconstruction of each directly below it.",
            "The upper row of each pair shows test digits, the lower row their reconstructions: what the decoder "
            "produces from the means of their latents.",
        ),
        "interpolations.png": (
            "From digit to digit",
            "Rows of decoded digits that lead from one test digit to another.",
            "Decoded from points between the latent means of two test digits. Linear: along the straight line. "
            "Spherical (with more than one latent): along the arc, which keeps the distance from the origin that draws "
            "from the prior have in many dimensions.",
        ),
        "prior.png": (
            "Draws from the prior",
            "A square grid of digits decoded from draws of the prior.",
            "Each digit is decoded from latents drawn from N(0, I). None was picked by hand.",
        ),
        "mixture.png": (
            "Draws from the mixture",
            "A square grid of digits decoded from draws of a Gaussian mixture.",
            "Each digit is decoded from latents drawn from the Gaussian mixture that was fitted to the latents of the "
            "training digits.",
        ),
    },
    "latents": {
        "latents.png": (
            "Test digits in latent space",
            "A scatter plot of the test digits' latents, each drawn as its numeral.",
            "Each test digit is drawn as its numeral at the mean of its latents. With more than two latents, the axes "
            "are the two with the largest KL; the small plots below pick out one digit each. With a single latent, the "
            "digits are spread vertically by label.",
        ),
        "manifold.png": (
            "The manifold",
            "A grid of decoded digits that change smoothly into one another.",
            "Decoded from a grid over the same latents as above, in steps of equal probability under the prior.",
        ),
        "traversals.png": (
            "One latent at a time",
            "Rows of one digit that changes from left to right, one row per latent.",
            "How a test digit changes when a single latent is varied, with the largest KL first. If nothing changes in "
            "a row, the decoder does not use that latent.",
        ),
    },
    "training": {
        "training.png": (
            "Loss, reconstruction and KL",
            "Three charts of loss, reconstruction and KL by epoch, for training and validation digits.",
            "Training values are averaged over an epoch, while the weights change; validation values are measured at "
            "its end.",
        ),
    },
}
