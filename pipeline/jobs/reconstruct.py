"""Batch job `reconstruct`: images to latents to images."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.jobs.encode import OnImages
from pipeline.jobs.engine import plan, run
from pipeline.jobs.generate import SHOWN, draw, image_columns
from pipeline.jobs.job import Options, Plan, Summary
from pipeline.jobs.parts import POSTER, Array, Columns
from pipeline.jobs.poster import Layout, collect, draw_poster
from pipeline.jobs.sized import SHOWN_SIZE, Sized, open_sized
from pipeline.jobs.target import Target
from pipeline.sources.rows import ImageSource, Pixels, Rows


@dataclass(frozen=True)
class ReconstructJob(OnImages):
    """Images to `label`, `z` and `image`."""

    name: ClassVar[str] = "reconstruct"
    npy_column: ClassVar[str] = "image"

    encoder: Encoder
    decoder: Decoder
    drawing: Sized | None = None
    """How images of another size are drawn."""
    first: Rows | None = None
    """What the picture then shows."""

    @property
    def model(self) -> Encoder:
        """See `OnImages.model`."""
        return self.encoder

    @property
    def draws(self) -> bool:
        """See `Job.draws`."""
        return True

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        classes = {"classes": list(self.classes)} if self.classes else {}
        drawing = self.drawing.about if self.drawing else {}
        return {"encoder": self.encoder.about(), "decoder": self.decoder.about(), **drawing, **classes}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {
            "encoder_sha256": self.encoder.sha256,
            "model_sha256": self.decoder.sha256,
            "latent_dim": str(self.decoder.latent_dim),
            **(self.drawing.metadata if self.drawing else {}),
            **self.named(),
        }

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        both = self.encoder.operations, self.decoder.operations
        return None if None in both or self.drawing else sum(filter(None, both))

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

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        z, _ = self.encoder(rows.images)
        images = (self.drawing or self.decoder).pixels(z)
        return {**self.origin(rows), "z": z, **image_columns(images, self.format)}, images

    def sheet(self, rows: Rows, made: Array) -> Pixels:
        """See `Job.sheet`."""
        if self.drawing is None or self.first is None:
            return draw(made, rows.images)
        originals = self.first.images
        times = SHOWN_SIZE // originals.shape[1]
        large = originals.repeat(times, axis=1).repeat(times, axis=2)
        return draw(self.drawing.sheet(self.encoder(originals)[0]), large)


def reconstruct(
    encoder: Encoder,
    decoder: Decoder,
    source: ImageSource,
    target: Target,
    options: Options,
    *,
    size: int | None = None,
    softness: float | None = None,
    dry_run: bool = False,
) -> Summary | Plan:
    """Encode every image and decode the mean of its latents; a PNG beside the result shows the first 400.

    Columns: `index`, `label` and `source` as `encode` has them, `z` as a fixed-size list of float32, `image` as 784
    bytes; an `.npy` file holds the images; a `.png` file shows all of them. With a size, images have it instead of 28,
    and come from the renderer.

    Args:
        encoder: to latents.
        decoder: and back.
        source: the images.
        target: where to.
        options: how.
        size: pixels along a side of each image, drawn by the renderer; by default the decoder's own images.
        softness: of their edges, 0.05 to 10: 1, the default, is as trained.
        dry_run: only say what would be done.

    Raises:
        ModelError: encoder and decoder do not belong to one model, or it has no renderer for a size.
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    check_pair(encoder, decoder)
    drawing = open_sized(decoder, target, size, softness)
    if drawing is not None and target.format == POSTER:
        collected = collect(source, lambda rows: encoder(rows.images)[0], options, encoder.workers, encoder.latent_dim)
        models = {"encoder": encoder.about(), "decoder": decoder.about()}
        layout = Layout(ReconstructJob.name, models, drawing)
        return draw_poster(layout, source, collected, target, options, dry_run=dry_run)
    first = None if drawing is None else _first(source, options)
    job = ReconstructJob(target.format, encoder, decoder, drawing, first, classes=source.classes)
    return (plan if dry_run else run)(job, source, target, options)


def _first(source: ImageSource, options: Options) -> Rows:
    """What the picture shows: more than a stretch of large images holds, and the source can't be gone back in."""
    with source.reopen() as again:
        stop = min(SHOWN, options.limit or SHOWN, SHOWN if source.count is None else source.count)
        return again.read(0, stop)()
