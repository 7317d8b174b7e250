"""Images of another size than the model's, drawn by its renderer: what a job that writes them needs to know."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import ModelError, OutputError
from pipeline.inference.renderer import Renderer, open_renderer
from pipeline.inference.session import Decoder
from pipeline.jobs.latent_rows import Floats
from pipeline.jobs.parts import POSTER, ROWS_PER_PART
from pipeline.jobs.target import Target
from pipeline.shared.interface import FLOAT32, MODEL_FILE
from pipeline.shared.spline import LEAST_SOFTNESS, SIDE
from pipeline.sources.rows import MAX_ROWS, Pixels

SHOWN_SIZE = 56  # of each image of the sheet beside a result
LEAST_SIZE, LARGEST_SIZE = 8, 4096  # the latter of a row, which has to fit into memory some ten times
LARGEST_SOFTNESS = 10.0
_STRETCH, _PART = 2**22, 2**26  # pixels


@dataclass(frozen=True)
class Sized:
    """How images are drawn. Pickled, the renderer is opened again where it arrives."""

    renderer: Renderer
    size: int
    """Pixels along both sides."""
    softness: float
    """Of edges; see `Renderer.pixels`."""

    @property
    def about(self) -> dict[str, Any]:
        """What decides on the images, for fingerprint and manifest."""
        return {"renderer": self.renderer.about(), "size": self.size, "softness": self.softness}

    @property
    def metadata(self) -> dict[str, str]:
        """What each Parquet file says of its images."""
        return {"renderer_sha256": self.renderer.sha256, "size": str(self.size), "softness": str(self.softness)}

    @property
    def rows_per_stretch(self) -> int:
        """So many that their pixels take as much memory as those of 28 x 28, at least one."""
        return max(1, min(MAX_ROWS, _STRETCH // self.size**2))

    @property
    def rows_per_part(self) -> int:
        """Whole stretches."""
        stretches = _PART // (self.rows_per_stretch * self.size**2)
        return self.rows_per_stretch * max(1, min(ROWS_PER_PART // MAX_ROWS, stretches))

    def pixels(self, z: Floats) -> Pixels:
        """Draw latents float32 `[n, latent_dim]`: grey levels, uint8 `[n, size, size]`."""
        return self.renderer.pixels(z, self.size, self.softness)

    def sheet(self, z: Floats) -> Pixels:
        """The same for the sheet beside the result."""
        return self.renderer.pixels(z, SHOWN_SIZE, self.softness)


def open_sized(decoder: Decoder, target: Target, size: int | None, softness: float | None) -> Sized | None:
    """How to draw images of this size; None if none is asked for and the decoder's own are wanted.

    Raises:
        OutputError: a softness without a size, or one of them is too small or too large.
        ModelError: the decoder has no renderer, or is a variant that has none.
    """
    if size is None and target.format != POSTER:
        if softness is not None:
            raise OutputError("--softness needs --size too, or a picture as the output: -o x.png")
        return None
    size, softness = size or SIDE, 1.0 if softness is None else softness
    if not LEAST_SOFTNESS <= softness <= LARGEST_SOFTNESS:
        raise OutputError(
            f"the softness is {softness}, expected {LEAST_SOFTNESS} to {LARGEST_SOFTNESS:g}; 1 is as trained"
        )
    if size < LEAST_SIZE:
        raise OutputError(f"the size is {size}, expected at least {LEAST_SIZE} pixels a side")
    if size > LARGEST_SIZE and target.format != POSTER:
        raise OutputError(
            f"the size is {size:,}, at most {LARGEST_SIZE:,} fits into rows; name a picture, which is written as it is "
            "drawn: -o x.png"
        )
    precision = decoder.facts.get("variant", decoder.precision)  # the file may have been named itself
    if precision != FLOAT32:
        raise ModelError(
            f"{decoder.path} is {precision}, but sizes are drawn in float32; leave --precision out, "
            f"or name {MODEL_FILE}"
        )
    return Sized(open_renderer(decoder), size, softness)
