"""Numbers of any type as grey levels: 0 for the background, 255 for full ink."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.sources.rows import Pixels

Array = NDArray[Any]
_ONE, _BYTE = (0.0, 1.0), (0.0, 255.0)
_DARKEST = 64  # an image pile that is brighter nowhere may have any range


@dataclass(frozen=True)
class Levels:
    """How values become grey levels: those from `low` to `high` to 0 to 255, rounded to the nearest."""

    low: float
    high: float

    def __call__(self, values: Array) -> tuple[Pixels, NDArray[np.bool_]]:
        """Grey levels of `[m, ...]`, uint8 of that shape, and which rows hold a value outside the range: bool `[m]`."""
        if values.dtype == np.uint8 and (self.low, self.high) == _BYTE:
            return values, np.zeros(len(values), bool)
        flat = values.reshape(len(values), -1)
        if values.dtype.kind != "b" and flat.size:
            wrong = ~((flat.min(axis=1) >= self.low) & (flat.max(axis=1) <= self.high))  # so that NaN is wrong
        else:
            wrong = np.zeros(len(values), bool)
        exact = np.float32 if values.dtype.itemsize < 4 or values.dtype == np.float32 else np.float64
        scaled: Array = values.astype(exact)
        scaled = (scaled - self.low) * (255 / (self.high - self.low))
        if wrong.any():
            scaled[wrong] = 0
        return np.rint(scaled, out=scaled).astype(np.uint8), wrong

    @property
    def reason(self) -> str:
        """What is wrong with a row that holds a value outside."""
        return f"holds a value outside {self.low:g} to {self.high:g}, the range that --range sets, or none"


BYTES = Levels(*_BYTE)


def find_levels(name: str, pieces: Iterable[tuple[str, Array]]) -> Levels:
    """The range of values that are not bytes, from all of them, each with its file.

    0 to 1 if none lies outside, or 0 to 255 if the largest shows that it can't be less.

    Raises:
        FormatError: neither is certain, or not the same in all files.
    """
    low, high = np.inf, -np.inf
    highs: dict[str, float] = {}
    shares: set[str] = set()
    """Files that hold a fraction of 1."""
    for file, piece in pieces:
        numbers = piece[np.isfinite(piece)] if piece.dtype.kind == "f" else piece
        if numbers.size:
            largest = float(numbers.max())
            low, high = min(low, float(numbers.min())), max(high, largest)
            highs[file] = max(highs.get(file, largest), largest)
            if numbers.dtype.kind == "f" and highs[file] <= 1 and ((numbers > 0) & (numbers < 1)).any():
                shares.add(file)
    if low > high:
        raise FormatError(f"{name} holds no number; expected grey levels from 0 to 1 or from 0 to 255")
    if low >= 0 and high <= 1:
        return Levels(*_ONE)
    mixed = sorted(file for file in shares if highs[file] <= 1)
    if high > 1 and mixed:
        other = max(highs, key=lambda file: highs[file])
        raise FormatError(
            f"{mixed[0]} holds values up to {highs[mixed[0]]:g}, {other} up to {highs[other]:g}; expected one range in "
            "all files: encode them one by one, or write them again"
        )
    if low >= 0 and _DARKEST <= high <= 255:
        return BYTES
    raise FormatError(
        f"{name} holds values from {low:g} to {high:g}, expected 0 to 1 or 0 to 255; say which are background and "
        f"full ink: --range={_advice(low, high)}"
    )


def _advice(low: float, high: float) -> str:
    """A range that people use, if there is one, else the one that was found."""
    for usual in ((-1, 1), (0, 16), (0, 65535), (-128, 127), (-0.5, 0.5)):
        if usual[0] <= low < usual[0] / 2 + 1e-9 and usual[1] / 2 < high <= usual[1]:
            return f"{usual[0]:g}..{usual[1]:g}"
    return f"{low:g}..{high:g}"
