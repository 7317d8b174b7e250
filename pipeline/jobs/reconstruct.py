"""Batch job `reconstruct`: images to latents to images."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.inference.session import Decoder, Encoder, check_pair
from pipeline.jobs.encode import OnImages
from pipeline.jobs.engine import plan, run
from pipeline.jobs.generate import draw, image_columns
from pipeline.jobs.job import Options, Plan, Summary
from pipeline.jobs.parts import Array, Columns
from pipeline.jobs.target import Target
from pipeline.sources.rows import ImageSource, Pixels, Rows


@dataclass(frozen=True)
class ReconstructJob(OnImages):
    """Images to `label`, `z` and `image`."""

    name: ClassVar[str] = "reconstruct"
    npy_column: ClassVar[str] = "image"
    draws: ClassVar[bool] = True

    decoder: Decoder

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"encoder": self.encoder.about(), "decoder": self.decoder.about(), **classes}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {
            "encoder_sha256": self.encoder.sha256,
            "model_sha256": self.decoder.sha256,
            "latent_dim": str(self.decoder.latent_dim),
            **self.named(),
        }

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        both = self.encoder.operations, self.decoder.operations
        return None if None in both else sum(filter(None, both))

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        z, _ = self.encoder(rows.images)
        images = self.decoder.pixels(z)
        return {**self.origin(rows), "z": z, **image_columns(images, self.format)}, images

    def sheet(self, rows: Rows, made: Array) -> Pixels:
        """See `Job.sheet`."""
        return draw(made, rows.images)


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

    Columns: `index`, `label` and `source` as `encode` has them, `z` as a fixed-size list of float32, `image` as 784
    bytes; an `.npy` file holds the images.

    Raises:
        ModelError: encoder and decoder do not belong to one model.
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    check_pair(encoder, decoder)
    job = ReconstructJob(target.format, encoder, decoder, classes=source.classes)
    return (plan if dry_run else run)(job, source, target, options)
