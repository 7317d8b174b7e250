"""Stages and batch jobs `generate`, latents to images, and `reconstruct`, images to latents to images."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, ModelError
from pipeline.inference.session import Decoder, Encoder
from pipeline.jobs.encode import labels_of
from pipeline.jobs.engine import plan, run
from pipeline.jobs.grid import beside_originals, save_png, tile
from pipeline.jobs.job import Job, Options, Plan, Summary
from pipeline.jobs.latents import LatentRows, LatentSource
from pipeline.jobs.parts import PNG, PNG_COLUMN, Array, Columns
from pipeline.jobs.target import Target
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.rows import ImageSource, Rows

_DIGITS = 400  # as many as can be told apart at a glance

Pixels = NDArray[np.uint8]


@dataclass
class _Sheet:
    """The first images of a result, and what they were made from, as a picture."""

    images: Pixels = field(default_factory=lambda: np.zeros((0, *IMAGE_SHAPE), np.uint8))
    originals: Pixels | None = None

    def take(self, images: Pixels, rows: NDArray[np.int64]) -> None:
        """Images of some rows of the source, in order, of which `originals` holds the first."""
        if self.originals is None:
            self.images = images[:_DIGITS]
        else:
            shown = rows[rows < len(self.originals)]
            self.originals, self.images = self.originals[shown], images[: len(shown)]

    def save(self, path: Path) -> None:
        """Draw them; nothing but background if every row was bad."""
        columns = max(1, math.ceil(math.sqrt(len(self.images))))
        if not len(self.images):
            sheet = np.zeros(IMAGE_SHAPE, np.uint8)
        elif self.originals is None:
            sheet = tile(self.images, columns)
        else:
            sheet = beside_originals(self.originals, self.images, 2 * columns)
        save_png(sheet, path)


def generate(
    decoder: Decoder,
    latents: LatentSource,
    target: Target,
    options: Options,
    *,
    originals: ImageSource | None = None,
    dry_run: bool = False,
) -> Summary | Plan:
    """Decode every latent; a PNG beside the result shows the first 400 digits.

    Columns: `index` int64, `z` as a fixed-size list of float32, `image` as 784 bytes (28 x 28, row by row,
    0 = background, 255 = ink); an `.npy` file holds the images, uint8 `[n, 28, 28]`. The bytes do not depend on batch
    size, on the number of cores, or on how often the job was interrupted.

    Args:
        decoder: the model.
        latents: what to decode.
        target: where to.
        options: how.
        originals: the images that the latents belong to, row for row; the picture then shows each above what
            was made of it.
        dry_run: only say what would be done.

    Raises:
        DataError: the latents fail or change while they are read; fewer originals than latents, or some set aside.
        FormatError: a latent is not finite, unless such rows are set aside.
        OutputError: `target` holds something else, the latents themselves, or cannot be written.
    """
    if latents.path is not None:
        target.refuse_source(latents.path)
    sheet = _Sheet()
    if originals is not None:
        if latents.set_aside:
            raise DataError(f"{latents.name} lacks {latents.set_aside:,} of the images, so that rows don't pair")
        if originals.count is not None and originals.count < latents.count:
            raise DataError(
                f"{originals.name} holds {originals.count:,} images for {latents.count:,} latents; "
                "one for each is needed"
            )
        first = originals.read(0, min(latents.count, _DIGITS))()
        if first.bad:
            raise DataError(f"{first.bad[0].name}: {first.bad[0].reason}")
        sheet.originals = first.images

    def work(rows: LatentRows) -> Columns:
        images = decoder.pixels(rows.z)
        if rows.start == 0:
            sheet.take(images, np.delete(np.arange(rows.stop), [bad.index for bad in rows.bad]))
        return {"z": rows.z, **_image_columns(images, target)}

    job = Job(
        name="generate",
        about={"decoder": decoder.about()},
        metadata={"model_sha256": decoder.sha256, "latent_dim": str(decoder.latent_dim)},
        content=lambda rows: rows.z,
        work=work,
        npy_column="image",
        workers=decoder.workers,
        picture=sheet.save,
        inputs={"originals": originals.state() if originals is not None else None},
        operations=decoder.operations,
    )
    return (plan if dry_run else run)(job, latents, target, options)


def reconstruct(
    encoder: Encoder,
    decoder: Decoder,
    source: ImageSource,
    target: Target,
    options: Options,
    *,
    dry_run: bool = False,
) -> Summary | Plan:
    """Encode every image and decode the mean of its latents; a PNG beside the result shows the first 400.

    Columns: `index` int64 (row in the source), `label` uint8 or null, `z` as a fixed-size list of float32, `image` as
    784 bytes; an `.npy` file holds the images.

    Raises:
        ModelError: encoder and decoder have other numbers of latents.
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    if encoder.latent_dim != decoder.latent_dim:
        raise ModelError(
            f"{encoder.path} gives {encoder.latent_dim} latents, {decoder.path} takes {decoder.latent_dim}; "
            "give two halves of one model"
        )

    sheet = _Sheet()

    def work(rows: Rows) -> Columns:
        z, _ = encoder(rows.images)
        images = decoder.pixels(z)
        if rows.start == 0:
            sheet.originals, sheet.images = rows.images[:_DIGITS], images[:_DIGITS]
        return {"label": labels_of(rows), "z": z, **_image_columns(images, target)}

    job = Job(
        name="reconstruct",
        about={"encoder": encoder.about(), "decoder": decoder.about()},
        metadata={
            "encoder_sha256": encoder.sha256,
            "model_sha256": decoder.sha256,
            "latent_dim": str(decoder.latent_dim),
        },
        content=lambda rows: rows.images,
        work=work,
        npy_column="image",
        workers=decoder.workers,
        picture=sheet.save,
        operations=encoder.operations and decoder.operations and encoder.operations + decoder.operations,
    )
    return (plan if dry_run else run)(job, source, target, options)


def _image_columns(images: Pixels, target: Target) -> dict[str, Array]:
    if target.format != PNG:
        return {"image": images}
    import cv2  # noqa: PLC0415  (for PNG files alone)

    return {PNG_COLUMN: np.array([cv2.imencode(".png", image)[1].tobytes() for image in images], object)}
