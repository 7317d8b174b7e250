"""Stage and batch job `encode`: images to latents."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutputError
from pipeline.inference.session import Encoder
from pipeline.jobs.engine import plan, run
from pipeline.jobs.job import Job, Options, Plan, Summary
from pipeline.jobs.parts import PNG, Array, Columns
from pipeline.jobs.target import Target
from pipeline.sources.rows import ImageSource, Rows


@dataclass(frozen=True)
class OnImages(Job[Rows]):
    """A job whose rows are images, the first model of which is an encoder."""

    encoder: Encoder

    @property
    def workers(self) -> int:
        """See `Job.workers`."""
        return self.encoder.workers

    def content(self, rows: Rows) -> Array:
        """See `Job.content`."""
        return rows.images


@dataclass(frozen=True)
class EncodeJob(OnImages):
    """Images to `label`, `z_mean` and `z_log_var`."""

    name: ClassVar[str] = "encode"
    npy_column: ClassVar[str] = "z_mean"

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        return {"encoder": self.encoder.about()}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {"model_sha256": self.encoder.sha256, "latent_dim": str(self.encoder.latent_dim)}

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        return self.encoder.operations

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        z_mean, z_log_var = self.encoder(rows.images)
        return {"label": labels_of(rows), "z_mean": z_mean, "z_log_var": z_log_var}, z_mean


def encode(
    encoder: Encoder, source: ImageSource, target: Target, options: Options, *, dry_run: bool = False
) -> Summary | Plan:
    """Write the latents of every image.

    Columns: `index` int64 (row in the source), `label` uint8 or null, `z_mean` and `z_log_var` as fixed-size
    lists of float32; an `.npy` file holds `z_mean`. The bytes do not depend on batch size, on the number of cores, on
    the format of the source, or on how often the job was interrupted.

    Raises:
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    if target.format == PNG:
        raise OutputError("latents can't be written as png; choose parquet, npy or npz")
    return (plan if dry_run else run)(EncodeJob(target.format, encoder), source, target, options)


def labels_of(rows: Rows) -> NDArray[np.int16]:
    """int16 `[m]`, -1 for none."""
    return np.full(len(rows.images), -1, np.int16) if rows.labels is None else rows.labels
