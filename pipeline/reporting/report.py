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

from pipeline.data.prepared import read_about, read_json, read_split
from pipeline.errors import DataError
from pipeline.evaluating.definitions import HEADLINE, flatten, present
from pipeline.evaluating.generator import open_generator
from pipeline.evaluating.variants import variants
from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.measures.elbo import kl_per_latent
from pipeline.reporting.plots import scatter_latents, shortened, training_curves
from pipeline.reporting.sheets import close_up, interpolations, manifold, traversals
from pipeline.shared.files import atomic_file, atomic_folder
from pipeline.shared.interface import GENERATOR, MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.data.prepared import About

_Words = str | dict[bool, str]  # whether the images have classes
_LONGEST = 40  # characters of the name of a class in a title
_TEMPLATES = Path(__file__).parent / "templates"
_SHEETS, _BY_GENERATOR = ("reconstructions.png", "prior.png", "mixture.png"), "generator.png"  # of stage `generate`
_STRANGEST = "scores.png"  # of stage `score`
_OWN = ("close-up.png", "latents.png", "manifold.png", "traversals.png", "interpolations.png", "training.png")


@dataclass(frozen=True)
class Inputs:
    """The files and folders that the report is made from."""

    exports: Path
    """The models, their manifest, the sheets of images in `samples/` and that of the strangest, `scores.png`."""
    prepared: Path
    """The test images, and what they show."""
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
    full: bool
    """Whether each of its pixels is one of the page: it is as wide as that."""

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels; each is two of most pictures', for sharpness on high-density screens."""
        times = 1 if self.full else 2
        with Image.open(io.BytesIO(self.png)) as image:
            return image.width // times, image.height // times


def report(inputs: Inputs, plots: Path, page: Path) -> dict[str, Any]:
    """Draw the pictures into the folder `plots` and write the page, a single self-contained file.

    Returns:
        The number of `figures` and `pictures` on the page, and its size in `bytes`.

    Raises:
        ModelError: a model is missing, damaged or has another interface, or the two have different latent sizes.
        DataError: figures, pictures, test images or the manifest are missing; the message names the stage to run.
        OutputError: `plots` contains other files, or a file cannot be written.
    """
    metrics = read_json(inputs.metrics, "evaluate")
    manifest = read_json(inputs.exports / MANIFEST_FILE, "export")
    origin = read_json(inputs.origin, "train")
    source, about = origin["data"]["source"], read_about(inputs.prepared)
    if metrics.get("source") != source:
        raise DataError(
            f"{inputs.metrics} holds figures for the source {metrics.get('source')}, but the models were trained on "
            f"{source}; run `vae evaluate` again"
        )
    sheets = [*_SHEETS, *([_BY_GENERATOR] if (inputs.exports / GENERATOR).is_dir() else [])]
    pngs = {file: _read_png(inputs.exports / "samples" / file, "generate") for file in sheets}
    pngs[_STRANGEST] = _read_png(inputs.exports / _STRANGEST, "score")
    with atomic_folder(plots, owns=_OWN) as beside:
        _draw(inputs, source, about, beside)
        pngs |= {file: (beside / file).read_bytes() for file in _OWN}
        content = _render(metrics, manifest, origin, about, pngs)
    with atomic_file(page) as beside:
        beside.write_text(content, encoding="utf-8")
    return {"figures": len(list(flatten(metrics))), "pictures": len(pngs), "bytes": len(content.encode())}


def _render(
    metrics: Mapping[str, Any],
    manifest: Mapping[str, Any],
    origin: Mapping[str, Any],
    about: About,
    pngs: Mapping[str, bytes],
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    figures = {figure.key: figure for figure in flatten(metrics, about.noun)}
    return environment.get_template("report.html").render(
        manifest=manifest,
        origin=origin,
        about=about,
        headline=[figures[key] for key in HEADLINE if key in figures],
        groups=[present(name, group, about.noun) for name, group in metrics.items() if isinstance(group, dict)],
        pictures={
            section: [
                _Picture(
                    *_worded(shown, about),
                    png=pngs[file],
                    lettered=file in (*_OWN, _STRANGEST),
                    full=file == _STRANGEST,
                )
                for file, shown in files.items()
                if file in pngs
            ]
            for section, files in _PICTURES.items()
        },
        parameters=[
            (section, name, value if isinstance(value, str) else json.dumps(value))
            for section in ("model", "train")
            for name, value in origin[section].items()
        ],
        variants=list(variants(manifest)),
    )


def _draw(inputs: Inputs, source: str, about: About, folder: Path) -> None:
    encoder, decoder = Encoder(inputs.exports / "encoder"), Decoder(inputs.exports / "decoder")
    check_pair(encoder, decoder)
    images, labels = read_split(inputs.prepared, "test")
    images, labels = np.asarray(images), None if labels is None else np.asarray(labels)
    training_curves(inputs.curves, source, folder / "training.png")
    z_mean, z_log_var = encoder(images)
    kl = kl_per_latent(z_mean, z_log_var).mean(axis=0).tolist()
    title = f"Latents of {len(images):,} test {about.noun}s ({source})"
    scatter_latents(z_mean, labels, about, kl, title, folder / "latents.png")
    manifold(decoder, kl, source, folder / "manifold.png")
    shows = f"test {about.noun}" + ("" if labels is None else f": {shortened(about.classes[labels[0]], _LONGEST)}")
    traversals(decoder, z_mean[0], shows, kl, source, folder / "traversals.png")
    interpolations(decoder, images, labels, z_mean, about, source, folder / "interpolations.png")
    shown = {"decoder": (decoder, z_mean)}
    if generator := open_generator(inputs.exports):
        shown[GENERATOR] = generator[1], generator[0](images)[0]
    close_up(shown, images, labels, about, source, folder / "close-up.png")


def _worded(words: tuple[_Words, _Words, _Words], about: About) -> tuple[str, str, str]:
    """Words for a picture: with `{noun}` filled in, and of two the ones for images with or without classes."""
    title, alt, caption = (text if isinstance(text, str) else text[bool(about.classes)] for text in words)
    noun = "{noun}"
    return title.replace(noun, about.noun), alt.replace(noun, about.noun), caption.replace(noun, about.noun)


def _read_png(path: Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} was not found; run `vae {stage}` (or `dvc repro`) first") from None


# By section of the page, for each picture (see `_worded`): its title, what it shows, and how to read it.
_PICTURES: dict[str, dict[str, tuple[_Words, _Words, _Words]]] = {
    "images": {
        "reconstructions.png": (
            "Reconstructions",
            "Pairs of rows: test {noun}s, with the reconstruction of each directly below it.",
            "The upper row of each pair shows test {noun}s, the lower row their reconstructions: what the decoder "
            "produces from the means of their latents.",
        ),
        "close-up.png": (
            "Close up",
            "Rows of the same {noun}s: as a decoder makes them, and drawn large with soft and with sharp edges.",
            "The first row shows test {noun}s. Below, their latents, of 28 by 28 pixels as the decoder makes them, and "
            "then as its renderer draws them from the same weights, with the softness of edges that the model was "
            "trained with, and with a tenth of it. Then the same by the generator.",
        ),
        "interpolations.png": (
            "From {noun} to {noun}",
            "Rows of decoded {noun}s that lead from one test {noun} to another.",
            "Decoded from points between the latent means of two test {noun}s. Linear: along the straight line. "
            "Spherical (with more than one latent): along the arc, which keeps the distance from the origin that draws "
            "from the prior have in many dimensions.",
        ),
        "prior.png": (
            "Draws from the prior",
            "A square grid of {noun}s decoded from draws of the prior.",
            "Each {noun} is decoded from latents drawn from N(0, I). None was picked by hand.",
        ),
        "mixture.png": (
            "Draws from the mixture",
            "A square grid of {noun}s decoded from draws of a Gaussian mixture.",
            "Each {noun} is decoded from latents drawn from the Gaussian mixture that was fitted to the latents of the "
            "training {noun}s.",
        ),
        "generator.png": (
            "Draws from the mixture, by the generator",
            "A square grid of {noun}s that the generator drew, as sharp as real ones.",
            "The latents of the sheet above, decoded by the generator: a second decoder, taught by a discriminator.",
        ),
    },
    "strangest": {
        _STRANGEST: (
            "The strangest test {noun}s",
            "A sheet of pairs: a test {noun} that the model finds strange, and what it makes of it, with words below.",
            "The test {noun}s with the highest scores, the strangest first, each on the left of what the model makes "
            "of it. Below each pair is the row of the {noun} among the test {noun}s, counted from 0, and its class if "
            "it has one; then its score, and how many of a hundred held-out {noun}s have a lower one.",
        ),
    },
    "latents": {
        "latents.png": (
            "Test {noun}s in latent space",
            {
                True: "A scatter plot of the test {noun}s' latents, coloured by class.",
                False: "A scatter plot of the test {noun}s' latents, all alike.",
            },
            {
                True: "Each test {noun} is drawn in the colour of its class at the mean of its latents, as the name of "
                "its class where that is short. With more than two latents, the axes are the two with the largest KL; "
                "the small plots below pick out one class each. With a single latent, the {noun}s are spread "
                "vertically by class.",
                False: "Each test {noun} is a dot at the mean of its latents. With more than two latents, the axes are "
                "the two with the largest KL. There are no colours, and no small plot for each class, because the data "
                "have no labels.",
            },
        ),
        "manifold.png": (
            "The manifold",
            "A grid of decoded {noun}s that change smoothly into one another.",
            "Decoded from a grid over the same latents as above, in steps of equal probability under the prior.",
        ),
        "traversals.png": (
            "One latent at a time",
            "Rows of one {noun} that changes from left to right, one row per latent.",
            "How a test {noun} changes when a single latent is varied, with the largest KL first. If nothing changes "
            "in a row, the decoder does not use that latent.",
        ),
    },
    "training": {
        "training.png": (
            "Loss, reconstruction and KL",
            "Three charts of loss, reconstruction and KL by epoch, for training and validation {noun}s.",
            "Training values are averaged over an epoch, while the weights change; validation values are measured at "
            "its end.",
        ),
    },
}
