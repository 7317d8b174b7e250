"""The picture of the strangest images of a pile: each beside its reconstruction, with its row and how strange it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.jobs.parts import Columns
from pipeline.sources.rows import Pixels

_ACROSS = 10
_TIMES = 2  # as large as they are
_FONT, _LINE, _GAP = 13, 16, 18
_PAPER, _TEXT, _FAINT = 255, 0, 96
_HOW_TO_READ = "row of the pile, class; score, percentile among held-out images"
_APART = 4  # captions, at least


def draw_strangest(kept: Columns, reconstructions: Pixels, classes: Sequence[str]) -> Pixels:
    """A sheet of images, strangest first, row by row: uint8 `[height, width]`.

    Args:
        kept: `image` uint8 `[n, 28, 28]`, `index`, `label`, `score` and `percentile` `[n]`; n is 0 if all are bad.
        reconstructions: uint8 `[n, 28, 28]`.
        classes: names of the labels, if they have any.
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (for jobs that draw alone)

    count = len(kept["image"])
    columns = max(1, min(count, _ACROSS))
    side = _TIMES * reconstructions.shape[1]
    width, height = 2 * side + _GAP, side + 2 * _LINE + _GAP
    head = 2 * _LINE + _GAP
    rows = -(-count // columns)
    sheet = Image.new("L", (max(columns, 4) * width + _GAP, head + rows * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    draw.text((_GAP, _GAP // 2), f"The {count} strangest, and what the model makes of them", _TEXT, font)
    draw.text((_GAP, _GAP // 2 + _LINE), _HOW_TO_READ, _FAINT, font)
    for place in range(count):
        left, top = _GAP + place % columns * width, head + place // columns * height
        for number, image in enumerate((kept["image"][place], reconstructions[place])):
            large = image.repeat(_TIMES, axis=0).repeat(_TIMES, axis=1)
            sheet.paste(Image.fromarray(large), (left + number * side, top))
        for line, (text, ink) in enumerate(_captions(kept, place, classes)):
            draw.text((left, top + side + 1 + line * _LINE), _cut(text, font, width - _APART), ink, font)
    return np.asarray(sheet)


def _captions(kept: Columns, place: int, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Two lines: which image it is, and how strange."""
    label: Any = int(kept["label"][place])
    name = "" if label < 0 else f", {classes[label] if label < len(classes) else label}"
    percentile = float(kept["percentile"][place])
    share = ">99.9 %" if percentile > 99.9 else f"{percentile:.1f} %"
    return [
        (f"row {kept['index'][place]:,}{name}", _TEXT),
        (f"{kept['score'][place]:,.1f}, {share}", _FAINT),
    ]


def _cut(text: str, font: Any, width: int) -> str:
    """As much of a text as fits into one line of a width, in pixels."""
    line = " ".join(text.split())
    while font.getlength(line) > width:
        line = line[:-1]
    return line
