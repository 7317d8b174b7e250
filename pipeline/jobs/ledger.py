"""What is known of the finished parts of a job, in memory that hardly grows with their number."""

import json
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

Record = bytes
"""Of a part: a line of JSON."""
_IN_MEMORY = 1 << 18  # bytes; a job of few parts needs no file


@dataclass(frozen=True)
class Part:
    """A finished part, as its record has it."""

    file: str
    rows: int
    bytes: int
    xxh3_128: str
    source_xxh3_128: str
    """Of the pixels, or latents, that it was made from, rows in order."""
    source_rows: int
    bad: tuple[tuple[int, str, str], ...] = ()
    """Rows that were set aside: index, name, reason."""
    labelled: int = 0
    """Rows that have a label."""
    arithmetic: str = ""
    """Digest of what the machine that made it computes from the same few rows: `Job.arithmetic`."""
    stored: str = ""
    """What a store says of it, to be told from another under its name; empty on a disk, where bytes are compared."""

    def listed(self) -> dict[str, Any]:
        """As a manifest lists it."""
        left_out = "bad", "labelled", "arithmetic", "stored"
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def record(self) -> Record:
        """As it is kept."""
        return json.dumps(vars(self)).encode() + b"\n"

    @classmethod
    def read(cls, record: Record) -> Self | None:
        """What `record` gave; None if it is anything else."""
        try:
            entry = json.loads(record)
            bad = tuple((int(index), str(name), str(reason)) for index, name, reason in entry["bad"])
            part = cls(**{**entry, "bad": bad})
        except (ValueError, TypeError, KeyError):
            return None
        texts = part.file, part.xxh3_128, part.source_xxh3_128, part.arithmetic, part.stored
        numbers = part.rows, part.bytes, part.source_rows, part.labelled
        fits = all(isinstance(one, str) for one in texts) and all(isinstance(one, int) for one in numbers)
        return part if fits else None


class Ledger:
    """The finished parts by number: their records in a temporary file, in memory where each begins."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (open as long as the ledger)
        self._begins = array("q")  # -1 for those that are not finished
        self._count = self.rows = self.source_rows = self.bad = self.labelled = 0
        self.arithmetics: set[str] = set()

    def add(self, number: int, part: Part) -> None:
        """Enter a part; one that is there already stays."""
        if number in self:
            return
        self._begins.extend([-1] * (number + 1 - len(self._begins)))
        self._begins[number] = self._file.seek(0, 2)
        self._file.write(part.record())
        self._count += 1
        self.rows += part.rows
        self.source_rows += part.source_rows
        self.bad += len(part.bad)
        self.labelled += part.labelled
        self.arithmetics.add(part.arithmetic)

    def __contains__(self, number: int) -> bool:
        return number < len(self._begins) and self._begins[number] >= 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Part]:
        """In the order of their numbers."""
        for begin in self._begins:
            if begin >= 0:
                self._file.seek(begin)
                part = Part.read(self._file.readline())
                assert part is not None  # noqa: S101  (`add` wrote it)
                yield part
