"""The renderer on ONNX Runtime: latents to images of any size, in tiles that stay in the processor's cache."""

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError, ModelError
from pipeline.inference.model import AUTO, Floats, OnnxModel
from pipeline.inference.session import Decoder, check_ink, check_pair, to_bytes
from pipeline.shared.interface import RENDERER
from pipeline.shared.spline import SIDE, centres

Pixels = NDArray[np.uint8]

_TILE = 2**20  # pixels of one call, at most: more leave the cache, and each call makes the coefficients again
_LEAST_ROWS = 8  # of a tile: products of fewer rows have other last bits
_COLUMNS = 2048  # of a tile, at most: the splines at its columns are evaluated again for each tile
_SAME = 2  # levels: rounding, and a logit beyond those that a renderer tells apart


class Renderer(OnnxModel):
    """Latents to images of any size; see `OnnxModel`."""

    def __init__(self, path: Path | str, *, provider: str = AUTO, workers: int | None = None) -> None:
        """Open it as `OnnxModel` does."""
        super().__init__(path, RENDERER, provider=provider, workers=workers)

    def pixels(self, z: Floats, size: int, softness: float = 1.0, rows: slice = slice(None)) -> Pixels:
        """Draw square images of latents float32 `[n, latent_dim]`: grey levels, uint8 `[n, rows, size]`.

        Each pixel is the same, bit by bit, whichever rows are drawn with it.

        Args:
            z: one row for each image.
            size: pixels along a side of the whole image.
            softness: of edges: 1 is as trained, 0.05 the least.
            rows: which rows of pixels to draw; by default all.

        Raises:
            FormatError: the latents have another type or shape.
            ModelError: the model fails, or gives pixels outside [0, 1].
        """
        if z.dtype != np.float32 or z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise FormatError(f"latents are {z.dtype}{list(z.shape)}, expected float32[n, {self.latent_dim}]")
        start, stop, _ = rows.indices(size)
        images = np.empty((len(z), stop - start, size), np.uint8)
        places = centres(size).astype(np.float32)
        how = np.array([SIDE / size], np.float32), np.array([softness], np.float32)
        width = min(size, _COLUMNS)
        height = min(max(_LEAST_ROWS, _TILE // width), stop - start)
        batch = max(1, _TILE // (width * max(1, height)))
        for first, top, left in product(
            range(0, len(z), batch), range(start, stop, height or 1), range(0, size, width)
        ):
            some, bottom, right = slice(first, first + batch), min(top + height, stop), min(left + width, size)
            # A tile of few rows takes some above or below along, where there are any.
            above = max(0, min(top, bottom - _LEAST_ROWS))
            below = min(size, max(bottom, above + _LEAST_ROWS))
            (image,) = self.run(z[some], places[above:below], places[left:right], *how)
            check_ink(image, self.path)
            out = images[some, top - start : bottom - start, left:right]
            to_bytes(image[:, top - above : bottom - above], out=out)
        return images


def open_renderer(decoder: Decoder) -> Renderer:
    """The renderer of a decoder: in its folder, or in the folder `renderer` of the same bundle.

    Raises:
        ModelError: there is none, or it is of another model, or draws what another decoder would.
    """
    folder = decoder.path.parent
    places = [folder / RENDERER.folder, folder.parent / RENDERER.folder]
    path = next((place for place in places if place.is_dir()), None)
    if path is None:
        raise ModelError(
            f"{decoder.path} has no renderer: neither {places[0]} nor {places[1]} was found; take the folder "
            f"{RENDERER.folder} of its bundle too, or run `vae export` again"
        )
    renderer = Renderer(path, provider=decoder.provider, workers=decoder.workers)
    check_pair(decoder, renderer)
    # A generator and the decoder beside it have all facts in common, not the images.
    z = np.zeros((1, decoder.latent_dim), np.float32)
    off = np.abs(decoder.pixels(z).astype(int) - renderer.pixels(z, SIDE)).max()
    if off > _SAME:
        raise ModelError(
            f"{renderer.path} draws other images than {decoder.path}: {off} of 255 levels apart, at most {_SAME} were "
            f"expected; take the folder {RENDERER.folder} of its bundle, or run `vae export` again"
        )
    return renderer
