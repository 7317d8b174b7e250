"""Stage and batch job `encode`: images to latents."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from pipeline.data.images import ImageSource
from pipeline.files import atomic_folder
from pipeline.inference.parquet import PARTS, Metadata, Written, batches, refuse_others, vectors, write_parts
from pipeline.inference.session import Encoder, cores, map_ordered


def encode(
    encoder: Encoder, source: ImageSource, output: Path, batch_size: int = 512, *, quiet: bool = False
) -> Written:
    """Write the latents of every image as Parquet parts to `output`.

    Columns: `index` int64 (row in the source), `label` uint8 or null, `z_mean` and `z_log_var` as fixed-size
    lists of float32. The bytes do not depend on `batch_size` or on the number of cores.

    Raises:
        FormatError: an image is not 28 x 28 bytes.
        OutputError: `output` holds something else, or cannot be written.
    """
    refuse_others(output, ("index", "label", "z_mean", "z_log_var"))
    metadata = Metadata(encoder.sha256, source.sha256, encoder.latent_dim)

    def table(rows: tuple[int, int]) -> pa.Table:
        start, stop = rows
        z_mean, z_log_var = encoder(source.read(start, stop))
        labels = pa.nulls(stop - start, pa.uint8()) if source.labels is None else pa.array(source.labels[start:stop])
        return pa.table(
            {
                "index": pa.array(np.arange(start, stop, dtype=np.int64)),
                "label": labels,
                "z_mean": vectors(z_mean),
                "z_log_var": vectors(z_log_var),
            }
        )

    with (
        atomic_folder(output, owns=[PARTS]) as beside,
        tqdm(total=source.count, desc="encode", unit=" images", unit_scale=True, disable=quiet or None) as bar,
    ):
        tables = map_ordered(table, batches(source.count, batch_size), cores())
        parts = write_parts(beside, tables, metadata, bar.update)
    return Written(str(output), source.count, parts)
