"""Labels: whole numbers from 0 to 255, whatever they are written as, and the names of classes."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import FormatError
from pipeline.sources.rows import Labels, Refused, split

LARGEST = 255
_NAMES = "label", "labels", "class", "classes", "target", "targets", "digit", "y", "cls"
"""What a column, an array or the first part of a folder's name is called if it holds labels; in either case."""
_ROWS = {
    *("", "unnamed: 0", "__index_level_0__", "index", "indices", "idx", "id", "ids", "imageid", "image_id", "row"),
    *("file", "files", "filename", "filenames", "file_name", "path", "paths", "image_path"),
}
"""What a column or an array is called if it tells rows apart."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan", re.IGNORECASE | re.ASCII)
_WORDS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
_NAMED = re.compile(rf"(?:{'|'.join(_NAMES)})([=_ -]?)(.+)", re.IGNORECASE)


def number_of(text: str) -> int:
    """A label from 0 to 255; -1 if the text is none."""
    if len(text) <= 3 and text.isascii() and text.isdigit() and int(text) <= LARGEST:
        return int(text)
    return -1


def names_labels(name: str) -> bool:
    """Whether a column or an array of this name holds labels."""
    return name.lower() in _NAMES


def names_rows(name: str) -> bool:
    """Whether a column or an array of this name tells rows apart, and so can't hold labels unless it is said to."""
    return name.lower() in _ROWS


def is_number(word: str) -> bool:
    """Whether a word is a number as programs write them."""
    return _NUMBER.fullmatch(word) is not None


def label_of(word: str) -> int | None:
    """The label that a number stands for, -1 if for none, as `3`, `3.0`, `-1` and `nan`; None if it isn't such."""
    if not is_number(word):
        return None
    value = float(word)
    if value == -1 or value != value:  # noqa: PLR0124  (not a number)
        return -1
    return int(value) if value in range(LARGEST + 1) else None


@dataclass(frozen=True)
class Vocabulary:
    """What the labels of a source mean."""

    numbers: dict[str, int] = field(default_factory=dict)
    """The label of each word; those that are numbers themselves need not be in it."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by label; empty where labels are plain numbers."""

    def __call__(self, word: str) -> int | Refused:
        """The label of a word: -1 for none at all."""
        if not word:
            return -1
        label = self.numbers.get(word, None if self.classes else label_of(word))
        if label is not None:
            return label
        expected = "one of its classes" if self.classes else "a whole number from 0 to 255"
        return Refused(f"has the label {word[:40]!r}, expected {expected}")


NUMBERS = Vocabulary()


def read_vocabulary(words: Collection[str], name: str) -> Vocabulary:
    """What all the words mean that occur as labels in the source `name`.

    Numbers stand for themselves if any is a label, and so do the English words for the ten digits. All others are names
    of classes, numbered in the order of the alphabet.

    Raises:
        FormatError: there are more than 256.
    """
    found = {word for word in words if word}
    if not found or (all(map(is_number, found)) and any(label_of(word) is not None for word in found)):
        return NUMBERS
    if found <= {*_WORDS} | {word.capitalize() for word in _WORDS}:
        return Vocabulary({word: _WORDS.index(word.lower()) for word in found})
    classes = tuple(sorted(found))
    if len(classes) > LARGEST + 1:
        raise FormatError(
            f"{name} has {len(classes):,} different labels, expected at most {LARGEST + 1}; "
            "--labels-from names others, or none"
        )
    return Vocabulary({word: label for label, word in enumerate(classes)}, classes)


def read_folders(folders: Iterable[str], name: str, *, asked: bool) -> tuple[dict[str, str], Vocabulary]:
    """What the names of folders say about the pictures in them.

    `label=3` and `digit_3` say so themselves. A number from 0 to 255 and a word for a digit do if there are two or more
    such folders: a single `42` may mean anything. If labels from folders are `asked` for, every name is one.

    Args:
        folders: of all pictures, relative to the pile; empty for those in the pile itself.
        name: of the pile.
        asked: whether the user said that folders are labels.

    Returns:
        The word for each folder that gives a label, and what the words mean.
    """
    last = {folder: folder.rpartition("/")[2] for folder in folders if folder}
    named = {folder: match[2] for folder, base in last.items() if (match := _NAMED.fullmatch(base)) and _says(match)}
    bare = {folder: base for folder, base in last.items() if folder not in named and (asked or _plain(base))}
    if not asked and len({*bare.values(), *named.values()}) < 2:
        bare = {}
    words = named | bare
    return words, read_vocabulary(set(words.values()), name)


def _says(match: re.Match[str]) -> bool:
    return match[1] == "=" or _plain(match[2])


def _plain(word: str) -> bool:
    return number_of(word) >= 0 or word.lower() in _WORDS


def to_labels(values: Any, vocabulary: Vocabulary) -> tuple[Labels, dict[int, str]]:
    """Labels from numbers, an array, or from words, a list with None for none: int16 `[n]`, -1 for none.

    Returns:
        The labels, and what is wrong with those that are no whole number from 0 to 255, by row.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            none = np.isnan(values) | (values == -1) if values.dtype.kind == "f" else values == -1
            fits = (values >= 0) & (values <= LARGEST) & (values == np.floor(values))
            numbers = np.where(fits, values, -1).astype(np.int16)
        wrong = np.flatnonzero(~(fits | none)).tolist()
        return numbers, {row: f"has the label {values[row]}, expected 0 to 255" for row in wrong}
    return split([vocabulary("" if word is None else str(word)) for word in values])
