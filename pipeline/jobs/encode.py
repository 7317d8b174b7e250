"""Stage and batch job `encode`: images to latents."""

import json
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import OutputError
from pipeline.inference.appearance import Appearance
from pipeline.inference.model import OnnxModel
from pipeline.inference.session import Encoder
from pipeline.jobs.engine import plan, run
from pipeline.jobs.job import SAMPLE, Job, Options, Plan, Summary
from pipeline.jobs.parts import PNG, POSTER, Array, Columns
from pipeline.jobs.target import Target
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.sources.rows import ImageSource, Rows


@dataclass(frozen=True)
class OnImages(Job[Rows]):
    """A job whose rows are images."""

    carries_labels: ClassVar[bool] = True

    classes: tuple[str, ...] = field(default=(), kw_only=True)
    """Names of the classes, by label; none where labels are plain numbers."""

    @property
    @abstractmethod
    def model(self) -> OnnxModel:
        """The one that sees the images first."""

    @property
    def workers(self) -> int:
        """See `Job.workers`."""
        return self.model.workers

    def content(self, rows: Rows) -> Array:
        """See `Job.content`."""
        return rows.images

    def sample(self) -> Rows:
        """See `Job.sample`."""
        rows = min(SAMPLE, self.rows_per_stretch)
        images = np.random.default_rng(0).integers(0, 256, (rows, *IMAGE_SHAPE), np.uint8)
        return Rows(0, rows, images, None)

    def remark(self, rows: Rows) -> str | None:
        """See `Job.remark`."""
        usual = Appearance.read(self.model.facts)
        return None if usual is None else usual.remark(rows.images)

    def named(self) -> dict[str, str]:
        """The classes, for what each Parquet file says of itself."""
        return {"classes": json.dumps(self.classes)} if self.classes else {}

    @staticmethod
    def origin(rows: Rows) -> Columns:
        """The columns that say what each row is and where it comes from: label and, if rows have names, source."""
        label = np.full(len(rows.images), -1, np.int16) if rows.labels is None else rows.labels
        if rows.names is None:
            return {"label": label}
        names = [name.encode(errors="backslashreplace").decode() for name in rows.names]
        return {"label": label, "source": np.array(names, np.str_)}


@dataclass(frozen=True)
class EncodeJob(OnImages):
    """Images to `label`, `z_mean` and `z_log_var`."""

    name: ClassVar[str] = "encode"
    npy_column: ClassVar[str] = "z_mean"

    encoder: Encoder

    @property
    def model(self) -> Encoder:
        """See `OnImages.model`."""
        return self.encoder

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        return {"encoder": self.encoder.about(), **({"classes": list(self.classes)} if self.classes else {})}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {"model_sha256": self.encoder.sha256, "latent_dim": str(self.encoder.latent_dim), **self.named()}

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        return self.encoder.operations

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        z_mean, z_log_var = self.encoder(rows.images)
        return {**self.origin(rows), "z_mean": z_mean, "z_log_var": z_log_var}, z_mean


def encode(
    encoder: Encoder, source: ImageSource, target: Target, options: Options, *, dry_run: bool = False
) -> Summary | Plan:
    """Write the latents of every image.

    Columns: `index` int64 (row in the source), `label` uint8 or null, `source` (the file or member that the row came
    from, relative to the pile, where it came from one), `z_mean` and `z_log_var` as fixed-size
    lists of float32; an `.npy` file holds `z_mean`. The bytes do not depend on batch size, on the number of cores, on
    the format of the source, or on how often the job was interrupted.

    Raises:
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    if target.format in (PNG, POSTER):
        raise OutputError("latents can't be written as png; choose parquet, npy or npz")
    return (plan if dry_run else run)(
        EncodeJob(target.format, encoder, classes=source.classes), source, target, options
    )
