"""All images of a job in one PNG as large as wanted, drawn band by band on all cores, in bounded memory.

For the engine, the rows of a source are then the rows of pixels of the picture, and a stretch is a band of them,
drawn and compressed by one thread (`png_stream`). Whatever else a job can do, so can this: resume after a part,
set rows aside, show its progress. In memory are the latents of all images and a few bands.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, OutputError
from pipeline.inference.parallel import map_ordered
from pipeline.jobs.compute import refuse_bad, stretches
from pipeline.jobs.engine import plan, run
from pipeline.jobs.job import Job, Options, Plan, Source, Stretch, Summary
from pipeline.jobs.latent_rows import Floats
from pipeline.jobs.parts import POSTER, STRIP_COLUMN, Array, Columns
from pipeline.jobs.png_stream import compress
from pipeline.jobs.sized import Sized
from pipeline.jobs.target import Target
from pipeline.sources.rows import MAX_ROWS, BadRow, Divisible, Pixels

MOST_IMAGES = 1_000_000  # whose latents are in memory
LONGEST_SIDE = 1_000_000  # of which a band has to fit into memory
MOST_PIXELS = 10**11  # minutes to draw; a PNG could hold 2^31 a side
_BAND, _LEAST_BAND = 2**23, 16  # pixels, rows of them
_BANDS_PER_PART = 8

T = TypeVar("T", bound=Stretch)


@dataclass(frozen=True)
class Collected:
    """The latents of all images of a job."""

    z: Floats
    """`[n, latent_dim]`, anything in rows that are bad."""
    bad: tuple[BadRow, ...]


@dataclass(frozen=True)
class Band:
    """The rows of pixels from `start` up to `stop`."""

    start: int
    stop: int
    first: int
    """The first image that shows in it."""
    z: Floats
    """Of all that do, row by row of the sheet."""
    ended: int
    """How many of these end in it."""
    bad: tuple[BadRow, ...]
    """Of those that end in it."""
    absent: NDArray[np.intp]
    """Which of all, counted from the first, are bad."""


@dataclass
class Bands(Divisible):
    """A picture of `columns` images a row, as a source of rows of pixels."""

    source: Source[Any] | None
    """None in a cut."""
    collected: Collected
    columns: int
    size: int
    first: int = 0
    """The image whose latents are the first here."""

    def __post_init__(self) -> None:
        """Keep what a cut says of the whole."""
        assert self.source is not None  # noqa: S101
        self.name, self.passed_over = self.source.name, dict(self.source.passed_over)
        self.count = -(-len(self.collected.z) // self.columns) * self.size  # rows of pixels

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.columns * self.size

    @property
    def labels_from(self) -> str:
        """A picture has no labels."""
        return ""

    def state(self) -> str:
        """Of the source of the images."""
        assert self.source is not None  # noqa: S101
        return self.source.state()

    def read(self, start: int, stop: int) -> Callable[[], Band]:
        """See `Source`."""
        first, last, ended = self._images(start, stop)
        z = self.collected.z[first - self.first : last - self.first]
        absent = self._absent(first, last)
        bad = tuple(one for one in absent if one.index < ended)
        places = np.array([one.index - first for one in absent], np.intp)
        band = Band(start, stop, first, z, min(len(z), max(0, ended - first)), bad, places)
        return lambda: band

    def _images(self, start: int, stop: int) -> tuple[int, int, int]:
        """The first image that shows in these rows of pixels, the one after the last, and after the last that ends."""
        first, last, ended = start // self.size, -(-stop // self.size), stop // self.size
        return first * self.columns, last * self.columns, ended * self.columns

    def _absent(self, first: int, last: int) -> list[BadRow]:
        return [bad for bad in self.collected.bad if first <= bad.index < last]

    def _keep(self, start: int, stop: int) -> None:
        first, last, _ = self._images(start, stop)
        z = self.collected.z[first - self.first : last - self.first]
        self.source, self.first = None, first
        self.collected = Collected(z.copy(), tuple(self._absent(first, last)))


@dataclass(frozen=True)
class Layout:
    """What is to be drawn."""

    name: str
    """Of the job."""
    models: Mapping[str, Any]
    """What the manifest says of them."""
    drawing: Sized
    columns: int | None = None
    """Images of a row; by default as many as rows, or one more."""


@dataclass(frozen=True)
class PosterJob(Job[Band]):
    """Bands to strips of a PNG."""

    npy_column: ClassVar[str] = ""
    unit: ClassVar[str] = "rows of pixels"

    layout: Layout
    images: int
    columns: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """See `Job.name`."""
        return self.layout.name

    @property
    def drawing(self) -> Sized:
        """How it is drawn."""
        return self.layout.drawing

    @property
    def about(self) -> dict[str, Any]:
        """See `Job.about`."""
        return {**self.layout.models, **self.drawing.about, "columns": self.columns}

    @property
    def inputs(self) -> dict[str, Any]:
        """See `Job.inputs`."""
        return {"images": self.images}

    @property
    def metadata(self) -> dict[str, str]:
        """See `Job.metadata`."""
        return {}

    @property
    def workers(self) -> int:
        """See `Job.workers`."""
        return self.drawing.renderer.workers

    @property
    def operations(self) -> int | None:
        """Of no use here: what is drawn counts in pixels."""
        return None

    @property
    def rows_per_stretch(self) -> int:
        """So many rows of pixels that bands end with the images, or divide these evenly."""
        size = self.drawing.size
        most = max(_LEAST_BAND, _BAND // (self.columns * size))
        return most // size * size if most >= size else -(-size // -(-size // most))

    @property
    def rows_per_part(self) -> int:
        """See `Job.rows_per_part`."""
        return _BANDS_PER_PART * self.rows_per_stretch

    def sample(self) -> Band:
        """See `Job.sample`."""
        z = np.random.default_rng(0).standard_normal((self.columns, self.drawing.renderer.latent_dim), np.float32)
        return Band(0, 1, 0, z, 0, (), np.empty(0, np.intp))

    def content(self, rows: Band) -> Array:
        """See `Job.content`."""
        return rows.z

    def work(self, rows: Band) -> tuple[Columns, Array]:
        """See `Job.work`."""
        size = self.drawing.size
        sheet = np.zeros((rows.stop - rows.start, self.columns, size), np.uint8)
        present = np.setdiff1d(np.arange(len(rows.z)), rows.absent)
        line, column = (present + rows.first) // self.columns, present % self.columns
        for number in range(rows.start // size, -(-rows.stop // size)):
            here = line == number
            top, bottom = (min(max(edge - number * size, 0), size) for edge in (rows.start, rows.stop))
            images = self._draw(rows.z[present[here]], slice(top, bottom))
            above = max(0, number * size - rows.start)
            sheet[above : above + bottom - top, column[here]] = images.swapaxes(0, 1)
        strip = np.empty(1, object)
        strip[0] = compress(sheet.reshape(len(sheet), -1))
        return {"index": rows.first + present[present < rows.ended], STRIP_COLUMN: strip}, sheet

    def _draw(self, z: Floats, rows: slice) -> Pixels:
        return self.drawing.renderer.pixels(z, self.drawing.size, self.drawing.softness, rows)


def collect(
    source: Source[T], to_latents: Callable[[T], Floats], options: Options, workers: int, latent_dim: int
) -> Collected:
    """Read all rows of a source, and make latents of them on `workers` threads.

    Raises:
        DataError: there is none.
        FormatError: a row is bad, unless such rows are to be set aside.
        OutputError: more than fit.
    """

    def work(read: Callable[[], T]) -> tuple[int, Floats, tuple[BadRow, ...]]:
        rows = read()
        refuse_bad(rows.bad, options.on_error)
        good = np.ones(rows.stop - rows.start, bool)
        good[[bad.index - rows.start for bad in rows.bad]] = False
        z = np.zeros((len(good), latent_dim), np.float32)
        z[good] = to_latents(rows)
        return len(good), z, rows.bad

    stop = min(options.limit or sys.maxsize, sys.maxsize if source.count is None else source.count)
    found: list[Floats] = []
    bad: list[BadRow] = []
    images = 0
    for count, z, wrong in map_ordered(work, (source.read(*rows) for rows in stretches(0, stop)), workers):
        found.append(z)
        bad += wrong
        images += count
        if images > MOST_IMAGES:
            raise OutputError(
                f"{source.name} holds more than {MOST_IMAGES:,} images, too many for a picture; name a folder"
            )
        if count < MAX_ROWS:
            break
    if not images:
        raise DataError(f"{source.name} holds nothing to draw")
    return Collected(np.concatenate(found), tuple(bad))


def draw_poster(
    layout: Layout,
    source: Source[Any],
    collected: Collected,
    target: Target,
    options: Options,
    *,
    dry_run: bool = False,
) -> Summary | Plan:
    """Write a picture of all images, row by row, as a grey PNG; what was set aside stays black.

    Args:
        layout: what to draw, and how.
        source: where the images come from.
        collected: their latents.
        target: where to.
        options: how; its limit is that of `collected`.
        dry_run: only say what would be done.

    Raises:
        OutputError: the picture would be too large; or `target` holds something else or cannot be written.
        DataError: the source has changed.
    """
    images = len(collected.z)
    bands = Bands(source, collected, layout.columns or math.isqrt(images - 1) + 1, layout.drawing.size)
    if max(bands.width, bands.count) > LONGEST_SIDE or bands.width * bands.count > MOST_PIXELS:
        raise OutputError(
            f"the picture would have {bands.width:,} x {bands.count:,} pixels, at most {LONGEST_SIDE:,} a side and "
            f"{MOST_PIXELS:,} in all are drawn; choose a smaller --size, or fewer images"
        )
    job = PosterJob(POSTER, layout, images, bands.columns)
    options = replace(options, limit=None)
    if dry_run:  # whose rows are images, as those of the summary are
        return replace(plan(job, bands, target, options), rows=images)
    return run(job, bands, target, options)
