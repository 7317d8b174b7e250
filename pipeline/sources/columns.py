"""Images in Arrow columns: bytes, lists of numbers, or encoded pictures.

Through Arrow's buffers, not through its conversions: these load pandas, and go row by row where NumPy needn't.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.pictures import JPEG, JPEG_END, PNG, decode
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Labels, Pixels, Refused

_HEIGHT, _WIDTH = IMAGE_SHAPE


def choose_columns(path: str, schema: Any, *, labels: bool) -> list[str]:
    """The column of images, and that of labels if there is one."""
    import pyarrow as pa  # noqa: PLC0415

    fitting = [column.name for column in schema if column.name != "label" and _holds_images(column.type)]
    if "image" in fitting:
        fitting = ["image"]
    if len(fitting) != 1 or schema.names.count(fitting[0]) != 1:
        listed = ", ".join(f"{column.name}: {column.type}"[:60] for column in schema)
        raise FormatError(
            f"{path} has the columns {listed}; expected one column 'image' of {PIXELS} bytes, {PIXELS} numbers, "
            "or PNG or JPEG"
        )
    if not labels or "label" not in schema.names:
        return fitting
    kind = schema.field("label").type
    if not pa.types.is_integer(kind):
        raise FormatError(f"{path} has labels of type {kind}, expected integers; convert or drop the column 'label'")
    return [*fitting, "label"]


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    kind = getattr(kind, "storage_type", kind)
    types = pa.types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    if _is_bytes(kind):
        return True
    for _ in range(2):  # a list of 784, or of 28 lists of 28
        if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
            break
        kind = kind.value_type
        if types.is_integer(kind):
            return True
    return False


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def read_images(column: Any, reading: Reading) -> tuple[Pixels, dict[int, str]]:
    """The images of an Arrow array: uint8 `[n, 28, 28]`, and what is wrong with rows that hold none (theirs are 0)."""
    import pyarrow as pa  # noqa: PLC0415

    column = getattr(column, "storage", column)
    reasons: dict[int, str] = {}
    valid = _valid(column)
    if pa.types.is_struct(column.type):
        column = column.field("bytes")  # keeps the slice, not the struct's nulls
        valid = valid & _valid(column)
    if not _is_bytes(column.type):
        return _read_lists(column, valid)
    spans, data = _spans(column)
    lengths = spans.stops - spans.starts
    raw = valid & (lengths == PIXELS)
    encoded = valid & _encoded(spans, data)
    raw &= ~encoded
    if raw.all():
        return _rows_of(data, spans.starts), reasons
    images = np.zeros((len(column), *IMAGE_SHAPE), np.uint8)
    images[raw] = _rows_of(data, spans.starts[raw])
    for row in np.flatnonzero(~raw).tolist():
        if not valid[row]:
            reasons[row] = "is null, expected an image"
            continue
        content = data[spans.starts[row] : spans.stops[row]].tobytes()
        picture = decode(content, reading) if encoded[row] else Refused(_length(len(content), "bytes"))
        if isinstance(picture, Refused):
            reasons[row] = picture.reason
        else:
            images[row] = picture
    return images, reasons


def _length(found: int, what: str) -> str:
    return f"holds {found:,} {what}, expected {PIXELS} or a PNG or JPEG picture"


def read_labels(column: Any) -> tuple[Labels, dict[int, str]]:
    """The labels of an Arrow array of integers: int16 `[n]`, -1 where it is null; and what is wrong with others."""
    valid = _valid(column)
    values = _numbers(column)
    fits = ~valid | ((values <= 255) & (values.astype(np.int64) >= -1))
    labels = np.where(valid & fits, values.astype(np.int64), -1).astype(np.int16)
    wrong = np.flatnonzero(~fits).tolist()
    return labels, {row: f"has the label {values[row]}, expected 0 to 255" for row in wrong}


class _Spans(NamedTuple):
    """Where each row begins and ends in the buffer of all."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def _valid(column: Any) -> NDArray[np.bool_]:
    """Which rows are not null."""
    bits = column.buffers()[0]
    if column.null_count == 0 or bits is None:
        return np.ones(len(column), bool)
    flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return np.asarray(flags[column.offset : column.offset + len(column)], bool)


def _spans(column: Any) -> tuple[_Spans, Pixels]:
    """Where the rows of a binary array lie, and the bytes in which they do."""
    import pyarrow as pa  # noqa: PLC0415

    buffers = column.buffers()
    data = np.frombuffer(buffers[-1], np.uint8) if buffers[-1] is not None else np.empty(0, np.uint8)
    if pa.types.is_fixed_size_binary(column.type):
        return _even(column.offset, len(column), column.type.byte_width), data
    return _uneven(column, np.int64 if pa.types.is_large_binary(column.type) else np.int32), data


def _even(offset: int, count: int, size: int) -> _Spans:
    edges = np.arange(offset, offset + count + 1, dtype=np.int64) * size
    return _Spans(edges[:-1], edges[1:])


def _uneven(column: Any, width: type[np.int32] | type[np.int64]) -> _Spans:
    buffer = column.buffers()[1]
    if buffer is None or len(column) == 0:
        return _even(0, len(column), 0)
    edges = np.frombuffer(buffer, width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    return _Spans(edges[:-1], edges[1:])


def _encoded(spans: _Spans, data: Pixels) -> NDArray[np.bool_]:
    """Which rows are PNG or JPEG files by their first bytes, and JPEG by the last too: three bytes might be pixels."""
    lengths = spans.stops - spans.starts
    found = np.zeros(len(lengths), bool)
    long = lengths >= len(PNG)
    starts, stops = spans.starts[long], spans.stops[long]

    def begins(at: NDArray[np.int64], sign: bytes) -> NDArray[np.bool_]:
        return np.asarray(np.all([data[at + place] == byte for place, byte in enumerate(sign)], axis=0))

    jpeg = begins(starts, JPEG) & ((lengths[long] != PIXELS) | begins(stops - len(JPEG_END), JPEG_END))
    found[long] = begins(starts, PNG) | jpeg
    return found


def _rows_of(data: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """`[n, 28, 28]` from the 784 elements at each start: a view if they follow each other."""
    if len(starts) == 0 or np.array_equal(starts, _even(0, len(starts), PIXELS).starts + starts[0]):
        first = int(starts[0]) if len(starts) else 0
        return data[first : first + len(starts) * PIXELS].reshape(-1, *IMAGE_SHAPE)
    return np.asarray(data[starts[:, None] + np.arange(PIXELS)]).reshape(-1, *IMAGE_SHAPE)


def _read_lists(column: Any, valid: NDArray[np.bool_]) -> tuple[Pixels, dict[int, str]]:
    """Lists of 784 integers, or of 28 lists of 28."""
    import pyarrow as pa  # noqa: PLC0415

    spans, values = _list_spans(column)
    whole = valid.copy()
    reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "is null, expected an image")
    nested = not pa.types.is_integer(values.type)
    if nested:
        inner, values, holes = *_list_spans(values), _valid(values)
        uneven = np.concatenate([[0], np.cumsum((inner.stops - inner.starts != _WIDTH) | ~holes)])
        even = uneven[spans.stops] == uneven[spans.starts]
        whole &= (spans.stops - spans.starts == _HEIGHT) & even
        edges = np.concatenate([inner.starts, inner.stops[-1:]]) if len(inner.starts) else np.zeros(1, np.int64)
        spans = _Spans(edges[spans.starts], edges[spans.stops])
    counts = spans.stops - spans.starts
    whole &= counts == PIXELS
    for row in np.flatnonzero(valid & ~whole).tolist():
        shape = f", or not as {_HEIGHT} rows of {_WIDTH}" if nested else ""
        reasons[row] = f"holds {counts[row]:,} numbers{shape}; expected {PIXELS}"
    numbers, missing = _numbers(values), ~_valid(values)
    pixels = _rows_of(numbers, spans.starts[whole])
    wrong = _rows_of(missing, spans.starts[whole]).any(axis=(1, 2))
    if pixels.dtype != np.uint8:
        wrong = wrong | (pixels < 0).any(axis=(1, 2)) | (pixels > 255).any(axis=(1, 2))
    rows = np.flatnonzero(whole)
    reasons |= dict.fromkeys(rows[wrong].tolist(), "holds a number outside 0 to 255, or a null")
    if whole.all():
        return pixels.astype(np.uint8, copy=False), reasons
    images = np.zeros((len(column), *IMAGE_SHAPE), np.uint8)
    images[whole] = pixels.astype(np.uint8)
    return images, reasons


def _list_spans(column: Any) -> tuple[_Spans, Any]:
    """Where the rows of an array of lists lie in the array of all elements, and that one."""
    import pyarrow as pa  # noqa: PLC0415

    column = getattr(column, "storage", column)
    if pa.types.is_fixed_size_list(column.type):
        return _even(column.offset, len(column), column.type.list_size), column.values
    return _uneven(column, np.int64 if pa.types.is_large_list(column.type) else np.int32), column.values


def _numbers(column: Any) -> NDArray[Any]:
    """An Arrow array of integers; anything where it is null."""
    kind = np.dtype(str(column.type))
    values = np.frombuffer(column.buffers()[1] or b"", kind)
    return values[column.offset : column.offset + len(column)]
