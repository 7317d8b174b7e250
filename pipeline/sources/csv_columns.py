"""The columns of CSV files: what the first line says of them, and which hold pixels and labels."""

import csv
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.errors import FormatError
from pipeline.shared.interface import PIXELS
from pipeline.sources.choose_columns import numbered_label, pixel_columns
from pipeline.sources.labels import names_labels, names_rows
from pipeline.sources.reading import NONE, Reading

_DELIMITERS = ",;\t"
_SHOWN, _WIDE = 6, 20  # names of columns in a message, and characters of each


class Head(NamedTuple):
    """What the first line of a file says."""

    names: tuple[str, ...]
    """Of the columns: numbers from 0 on where there is no header."""
    titled: bool
    """Whether the first line is a header."""
    delimiter: str


def read_head(line: bytes) -> Head:
    """What the first line of a file says: a header, or else data, whose columns are numbered."""
    text = line.decode(errors="replace")
    delimiter = max(_DELIMITERS, key=text.count)
    delimiter = delimiter if delimiter in text else " "  # as NumPy's savetxt has it
    fields = [field.strip() for field in next(csv.reader([text], delimiter=delimiter))]
    if any(field and not is_number(field) for field in fields[1:]) or len(fields) < 2 or _counts_up(fields[1:]):
        return Head(tuple(fields), titled=True, delimiter=delimiter)
    names = [str(place) for place in range(len(fields))]
    return Head((*names[:-1], "" if not fields[-1] else names[-1]), titled=False, delimiter=delimiter)


def choose_pixels(path: str, head: Head, reading: Reading) -> tuple[list[int], int | None]:
    """Which columns hold pixels, and which the label."""
    label = _choose_label(path, head, reading)
    pixels = pixel_columns(list(head.names), label)
    if not pixels and label is None and (first := numbered_label([name for name in head.names if name])) is not None:
        label = first  # as Kaggle and many others have it
        pixels = pixel_columns(list(head.names), label)
    if not pixels:
        columns = f"the columns {_show(head.names)}" if head.titled else "no header"
        raise FormatError(
            f"{path} has {len(head.names):,} columns ({columns}); expected {PIXELS} of one pixel each, "
            "and perhaps a label"
        )
    others = [name for name in head.names if name not in set(pixels) and not names_rows(name)]
    if label is None and len(others) == 1 and reading.labels_from != NONE:
        label = others[0]
    places = {name: place for place, name in enumerate(head.names)}
    unlabelled = label is None or reading.labels_from == NONE
    return [places[name] for name in pixels], None if unlabelled else places[str(label)]


def _choose_label(path: str, head: Head, reading: Reading) -> str | None:
    if reading.labels_from not in (None, NONE):
        if reading.labels_from not in head.names:
            raise FormatError(
                f"{path} has no column {reading.labels_from!r} for --labels-from; it has {_show(head.names)}"
            )
        return reading.labels_from
    named = [name for name in head.names if names_labels(name)]
    return "label" if "label" in named else named[0] if named else None


def _show(names: Sequence[str]) -> str:
    shown = [name if len(name) <= _WIDE else f"{name[:_WIDE]}..." for name in names[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")


def _counts_up(fields: Sequence[str]) -> bool:
    """Whether these are numbers that follow each other, as pandas numbers columns: they can't be pixels."""
    numbers = [int(field) for field in fields if field.isdecimal()]
    return len(numbers) == len(fields) > 1 and all(after == before + 1 for before, after in pairwise(numbers))


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
