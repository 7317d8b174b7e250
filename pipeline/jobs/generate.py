"""Stage and batch job `generate`: latents to images."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import DataError, OutputError
from pipeline.inference.session import Decoder
from pipeline.jobs.draws import QuantileGrid
from pipeline.jobs.engine import plan, run
from pipeline.jobs.grid import beside_originals, tile
from pipeline.jobs.job import SAMPLE, Job, Options, Plan, Summary
from pipeline.jobs.latent_rows import Floats, LatentRows, LatentSource
from pipeline.jobs.parts import PNG, PNG_COLUMN, POSTER, Array, Columns
from pipeline.jobs.poster import Layout, collect, draw_poster
from pipeline.jobs.sized import Sized, open_sized
from pipeline.jobs.target import Target
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.rows import ImageSource, Pixels

SHOWN = 400  # images: as many as can be told apart at a glance


@dataclass(frozen=True)
class GenerateJob(Job[LatentRows]):
    """Latents to `z` and `image`."""

    name: ClassVar[str] = "generate"
    npy_column: ClassVar[str] = "image"

    decoder: Decoder
    originals: Pixels | None
    """The images that the first latents belong to, uint8 `[m, 28, 28]`, to be drawn above what is decoded."""
    originals_state: str | None
    """What changes when they do."""
    drawing: Sized | None = None
    """How images of another size are drawn."""
    first: Floats | None = None
    """The latents that the picture then shows."""

    @property
    def draws(self) -> bool:
        """See `Job.draws`."""
        return True

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        return {"decoder": self.decoder.about(), **(self.drawing.about if self.drawing else {})}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {
            "model_sha256": self.decoder.sha256,
            "latent_dim": str(self.decoder.latent_dim),
            **(self.drawing.metadata if self.drawing else {}),
        }

    @property
    def inputs(self) -> dict[str, Any]:
        """See `Job.inputs`."""
        return {"originals": self.originals_state}

    @property
    def workers(self) -> int:
        """See `Job.workers`."""
        return self.decoder.workers

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        return None if self.drawing else self.decoder.operations

    @property
    def rows_per_stretch(self) -> int:
        """See `Job.rows_per_stretch`."""
        return self.drawing.rows_per_stretch if self.drawing else super().rows_per_stretch

    @property
    def rows_per_part(self) -> int:
        """See `Job.rows_per_part`."""
        return self.drawing.rows_per_part if self.drawing else super().rows_per_part

    @property
    def enlarged(self) -> int:
        """See `Job.enlarged`."""
        return 1 if self.drawing else super().enlarged

    def sample(self) -> LatentRows:
        """See `Job.sample`."""
        rows = min(SAMPLE, self.rows_per_stretch)
        z = np.random.default_rng(0).standard_normal((rows, self.decoder.latent_dim), np.float32)
        return LatentRows(0, rows, z)

    def content(self, rows: LatentRows) -> Array:
        """See `Job.content`."""
        return rows.z

    def work(self, rows: LatentRows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        images = (self.drawing or self.decoder).pixels(rows.z)
        return {"z": rows.z, **image_columns(images, self.format)}, images

    def sheet(self, rows: LatentRows, made: Array) -> Pixels:
        """See `Job.sheet`."""
        if self.drawing is not None and self.first is not None:
            return draw(self.drawing.sheet(self.first), None)
        if self.originals is None:
            return draw(made, None)
        index = np.delete(np.arange(rows.stop), [bad.index for bad in rows.bad])
        shown = index[index < len(self.originals)]
        return draw(made[: len(shown)], self.originals[shown])


def draw(images: Pixels, originals: Pixels | None) -> Pixels:
    """The first images on one sheet, each below its original if there are any; background alone if there is none."""
    images = images[:SHOWN]
    columns = max(1, math.ceil(math.sqrt(len(images))))
    if not len(images):
        return np.zeros(IMAGE_SHAPE, np.uint8)
    return tile(images, columns) if originals is None else beside_originals(originals[:SHOWN], images, 2 * columns)


def image_columns(images: Pixels, format_: str) -> dict[str, Array]:
    """Images as a result holds them: as PNG files if that is its format, else as bytes."""
    if format_ != PNG:
        return {"image": images}
    import cv2  # noqa: PLC0415  (for PNG files alone)

    return {PNG_COLUMN: np.array([cv2.imencode(".png", image)[1].tobytes() for image in images], object)}


def generate(
    decoder: Decoder,
    latents: LatentSource,
    target: Target,
    options: Options,
    *,
    originals: ImageSource | None = None,
    size: int | None = None,
    softness: float | None = None,
    dry_run: bool = False,
) -> Summary | Plan:
    """Decode every latent; a PNG beside the result shows the first 400 images.

    Columns: `index` int64, `z` as a fixed-size list of float32, `image` as 784 bytes (28 x 28, row by row,
    0 = background, 255 = ink); an `.npy` file holds the images, uint8 `[n, 28, 28]`; a `.png` file shows all of them,
    a grid of quantiles as it is. With a size, images have it instead of 28, and come from the renderer. The bytes do
    not depend on batch size, on the number of cores, or on how often the job was interrupted.

    Args:
        decoder: the model.
        latents: what to decode.
        target: where to.
        options: how.
        originals: the images that the latents belong to, row for row; the picture then shows each above what
            was made of it.
        size: pixels along a side of each image, drawn by the renderer; by default the decoder's own images.
        softness: of their edges, 0.05 to 10: 1, the default, is as trained.
        dry_run: only say what would be done.

    Raises:
        DataError: the latents fail or change while they are read; fewer originals than latents, or some set aside.
        ModelError: a size, and the decoder has no renderer.
        FormatError: a latent is not finite, unless such rows are set aside.
        OutputError: `target` holds something else, the latents themselves, or cannot be written; or no such size.
    """
    for path in latents.paths:
        target.refuse_source(path)
    drawing = open_sized(decoder, target, size, softness)
    if drawing is None:
        first = None if originals is None else _first(originals, latents)
        job = GenerateJob(target.format, decoder, first, None if originals is None else originals.state())
        return (plan if dry_run else run)(job, latents, target, options)
    if originals is not None:
        raise OutputError("--originals are of the size of the data; leave out --size, and name a folder, .npy or .npz")
    if target.format == POSTER:
        columns = latents.side if isinstance(latents, QuantileGrid) else None
        collected = collect(latents, _latents, options, decoder.workers, decoder.latent_dim)
        layout = Layout(GenerateJob.name, {"decoder": decoder.about()}, drawing, columns)
        return draw_poster(layout, latents, collected, target, options, dry_run=dry_run)
    shown = latents.read(0, min(latents.count, SHOWN))().z
    job = GenerateJob(target.format, decoder, None, None, drawing, shown)
    return (plan if dry_run else run)(job, latents, target, options)


def _latents(rows: LatentRows) -> Floats:
    return rows.z


def _first(originals: ImageSource, latents: LatentSource) -> Pixels:
    """The originals that the picture shows, which must pair with the latents row by row."""
    if latents.set_aside:
        raise DataError(f"{latents.name} lacks {latents.set_aside:,} of the images, so that rows don't pair")
    if originals.count is not None and originals.count < latents.count:
        raise DataError(
            f"{originals.name} holds {originals.count:,} images for {latents.count:,} latents; one for each is needed"
        )
    rows = originals.read(0, min(latents.count, SHOWN))()
    if rows.bad:
        raise DataError(f"{rows.bad[0].name}: {rows.bad[0].reason}")
    return rows.images
