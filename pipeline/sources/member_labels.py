"""Where the labels of an archive come from: members beside the pictures, or the folders in which these lie."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.errors import FormatError
from pipeline.sources.labels import LARGEST, NUMBERS, Vocabulary, names_labels, number_of, read_folders, read_vocabulary
from pipeline.sources.members import LABELS, Row
from pipeline.sources.reading import FOLDER, NONE
from pipeline.sources.rows import Refused

DEDICATED = ".cls", ".label"
"""What such a member holds is a label, whatever it says; a `.txt` may be a caption, and a `.json` anything."""
_LONGEST = 256  # bytes of a label
_LONGEST_JSON = 1 << 20

Again = Callable[[], Iterator[Row]]
"""Reads all rows once more, from the first one on."""


@dataclass(frozen=True)
class MemberLabels:
    """Which members are labels, and what they mean."""

    suffix: str = ""
    """Of the members that hold them; none where folders do, or nothing."""
    key: str = ""
    """Where a label is in a `.json` file; else under any name that labels have."""
    folders: dict[str, str] = field(default_factory=dict)
    """The word for each folder whose name is one."""
    meaning: Vocabulary = NUMBERS
    about: str = ""
    """In words; empty until a label has been seen."""

    def of(self, row: Row) -> int | Refused:
        """The label of a row, -1 for none."""
        word = self.word(row) if self.suffix else self.folders.get(row.folder)
        return word if isinstance(word, Refused) else self.meaning(word) if word else -1

    def word(self, row: Row) -> str | Refused | None:
        """What the last member of a row with the suffix says; None where there is none."""
        found = None
        for suffix, member in row.labels:
            if suffix == self.suffix:
                found = member
        if found is None:
            return None
        if found.trouble:
            return Refused(f"has a {self.suffix} that {found.trouble}")
        return _read_word(found.content, self.suffix, self.key)


def choose_labels(head: Sequence[Row], asked: str | None, again: Again, name: str) -> MemberLabels:
    """Find out where the labels are.

    Words and folders mean something only together: for these everything is read once before the first row is given,
    but only if they are `asked` for, or if the first rows show them. Where these show nothing, a later row may have a
    `.cls`.

    Args:
        head: the first rows.
        asked: see `Reading.labels_from`.
        again: what reads them all.
        name: of the pile, for messages.

    Raises:
        FormatError: what is asked for isn't there, or there are more than 256 different labels.
    """
    if asked == NONE:
        return MemberLabels()
    if asked is not None:
        return _asked(asked, again, name)
    return _members_said(head, again, name) or _folders_said(head, again, name) or MemberLabels(DEDICATED[0])


def _members_said(head: Sequence[Row], again: Again, name: str) -> MemberLabels | None:
    for suffix in DEDICATED:
        if words := _first_words(head, suffix):
            labels = MemberLabels(suffix, about=f"members {suffix}")
            if any(isinstance(word, Refused) or _numeric(word) for word in words):
                return labels
            return replace(labels, meaning=_vocabulary(labels, again(), name))
    return next(filter(None, (_unambiguous(head, suffix, again) for suffix in LABELS)), None)


def _folders_said(head: Sequence[Row], again: Again, name: str) -> MemberLabels | None:
    folders = {row.folder for row in head}
    said, _ = read_folders([*folders, "0", "1"], name, asked=False)
    found = None if folders.isdisjoint(said) else _of_folders(again(), name, asked=False)
    return found if found and found.folders else None


def _asked(asked: str, again: Again, name: str) -> MemberLabels:
    if asked == FOLDER:
        return _of_folders(again(), name, asked=True)
    suffix = f".{asked.lower().removeprefix('.')}"
    labels = MemberLabels(suffix) if suffix in LABELS else MemberLabels(".json", asked)
    about = f"members {labels.suffix}" + (f", key {labels.key}" if labels.key else "")
    return replace(labels, meaning=_vocabulary(labels, again(), name), about=about)


def _of_folders(rows: Iterable[Row], name: str, *, asked: bool) -> MemberLabels:
    words, meaning = read_folders({row.folder for row in rows if row.pictures}, name, asked=asked)
    if asked and not words:
        raise FormatError(f"{name} has no folders, whose names --labels-from folder takes; leave it out")
    return MemberLabels(folders=words, meaning=meaning, about="names of folders")


def _unambiguous(head: Sequence[Row], suffix: str, again: Again) -> MemberLabels | None:
    """Labels from members that might be something else, if every one of them is a number or a word for a digit."""
    if not _all_plain(_first_words(head, suffix)):
        return None
    labels = MemberLabels(suffix, about=f"members {suffix}")
    words: set[str | Refused] = set()
    for row in again():
        if row.pictures and (word := labels.word(row)) is not None:
            words.add(word)
            if len(words) > LARGEST + 1:
                return None
    if not _all_plain(words):
        return None
    return MemberLabels(suffix, meaning=read_vocabulary(_plain(words), ""), about=labels.about)


def _first_words(head: Sequence[Row], suffix: str) -> list[str | Refused]:
    labels = MemberLabels(suffix)
    return [word for row in head if row.pictures and (word := labels.word(row)) is not None]


def _all_plain(words: Iterable[str | Refused]) -> bool:
    found = list(words)
    if not found or any(isinstance(word, Refused) for word in found):
        return False
    return len(set(found)) <= LARGEST + 1 and not read_vocabulary(_plain(found), "").classes


def _plain(words: Iterable[str | Refused]) -> set[str]:
    return {word for word in words if isinstance(word, str)}


def _vocabulary(labels: MemberLabels, rows: Iterable[Row], name: str) -> Vocabulary:
    words: set[str] = set()
    for row in rows:
        word = labels.word(row)
        if isinstance(word, str) and word not in words:
            words.add(word)
            if len(words) > LARGEST + 1:
                break  # too many, as the next line says
    if not words:
        of = f" with a label under {labels.key!r}" if labels.key else ""
        raise FormatError(f"{name} has no members {labels.suffix}{of}; --labels-from names others, or none")
    return read_vocabulary(words, name)


def _numeric(word: str) -> bool:
    return number_of(word) >= 0 or word.lstrip("+-").isdigit()


def _read_word(content: bytes, suffix: str, key: str) -> str | Refused:
    longest = _LONGEST_JSON if suffix == ".json" else _LONGEST
    if len(content) > longest:
        return Refused(f"has a {suffix} of {len(content):,} bytes, expected a label of at most {longest:,}")
    try:
        text = content.decode().strip() if suffix != ".json" else _read_json(json.loads(content), key)
    except (ValueError, RecursionError):
        text = ""
    return text or Refused(f"has the label {content[:40]!r} in its {suffix}, expected a whole number from 0 to 255")


def _read_json(value: object, key: str) -> str:
    """The label in a JSON document, empty for none: a number, a text, or an object with one of these."""
    if isinstance(value, dict):
        keys = [key] if key else [name for name in value if names_labels(name)]
        value = next((value[name] for name in keys if name in value), None)
    return str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
