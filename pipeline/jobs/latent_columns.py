"""Latents in Arrow columns: a column of lists, or a column of numbers for each latent.

Through Arrow's buffers, not through its conversions: these load pandas.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.jobs.latent_rows import Loaded

NAMES = "z_mean", "z", "latents"
"""What latents are called, best first."""
OTHERS = "index", "label", "z_log_var", "excess", "reconstruction", "kl", "score", "percentile"
"""What stands beside them in results of this pipeline."""
_NUMBERED = re.compile(rf"({'|'.join(NAMES)})_?(\d+)")


def choose_columns(path: str, schema: Any, latent_dim: int) -> list[str]:
    """The column `z_mean`, `z` or `latents` of lists, or else `latent_dim` columns of numbers, in order.

    These are called `z0`, `z1` and on (or `z_0`, or from 1, or with `z_mean` or `latents` for `z`), or are all columns
    of numbers but those that results have beside latents.

    Raises:
        FormatError: no such columns.
    """
    kinds = {column.name: column.type for column in schema}
    lists = [name for name in NAMES if name in kinds and _item(kinds[name]) is not None]
    numbers = [name for name, kind in kinds.items() if _is_number(kind)]
    chosen = lists[:1] or _numbered(numbers) or [name for name in numbers if name not in OTHERS]
    if lists:
        size = getattr(_storage(kinds[lists[0]]), "list_size", latent_dim)
        fits = size == latent_dim and _is_number(_item(kinds[lists[0]]))
    else:
        fits = len(chosen) == latent_dim
    if not fits or any(schema.names.count(name) > 1 for name in chosen):
        listed = ", ".join(f"{column.name}: {column.type}"[:60] for column in schema)
        raise FormatError(
            f"{path} has the columns {listed}; expected {', '.join(NAMES[:-1])} or {NAMES[-1]} as lists of "
            f"{latent_dim} numbers, or {latent_dim} column(s) of numbers"
        )
    return chosen


def to_latents(columns: list[Any], latent_dim: int) -> Loaded:
    """The latents of Arrow arrays: one of lists, or one of numbers for each latent. What is null becomes NaN."""
    if _item(columns[0].type) is None:
        return Loaded(np.stack([_floats(column) for column in columns], axis=1))
    return _of_lists(columns[0], latent_dim)


def _of_lists(column: Any, latent_dim: int) -> Loaded:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    column = getattr(column, "storage", column)
    lengths = pc.list_value_length(column)
    found = np.frombuffer(lengths.buffers()[1] or b"", str(lengths.type))[lengths.offset :][: len(column)]
    null = np.frombuffer(pc.indices_nonzero(column.is_null()).buffers()[1] or b"", np.uint64)
    whole = found == latent_dim
    whole[null] = False
    if whole.all():
        return Loaded(_floats(column.flatten()).reshape(-1, latent_dim))
    good = np.flatnonzero(whole)
    taken = column.take(pa.Array.from_buffers(pa.int64(), len(good), [None, pa.py_buffer(good)]))
    z = np.zeros((len(column), latent_dim))
    z[good] = _floats(taken.flatten()).reshape(-1, latent_dim)
    reasons = {row: f"holds {found[row]:,} latent(s), expected {latent_dim}" for row in np.flatnonzero(~whole).tolist()}
    return Loaded(z, reasons | dict.fromkeys(null.tolist(), f"is null, expected {latent_dim} latent(s)"))


def _numbered(names: list[str]) -> list[str]:
    """The columns of the best of the names, by their numbers."""
    found = [(match[1], int(match[2]), name) for name in names if (match := _NUMBERED.fullmatch(name))]
    best = next((name for name in NAMES if any(one[0] == name for one in found)), None)
    return [name for of, _, name in sorted(found, key=lambda one: one[1]) if of == best]


def _floats(column: Any) -> NDArray[np.floating[Any]]:
    """An Arrow array of numbers, float32 or float64; NaN where it is null."""
    import pyarrow as pa  # noqa: PLC0415

    if column.type not in (pa.float32(), pa.float64()):
        column = column.cast(pa.float32() if pa.types.is_float16(column.type) else pa.float64(), safe=False)
    if column.null_count:
        column = column.fill_null(float("nan"))
    dtype: type[np.floating[Any]] = np.float32 if column.type == pa.float32() else np.float64
    values: NDArray[np.floating[Any]] = np.frombuffer(column.buffers()[1] or b"", dtype)
    return values[column.offset : column.offset + len(column)]


def _is_number(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415

    kinds = types.is_integer, types.is_floating, types.is_decimal, types.is_null  # the last in files without values
    return any(fits(kind) for fits in kinds)


def _item(kind: Any) -> Any:
    """The type of the items of lists, None of what is no list."""
    import pyarrow as pa  # noqa: PLC0415

    kind, types = _storage(kind), pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if lists else None


def _storage(kind: Any) -> Any:
    return getattr(kind, "storage_type", kind)
