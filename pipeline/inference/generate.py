"""Stage and batch job `generate`: latents to images."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.data.images import ImageSource
from pipeline.errors import DataError, OutputError
from pipeline.files import atomic_file, atomic_folder
from pipeline.inference.grid import beside_originals, save_png, tile, to_bytes
from pipeline.inference.latents import LatentSource
from pipeline.inference.parquet import PARTS, Metadata, Written, batches, pixels, refuse_others, vectors, write_parts
from pipeline.inference.session import Decoder, cores, map_ordered

_GRID_DIGITS = 400  # as many as can be told apart at a glance

Pixels = NDArray[np.uint8]


def grid_file(output: Path) -> Path:
    """Where the picture goes: beside the folder, which holds nothing but Parquet for readers of whole folders."""
    whole = output if output.name else output.resolve()
    return whole.parent / f"{whole.name}.png"


def generate(
    decoder: Decoder,
    latents: LatentSource,
    output: Path,
    *,
    originals: ImageSource | None = None,
    batch_size: int = 512,
    quiet: bool = False,
) -> Written:
    """Decode every latent and write Parquet parts to `output`; `<output>.png` beside it shows the first 400.

    Columns: `index` int64, `z` as a fixed-size list of float32, `image` as 784 bytes (28 x 28, row by row,
    0 = background, 255 = ink). The bytes do not depend on `batch_size` or on the number of cores.

    Args:
        decoder: the model.
        latents: what to decode.
        output: the folder to write.
        originals: the images that the latents belong to, row for row; the grid then shows each above what
            was made of it.
        batch_size: latents per call of ONNX Runtime.
        quiet: no progress bar.

    Raises:
        DataError: fewer originals than latents.
        FormatError: a latent is not finite.
        OutputError: `output` holds something else, the latents themselves, or cannot be written.
    """
    if latents.path is not None and output.resolve() in (latents.path.resolve(), *latents.path.resolve().parents):
        raise OutputError(f"{output} holds the latents to decode; choose another output")
    if grid_file(output).exists() and not output.exists():
        raise OutputError(f"{grid_file(output)} is there, and not from an earlier run; choose another output")
    if originals is not None and originals.count < latents.count:
        raise DataError(
            f"{originals.path} holds {originals.count:,} images for {latents.count:,} latents; one for each is needed"
        )
    refuse_others(output, ("index", "z", "image"))
    metadata = Metadata(decoder.sha256, latents.sha256, decoder.latent_dim)

    def decode(rows: tuple[int, int]) -> tuple[pa.Table, Pixels]:
        start, stop = rows
        z = latents.read(start, stop)
        images = to_bytes(decoder(z))
        index = pa.array(np.arange(start, stop, dtype=np.int64))
        return pa.table({"index": index, "z": vectors(z), "image": pixels(images)}), images

    shown: list[Pixels] = []
    with (
        atomic_folder(output, owns=[PARTS]) as beside,
        tqdm(total=latents.count, desc="generate", unit=" images", unit_scale=True, disable=quiet or None) as bar,
    ):
        decoded = map_ordered(decode, batches(latents.count, batch_size), cores())
        parts = write_parts(beside, _keep(decoded, shown), metadata, bar.update)
        with atomic_file(grid_file(output)) as png:
            save_png(_sheet(np.concatenate(shown)[:_GRID_DIGITS], originals), png)
    return Written(str(output), latents.count, parts)


def _keep(decoded: Iterable[tuple[pa.Table, Pixels]], shown: list[Pixels]) -> Iterator[pa.Table]:
    """The tables, while the first images go to `shown` for the grid."""
    kept = 0
    for table, images in decoded:
        if kept < _GRID_DIGITS:
            shown.append(images)
            kept += len(images)
        yield table


def _sheet(images: Pixels, originals: ImageSource | None) -> Pixels:
    columns = math.ceil(math.sqrt(len(images)))
    if originals is None:
        return tile(images, columns)
    return beside_originals(originals.read(0, len(images)), images, 2 * columns)
