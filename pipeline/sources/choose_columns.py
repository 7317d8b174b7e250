"""Which columns of a table hold images, and which their labels."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.errors import FormatError
from pipeline.shared.interface import PIXELS
from pipeline.sources.columns import is_bytes
from pipeline.sources.labels import names_labels, names_rows
from pipeline.sources.reading import NONE, Reading

_IMAGES = "image", "images", "img", "pixels", "picture"
_PIXEL = re.compile(r"(?P<stem>.*?)(?P<number>\d+(x\d+)?)")
_LONGEST = 400  # characters of a list of columns


class Chosen(NamedTuple):
    """The columns to read."""

    images: tuple[str, ...]
    """One, or 784 of one pixel each."""
    labels: str | None
    classes: tuple[str, ...] = ()
    """Names that the table gives to labels that are numbers."""


def choose_columns(path: str, schema: Any, reading: Reading) -> Chosen:
    """The columns of images and of labels in an Arrow schema.

    Raises:
        FormatError: none or several may hold the images, or one that was asked for isn't there.
    """
    labels = _choose_labels(path, schema, reading)
    if reading.array is not None:
        _demand(path, schema, reading.array, "--array")
        images: tuple[str, ...] = (reading.array,)
        if not holds_images(schema.field(reading.array).type, named=True):
            raise FormatError(
                f"{path} has the column {reading.array} of type {schema.field(reading.array).type}; "
                f"expected {_EXPECTED}"
            )
    else:
        images = _choose_images(path, schema, labels)
        if labels is None and reading.labels_from is None and len(images) == PIXELS:
            labels = numbered_label([name for name in schema.names if not names_rows(name)])
    return Chosen(images, labels, class_names(schema, labels))


_EXPECTED = f"a column of {PIXELS} bytes or numbers, or of pictures"


def _choose_images(path: str, schema: Any, labels: str | None) -> tuple[str, ...]:
    fitting = [
        column.name
        for column in schema
        if column.name != labels and holds_images(column.type, named=column.name.lower() in _IMAGES)
    ]
    for usual in _IMAGES:
        if usual in fitting:
            fitting = [usual]
            break
    if len(fitting) == 1 and schema.names.count(fitting[0]) == 1:
        return tuple(fitting)
    numbers = [column.name for column in schema if _is_number(column.type) and not names_rows(column.name)]
    if not fitting and (pixels := pixel_columns(numbers, labels or numbered_label(numbers))):
        return pixels
    raise FormatError(
        f"{path} has the columns {describe_columns(schema)}; expected one column `image` of {PIXELS} bytes or numbers, "
        f"or of pictures, or {PIXELS} columns of numbers; --array names one, --labels-from that of labels"
    )


def _choose_labels(path: str, schema: Any, reading: Reading) -> str | None:
    if reading.labels_from == NONE:
        return None
    if reading.labels_from is not None:
        _demand(path, schema, reading.labels_from, "--labels-from")
        name = reading.labels_from
    else:
        named = [one for one in schema if names_labels(one.name)]
        images = [one for one in schema if holds_images(one.type, named=one.name.lower() in _IMAGES)]
        named = [one for one in named if images != [one] and str(one.type) != "null"]  # the only images; nothing
        if not named:
            return None
        name = next((one.name for one in named if one.name == "label"), named[0].name)
        if schema.names.count(name) > 1:
            raise FormatError(f"{path} has several columns {name}; --labels-from names another, or none")
    kind = schema.field(name).type
    if not is_label(kind):
        raise FormatError(
            f"{path} has labels of type {kind} in column {name}, expected whole numbers or words; "
            "--labels-from names another column, or none"
        )
    return name


def choose_label(path: str, names: Sequence[str], reading: Reading) -> str:
    """The column of labels in a file of labels: the one that is asked for, or called so, or the only one.

    Raises:
        FormatError: there is none, or several may be it.
    """
    if reading.labels_from is not None:
        fitting = [name for name in names if name == reading.labels_from]
    elif "label" in names:
        fitting = [name for name in names if name == "label"]
    else:
        fitting = [name for name in names if names_labels(name)] or [name for name in names if not names_rows(name)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(names)
    shown = listed if len(listed) <= _LONGEST else f"{listed[:_LONGEST]}..."
    if reading.labels_from is not None:
        raise FormatError(f"{path} has no column {reading.labels_from!r} for --labels-from; it has {shown}")
    raise FormatError(f"{path} has the columns {shown}; --labels-from names that of labels")


def _demand(path: str, schema: Any, name: str, option: str) -> None:
    if schema.names.count(name) != 1:
        raise FormatError(f"{path} has no column {name!r} for {option}; it has {describe_columns(schema)}")


def pixel_columns(names: list[str], labels: str | None) -> tuple[str, ...]:
    """The 784 columns of one pixel each: those that are numbered, in that order, or else all but that of labels.

    `pixel0`, `1x1` and `42` are numbered. Empty if there are not 784.
    """
    others = [name for name in names if name != labels]
    stems: dict[str, dict[tuple[int, ...], str]] = {}
    for name in others:
        if match := _PIXEL.fullmatch(name):
            place = tuple(map(int, match["number"].split("x")))
            stems.setdefault(match["stem"], {})[place] = name
    fitting = [found for found in stems.values() if len(found) == PIXELS]
    if len(fitting) == 1:
        return tuple(fitting[0][place] for place in sorted(fitting[0]))  # a program may have sorted them as text
    return tuple(others) if len(others) == len(set(others)) == PIXELS else ()


def numbered_label(names: list[str]) -> str | None:
    """The column of labels where all are numbered from 0 on, one more than there are pixels: the first."""
    return names[0] if names == [str(place) for place in range(PIXELS + 1)] else None


def describe_columns(schema: Any) -> str:
    """The columns of a table in few words, however many there are."""
    listed = ", ".join(f"{column.name}: {column.type}"[:60] for column in schema)
    return listed if len(listed) <= _LONGEST else f"{listed[:_LONGEST]}... ({len(schema.names):,} in all)"


def holds_images(kind: Any, *, named: bool) -> bool:
    """Whether a column of this Arrow type may hold images; text only if the column is `named` so."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    kind = getattr(kind, "storage_type", kind)
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        return any(field.name == "bytes" and (is_bytes(field.type) or _is_view(field.type)) for field in kind)
    if is_bytes(kind) or _is_view(kind):
        return named or not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
    size, depth = 1, 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        fixed = types.is_fixed_size_list(kind)
        size, depth = size * (kind.list_size if fixed else 0), depth + 1
        kind = kind.value_type
    return 0 < depth <= 3 and size in (0, PIXELS) and _is_number(kind)


def _is_view(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_binary_view(kind) or pa.types.is_string_view(kind))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_label(kind: Any) -> bool:
    """Whether a column of this Arrow type may hold labels."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    words = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return _is_number(kind) or bool(words)


def class_names(schema: Any, labels: str | None) -> tuple[str, ...]:
    """What Hugging Face's `ClassLabel` says in the metadata of the schema, or a result of ours."""
    found: Any = (schema.metadata or {}).get(b"classes") if labels == "label" else None
    try:
        if found is not None:
            return tuple(map(str, json.loads(found)))
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(map(str, features[labels]["names"]))
    except (ValueError, KeyError, TypeError):
        return ()
