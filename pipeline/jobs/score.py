"""Stage and batch job `score`: images to how unusual they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from pipeline.errors import ModelError, OutputError
from pipeline.inference.session import Decoder, Encoder, Scorer, check_pair
from pipeline.inference.usual import Usual
from pipeline.jobs.encode import OnImages
from pipeline.jobs.engine import plan, run
from pipeline.jobs.job import Options, Plan, Summary
from pipeline.jobs.parts import PNG, POSTER, Array, Columns
from pipeline.jobs.strangest import draw_strangest
from pipeline.jobs.target import Target
from pipeline.shared.interface import DECODER, ENCODER, Interface
from pipeline.sources.rows import ImageSource, Pixels, Rows

Half = TypeVar("Half", Encoder, Decoder)


@dataclass(frozen=True)
class ScoreJob(OnImages):
    """Images to `label`, `excess`, `reconstruction`, `kl`, `score` and `percentile`."""

    name: ClassVar[str] = "score"
    npy_column: ClassVar[str] = "score"

    scorer: Scorer
    usual: Usual
    encoder: Encoder | None = None
    """Gives `z_mean` too."""
    most: int = 0
    """How many of the strangest images the picture shows."""
    halves: tuple[Encoder, Decoder] | None = None
    """Of the scorer, to draw what becomes of these."""

    @property
    def model(self) -> Scorer:
        """See `OnImages.model`."""
        return self.scorer

    @property
    def draws(self) -> bool:
        """See `Job.draws`."""
        return self.most > 0

    @property
    def enlarged(self) -> int:
        """See `Job.enlarged`."""
        return 1

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        encoder = {} if self.encoder is None else {"encoder": self.encoder.about()}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"scorer": self.scorer.about(), **encoder, **classes}

    @property
    def inputs(self) -> dict[str, Any]:
        """See `Job.inputs`."""
        return {"most": self.most, "halves": [half.about() for half in self.halves or ()]}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        latents = {}
        if self.encoder is not None:
            latents = {"encoder_sha256": self.encoder.sha256, "latent_dim": str(self.encoder.latent_dim)}
        return {"model_sha256": self.scorer.sha256, "precision": self.scorer.precision, **latents, **self.named()}

    @property
    def operations(self) -> int | None:
        """See `Job.operations`."""
        models = [self.scorer, *([self.encoder] if self.encoder else [])]
        counts = [model.operations for model in models]
        return None if None in counts else sum(filter(None, counts))

    def work(self, rows: Rows) -> tuple[Columns, Array]:
        """See `Job.work`."""
        scores = self.scorer(rows.images)
        latents = {} if self.encoder is None else {"z_mean": self.encoder(rows.images)[0]}
        percentile = self.usual.percentile(scores.score)
        return {**self.origin(rows), **scores._asdict(), "percentile": percentile, **latents}, scores.score

    def keep(self, rows: Rows, columns: Columns) -> Columns | None:
        """See `Job.keep`: the strangest images."""
        if not self.most:
            return None
        names = ("index", "label", "score", "percentile")
        return self.best([{**{name: columns[name] for name in names}, "image": rows.images}])

    def best(self, kept: Sequence[Columns]) -> Columns:
        """See `Job.best`; of equally strange images the first."""
        together = {name: np.concatenate([some[name] for some in kept]) for name in kept[0]}
        order = np.lexsort((together["index"], -together["score"]))[: self.most]
        return {name: values[order] for name, values in together.items()}

    def sheet_of(self, kept: Columns) -> Pixels | None:
        """See `Job.sheet_of`."""
        assert self.halves is not None  # noqa: S101
        encoder, decoder = self.halves
        return draw_strangest(kept, decoder.pixels(encoder(kept["image"])[0]), self.classes)


def score(
    scorer: Scorer,
    source: ImageSource,
    target: Target,
    options: Options,
    *,
    latents: bool = False,
    most: int = 0,
    dry_run: bool = False,
) -> Summary | Plan:
    """Write how unusual every image is.

    Columns: `index`, `label` and `source` as `encode` has them; `excess`, `reconstruction`, `kl` and `score` as
    `Scores` has them; `percentile` of the score among held-out images, float32 from 0 to 100. An `.npy` file holds
    the score.

    Args:
        scorer: to scores.
        source: the images.
        target: where to.
        options: how.
        latents: whether `z_mean` is written too, by the encoder that lies in the scorer's bundle.
        most: a picture beside the result shows so many of the strangest images, and what becomes of them.
        dry_run: only say what would be done.

    Raises:
        ModelError: the scorer's file does not say what is usual, or its bundle lacks an encoder or a decoder that are
            needed.
        DataError: the source fails or changes while it is read; or a bad row, unless such rows are set aside.
        OutputError: `target` holds something else, or cannot be written.
    """
    target.refuse_source(source.name)
    if target.format in (PNG, POSTER):
        raise OutputError("scores can't be written as png; choose parquet, npy or npz")
    if scorer.usual is None:
        raise ModelError(f"{scorer.path} does not say in its metadata what score is usual; run `vae export` again")
    encoder = _half(scorer, Encoder, ENCODER) if latents or most else None
    halves = None if encoder is None or not most else (encoder, _half(scorer, Decoder, DECODER))
    job = ScoreJob(
        target.format, scorer, scorer.usual, encoder if latents else None, most, halves, classes=source.classes
    )
    return (plan if dry_run else run)(job, source, target, options)


def _half(scorer: Scorer, kind: type[Half], interface: Interface) -> Half:
    """The encoder or decoder of the scorer's bundle."""
    place = scorer.path.absolute().parent.parent / interface.folder
    if not place.is_dir():
        raise ModelError(
            f"{scorer.path} has no {interface.role} beside it, in {place}; take that folder of its bundle too, or do "
            "without --latents and --most"
        )
    half = kind(place, precision=scorer.precision, provider=scorer.provider, workers=scorer.workers)
    check_pair(scorer, half)
    return half
