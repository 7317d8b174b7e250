"""Which arrays of an archive hold images, and which their labels."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.errors import FormatError
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.labels import names_labels, names_rows
from pipeline.sources.pixels import misfit
from pipeline.sources.reading import NONE, Reading

_COLOURS = 1, 3, 4
_PARTNERS = ("images", "labels"), ("image", "label"), ("x", "y"), ("X", "y"), ("arr_0", "arr_1"), ("data", "target")
"""What images and labels of one pile are called, alone or with something before or after."""


class Layout(NamedTuple):
    """How the rows of an array hold images."""

    height: int
    width: int
    channels: int
    first: bool
    """Whether channels come before the pixels."""
    alone: bool
    """Whether the array is one image."""


def read_layout(shape: tuple[int, ...], *, any_size: bool) -> Layout | None:  # noqa: PLR0911  (a table)
    """How an array of this shape holds images; None if it can't.

    `[n, height, width]`, with 1, 3 or 4 channels after or before the pixels; `[n, 784]`; or one image,
    `[height, width]`, or in colour.
    """
    match shape:
        case (_, pixels) if pixels == PIXELS:
            return Layout(*IMAGE_SHAPE, 1, first=False, alone=False)
        case (height, width) if any_size or shape == IMAGE_SHAPE:
            return Layout(height, width, 1, first=False, alone=True)
        case (height, width, channels) if channels in _COLOURS[1:]:
            return Layout(height, width, channels, first=False, alone=True)
        case (_, height, width):
            return Layout(height, width, 1, first=False, alone=False)
        case (_, height, width, channels) if channels in _COLOURS:
            return Layout(height, width, channels, first=False, alone=False)
        case (_, channels, height, width) if channels in _COLOURS:
            return Layout(height, width, channels, first=True, alone=False)
    return None


def choose_pair(
    name: str, shapes: Mapping[str, tuple[tuple[int, ...], str]], reading: Reading
) -> tuple[str, str | None]:
    """The array of images and that of their labels, if there is one, among arrays of these shapes and kinds.

    Raises:
        FormatError: several arrays may be the images, or none, or the ones asked for are not there.
    """
    listed = ", ".join(f"{array} {kind}{list(shape)}" for array, (shape, kind) in shapes.items()) or "no array"
    for option, wanted in (("--array", reading.array), ("--labels-from", reading.labels_from)):
        if wanted not in (None, NONE) and wanted not in shapes:
            raise FormatError(f"{name} has no array {wanted!r} for {option}; it holds {listed}")
    images = reading.array or _choose_images(name, shapes, reading, listed)
    if reading.labels_from is not None:
        return images, None if reading.labels_from == NONE else reading.labels_from
    return images, _choose_labels(images, shapes)


def _choose_images(name: str, shapes: Mapping[str, tuple[tuple[int, ...], str]], reading: Reading, listed: str) -> str:
    def fits(array: str) -> bool:
        shape, kind = shapes[array]
        layout = read_layout(shape, any_size=reading.any_size)
        return (
            layout is not None and kind not in ("text", "pickled") and not misfit(layout.height, layout.width, reading)
        )

    fitting = [array for array in shapes if fits(array)]
    for usual in ("images", "image"):
        if usual in shapes and (usual in fitting or not fitting):
            return usual
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and len(shapes) == 1:
        return next(iter(shapes))
    found = "several arrays of images" if fitting else "no array of 28 x 28 pixels"
    raise FormatError(f"{name} holds {found}: {listed}; choose one with --array NAME")


def _choose_labels(images: str, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> str | None:
    """By its name, or else the only one that has a word or a whole number for each image."""
    count = shapes[images][0][:1]

    def fits(array: str) -> bool:
        shape, _ = shapes[array]
        return array != images and shape[:1] == count and (len(shape) == 1 or shape[1:] == (1,))

    def may_be(array: str) -> bool:
        return not shapes[array][1].startswith(("float", "pickled"))

    for of_images, of_labels in _PARTNERS:
        partner = images.replace(of_images, of_labels)
        if partner != images and partner in shapes:
            return partner
    named = [array for array in shapes if fits(array) and names_labels(array)]
    fitting = named or [array for array in shapes if fits(array) and not names_rows(array) and may_be(array)]
    return fitting[0] if len(fitting) == 1 else None
