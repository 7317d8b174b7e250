"""Images in Arrow columns: bytes, lists of numbers, encoded pictures, or a column for each pixel.

Through Arrow's buffers, not through its conversions: these load pandas, and go row by row where NumPy needn't.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.kinds import is_picture
from pipeline.sources.levels import Levels
from pipeline.sources.pictures import JPEG, JPEG_END, PNG, decode_all
from pipeline.sources.pixels import misfit, shape, shape_all
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Pixels, Refused

Array = NDArray[Any]
_HEIGHT, _WIDTH = IMAGE_SHAPE
_NESTED = (_HEIGHT, _WIDTH), (1, _HEIGHT, _WIDTH), (_HEIGHT, _WIDTH, 1)


def read_images(columns: Sequence[Any], reading: Reading, levels: Levels) -> tuple[Pixels, dict[int, str]]:
    """The images in Arrow arrays, one or 784: uint8 `[n, 28, 28]`, and what is wrong with rows that hold none.

    The images of these are 0.
    """
    column = plain(columns[0])
    if len(columns) == 1 and (is_struct(column) or is_bytes(column.type)):
        return _read_bytes(column, reading, levels)
    numbers = read_numbers(columns)
    pixels, wrong = levels(numbers.values)
    pixels, blank = shape_all(pixels.reshape(-1, *IMAGE_SHAPE), reading)
    reasons = numbers.reasons | {int(numbers.rows[row]): reason for row, reason in blank.items()}
    reasons |= dict.fromkeys(numbers.rows[wrong].tolist(), levels.reason)
    if len(numbers.rows) == len(column):
        return pixels, reasons
    images = np.zeros((len(column), *IMAGE_SHAPE), np.uint8)
    images[numbers.rows] = pixels
    return images, reasons


def plain(column: Any) -> Any:
    """An Arrow array without extension, dictionary or views."""
    import pyarrow as pa  # noqa: PLC0415

    column = getattr(column, "storage", column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary_view(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_binary())
    return column


def is_struct(column: Any) -> bool:
    """Whether an Arrow array holds structs, as Hugging Face keeps pictures."""
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_struct(column.type))


def is_bytes(kind: Any) -> bool:
    """Whether the values of an Arrow type are bytes that follow each other."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    return any(
        is_one(kind)
        for is_one in (
            types.is_binary,
            types.is_large_binary,
            types.is_fixed_size_binary,
            types.is_string,
            types.is_large_string,
        )
    )


def _read_bytes(column: Any, reading: Reading, levels: Levels) -> tuple[Pixels, dict[int, str]]:
    valid = valid_rows(column)
    if is_struct(column):
        column = plain(column.field("bytes"))  # keeps the slice, not the struct's nulls
        valid = valid & valid_rows(column)
    spans, data = _spans(column)
    lengths = spans.stops - spans.starts
    raw = valid & (lengths == PIXELS)
    encoded = valid & _encoded(spans, data)
    raw &= ~encoded
    places = np.flatnonzero(raw)
    values, wrong = levels(_rows_of(data, spans.starts[raw]))
    pixels, blank = shape_all(values.reshape(-1, *IMAGE_SHAPE), reading)
    reasons = {int(places[row]): reason for row, reason in blank.items()}
    reasons |= dict.fromkeys(places[wrong].tolist(), levels.reason)
    if raw.all():
        return pixels, reasons
    images = np.zeros((len(column), *IMAGE_SHAPE), np.uint8)
    images[raw] = pixels
    others = np.flatnonzero(~raw)
    contents = _contents(spans, data, others, valid, ranged=reading.value_range is not None)
    images[others], damaged = decode_all(contents, reading)
    for row in [row for row in damaged if isinstance(contents[row], Refused) and valid[others[row]]]:
        square = _square(data[spans.starts[others[row]] : spans.stops[others[row]]], reading, levels)
        if isinstance(square, Refused):
            damaged[row] = square.reason
        elif square is not None:
            images[others[row]] = square
            del damaged[row]
    return images, reasons | {int(others[row]): reason for row, reason in damaged.items()}


def _contents(
    spans: "_Spans", data: Pixels, rows: NDArray[np.int64], valid: NDArray[np.bool_], *, ranged: bool
) -> list[bytes | Refused]:
    """The bytes of rows that should be pictures."""
    content = data.tobytes() if len(rows) * 2 > len(valid) else None
    found: list[bytes | Refused] = []
    for row, start, stop in zip(rows.tolist(), spans.starts[rows].tolist(), spans.stops[rows].tolist(), strict=True):
        picture = data[start:stop].tobytes() if content is None else content[start:stop]
        if not valid[row]:
            found.append(Refused("is null, expected an image"))
        elif ranged and is_picture(picture):
            found.append(Refused("is a picture, for which --range means nothing; leave it out"))
        else:
            found.append(picture if is_picture(picture) else Refused(_length(len(picture))))
    return found


def _square(values: Pixels, reading: Reading, levels: Levels) -> Pixels | Refused | None:
    """The image whose pixels these are, uint8 `[28, 28]`, or why it can't be taken; None if they are no square."""
    side = math.isqrt(len(values))
    if side < _HEIGHT or side * side != len(values) or is_picture(values.tobytes()):
        return None
    if (reason := misfit(side, side, reading)) is not None:
        return Refused(f"{_length(len(values))}; if these are its pixels, it {reason}")
    pixels, wrong = levels(values[None])
    return Refused(levels.reason) if wrong.any() else shape(pixels.reshape(side, side), reading)


def _length(found: int) -> str:
    return f"holds {found:,} bytes, expected {PIXELS} or a PNG or JPEG picture"


class _Spans(NamedTuple):
    """Where each row begins and ends in the buffer of all."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def valid_rows(column: Any) -> NDArray[np.bool_]:
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
    large = pa.types.is_large_binary(column.type) or pa.types.is_large_string(column.type)
    return _uneven(column, np.int64 if large else np.int32), data


def _even(offset: int, count: int, size: int) -> _Spans:
    edges = np.arange(offset, offset + count + 1, dtype=np.int64) * size
    return _Spans(edges[:-1], edges[1:])


def _uneven(column: Any, width: type[np.int32] | type[np.int64]) -> _Spans:
    buffer = column.buffers()[1]
    if buffer is None or len(column) == 0:
        return _even(0, len(column), 0)
    edges = np.frombuffer(buffer, width, column.offset + len(column) + 1)[column.offset :].astype(np.int64)
    return _Spans(edges[:-1], edges[1:])


def _encoded(spans: _Spans, data: Pixels) -> NDArray[np.bool_]:
    """Which rows may be pictures: by their length, or else by first bytes, and JPEG by its last too."""
    lengths = spans.stops - spans.starts
    found = lengths != PIXELS
    starts, stops = spans.starts[~found], spans.stops[~found]

    def begins(at: NDArray[np.int64], sign: bytes) -> NDArray[np.bool_]:
        return np.asarray(np.all([data[at + place] == byte for place, byte in enumerate(sign)], axis=0))

    found[~found] = begins(starts, PNG) | (begins(starts, JPEG) & begins(stops - len(JPEG_END), JPEG_END))
    return np.asarray(found)


def _rows_of(data: Array, starts: NDArray[np.int64]) -> Array:
    """`[n, 784]` from the 784 elements at each start: a view if they follow each other."""
    if len(starts) == 0 or np.array_equal(starts, _even(0, len(starts), PIXELS).starts + starts[0]):
        first = int(starts[0]) if len(starts) else 0
        return data[first : first + len(starts) * PIXELS].reshape(-1, PIXELS)
    return np.asarray(data[starts[:, None] + np.arange(PIXELS)])


class Numbers(NamedTuple):
    """The numbers of the rows that have 784 of them."""

    rows: NDArray[np.int64]
    values: Array
    """`[m, 784]`"""
    reasons: dict[int, str]
    """What is wrong with the other rows."""


def read_numbers(columns: Sequence[Any]) -> Numbers:
    """The numbers in an Arrow array of lists, 784 long or nested as 28 lists of 28, or in 784 arrays of numbers."""
    columns = [plain(column) for column in columns]
    if len(columns) == 1:
        return _read_lists(columns[0])
    whole = np.all([valid_rows(column) for column in columns], axis=0)
    rows = np.flatnonzero(whole)
    values = np.stack([numbers_of(column)[rows] for column in columns], axis=1)
    return Numbers(rows, values, dict.fromkeys(np.flatnonzero(~whole).tolist(), "lacks a pixel, expected 784 numbers"))


def _read_lists(column: Any) -> Numbers:
    """Lists of 784, or nested as one of `_NESTED` says."""
    valid = valid_rows(column)
    levels, values = [], column
    while _is_list(values.type):
        holes = ~valid_rows(values)
        spans, values = _list_spans(values)
        levels.append(_Level(spans, holes))
    fitting = [sizes for sizes in _NESTED if len(sizes) == len(levels)]
    if len(levels) == 1:
        flat, whole = levels[0].spans, valid
    else:
        flat = functools.reduce(_within, [level.spans for level in levels])
        whole = valid & np.any([_nested_as(sizes, levels) for sizes in fitting] or [~valid & False], axis=0)
    counts = flat.stops - flat.starts
    whole = whole & (counts == PIXELS)
    reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "is null, expected an image")
    for row in np.flatnonzero(valid & ~whole).tolist():
        nested = f", or not as {_HEIGHT} rows of {_WIDTH}" if len(levels) > 1 else ""
        reasons[row] = f"holds {counts[row]:,} numbers{nested}; expected {PIXELS}"
    rows = np.flatnonzero(whole)
    missing = _rows_of(~valid_rows(values), flat.starts[whole]).any(axis=1)
    reasons |= dict.fromkeys(rows[missing].tolist(), "holds a null, expected 784 numbers")
    numbers = _rows_of(numbers_of(values), flat.starts[whole])
    return Numbers(rows[~missing], numbers[~missing] if missing.any() else numbers, reasons)


class _Level(NamedTuple):
    """The lists of one depth."""

    spans: _Spans
    holes: NDArray[np.bool_]
    """Which of them are null."""


def _nested_as(sizes: tuple[int, ...], levels: Sequence[_Level]) -> NDArray[np.bool_]:
    """Which rows are lists of so many lists of so many, and on."""
    spans = levels[0].spans
    fits = np.asarray(spans.stops - spans.starts == sizes[0])
    for size, inner in zip(sizes[1:], levels[1:], strict=True):
        other = (inner.spans.stops - inner.spans.starts != size) | inner.holes
        before = np.concatenate([[0], np.cumsum(other)])
        fits &= before[spans.stops] == before[spans.starts]
        spans = _within(spans, inner.spans)
    return fits


def _within(outer: _Spans, inner: _Spans) -> _Spans:
    """Where rows lie in the elements of the lists that they are made of."""
    edges = np.concatenate([inner.starts, inner.stops[-1:]]) if len(inner.starts) else np.zeros(1, np.int64)
    return _Spans(edges[outer.starts], edges[outer.stops])


def _is_list(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _list_spans(column: Any) -> tuple[_Spans, Any]:
    """Where the rows of an array of lists lie in the array of all elements, and that one."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_fixed_size_list(column.type):
        return _even(column.offset, len(column), column.type.list_size), column.values
    return _uneven(column, np.int64 if pa.types.is_large_list(column.type) else np.int32), column.values


def numbers_of(column: Any) -> Array:
    """An Arrow array of numbers or truth values; anything where it is null."""
    import pyarrow as pa  # noqa: PLC0415

    buffer = column.buffers()[1] or b""
    rows = slice(column.offset, column.offset + len(column))
    if pa.types.is_boolean(column.type):
        return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")[rows].astype(bool)
    return np.frombuffer(buffer, column.type.to_pandas_dtype(), rows.stop if buffer else 0)[rows]
