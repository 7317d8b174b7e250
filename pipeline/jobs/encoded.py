"""What `vae encode` wrote, read as a whole by the report and the page of `vae explore`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError
from pipeline.jobs.latent_rows import Floats
from pipeline.shared.text import one_line


@dataclass(frozen=True)
class EncodedRows:
    """What `vae encode` wrote: all rows of its columns, and the SHA-256 of the encoder that made them."""

    index: NDArray[np.int64]
    """Rows in the source, `[n]`."""
    label: NDArray[Any]
    """uint8 `[n]`, or what was asked for where there is none."""
    z_mean: Floats
    """`[n, latent_dim]`"""
    z_log_var: Floats
    """`[n, latent_dim]`"""
    model_sha256: str


def read_encoded(path: Path, latent_dim: int, no_label: int) -> EncodedRows:
    """Read the Parquet output of `vae encode` as a whole.

    Args:
        path: a file or a folder of parts.
        latent_dim: how many latents are expected.
        no_label: the label of rows that have none.

    Raises:
        DataError: nothing there, no row, or a latent that is not finite.
        FormatError: not Parquet, damaged, or of another latent size.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.exists():
        raise DataError(f"{path} was not found; expected latents as Parquet: run `vae encode` (or `dvc repro`) first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path} is not Parquet, or is damaged: {one_line(error)}") from error
    wanted = pa.list_(pa.float32(), latent_dim)
    for name in ("z_mean", "z_log_var"):
        found = table.schema.field(name).type if name in table.schema.names else None
        if found != wanted:
            raise FormatError(f"{path} has {name} as {found}, expected {wanted}; run `vae encode` with this bundle")
    if missing := [name for name in ("index", "label") if name not in table.schema.names]:
        raise FormatError(f"{path} has no column {missing[0]}; expected the output of `vae encode`")
    if table.num_rows == 0:
        raise DataError(f"{path} holds no latents")
    flat = {name: table[name].combine_chunks().flatten().to_numpy() for name in ("z_mean", "z_log_var")}
    if not all(np.isfinite(values).all() for values in flat.values()):
        raise DataError(f"{path} holds a latent that is not finite; run `vae encode` again")
    return EncodedRows(
        table["index"].to_numpy(),
        table["label"].fill_null(no_label).to_numpy(),
        flat["z_mean"].reshape(-1, latent_dim),
        flat["z_log_var"].reshape(-1, latent_dim),
        (table.schema.metadata or {}).get(b"model_sha256", b"").decode(errors="replace"),
    )
