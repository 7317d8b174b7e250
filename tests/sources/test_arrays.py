"""Arrays are read row by row from files that hold exactly what they declare."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import FormatError
from pipeline.sources.idx import encode_idx
from pipeline.sources.images import Pixels, open_images
from tests.sources.piles import labels_of, pixels_of, read_all, write

LABELS = np.arange(9, dtype=np.uint8)
BLANK = np.zeros((1, 28, 28), np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_become_grey(channels: int, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 28, 28, channels), dtype=np.uint8)
    colours[..., 3:] = 255
    np.save(tmp_path / "pile.npy", colours)
    luma = colours[..., 0] if channels == 1 else colours[..., :3] @ [0.299, 0.587, 0.114]
    found = pixels_of(read_all(open_images(tmp_path / "pile.npy"), 4))
    assert found.shape == (9, 28, 28)
    assert np.abs(found - luma).max() <= 0.5 + 1e-9


def test_large_images_are_resized(tmp_path: Path) -> None:
    digits = np.zeros((3, 56, 56), np.uint8)
    digits[:, ::2] = 100
    np.save(tmp_path / "pile.npy", digits)
    assert np.array_equal(pixels_of(read_all(open_images(tmp_path / "pile.npy", resize=True))), BLANK.repeat(3, 0) + 50)


@pytest.mark.parametrize("name", ["pile.idx", "pile.npy", "pile.npz"])
@pytest.mark.parametrize("shape", [(9, 27, 28), (9, 783), (9, 28, 28, 2), (9,), (1, 1, 1, 28, 28)])
def test_another_shape_is_refused(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    shown = ", ".join(map(str, shape))
    with pytest.raises(
        FormatError, match=rf"{name} (holds uint8\[{shown}\], expected images \[n, 28, 28\]|starts with)"
    ):
        open_images(write(tmp_path / name, np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("name", ["pile.npy", "pile.npz"])
def test_pickled_objects_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"{name} is not a readable {name[-4:]} file of plain arrays \(pickled"):
        open_images(write(tmp_path / name, np.array([{"a": "pickle"}])))


@pytest.mark.parametrize(("name", "truth"), [("pile.npy", "pile.npz"), ("pile.npz", "pile.npy")])
def test_a_file_under_the_name_of_another_format_is_refused(
    name: str, truth: str, images: Pixels, tmp_path: Path
) -> None:
    path = write(tmp_path / truth, images).rename(tmp_path / name)
    with pytest.raises(FormatError, match=rf"{name} is not a readable"):
        open_images(path)


def test_a_picture_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    Image.fromarray(BLANK[0]).save(tmp_path / "digit.idx", "PNG")
    with pytest.raises(FormatError, match=r"digit\.idx starts with b'\\x89PNG', an IDX file"):
        open_images(tmp_path / "digit.idx")
    (tmp_path / "page-ubyte.gz").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(FormatError, match=r"ubyte\.gz is not gzip: it starts with b'<!DOCTYPE html>'; fetch it again"):
        open_images(tmp_path / "page-ubyte.gz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no array of 28 x 28 pixels: no array"),
        ({"a": LABELS, "b": LABELS}, r"holds no array of 28 x 28 pixels: a uint8\[9\], b uint8\[9\]; .* --array NAME"),
        ({"a": BLANK, "b": BLANK}, r"holds several arrays of images: a uint8\[1, 28, 28\], b .*; .* --array NAME"),
        ({"images": np.uint8(0), "labels": LABELS}, r"holds uint8\[\], expected images \[n, 28, 28\]"),
        ({"images": BLANK, "labels": LABELS}, r"holds 1 images and 9 labels"),
        ({"images": BLANK, "labels": BLANK}, r"holds labels as uint8\[1, 28, 28\], expected one for each image"),
    ],
)
def test_an_npz_must_say_which_array_holds_the_images(arrays: dict[str, Pixels], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "pile.npz", **arrays)
    with pytest.raises(FormatError, match=message):
        open_images(tmp_path / "pile.npz")


def test_an_npz_may_hold_more_than_images_and_labels(images: Pixels, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "pile.npz", names=np.array(["a"]), labels=LABELS, images=images)
    stretches = read_all(open_images(tmp_path / "pile.npz"), 2)
    assert np.array_equal(pixels_of(stretches), images)
    assert labels_of(stretches) == LABELS.tolist()


@pytest.mark.parametrize(
    ("name", "marker", "offset", "value"),
    [("pile.npy", b"}", 0, 0x20), ("pile.npz", b"PK\x01\x02", 8, 1), ("pile.npz", b"PK\x01\x02", 6, 255)],
    ids=["no end of the header", "encrypted", "of a later version"],
)
def test_what_numpy_cannot_read_is_refused(name: str, marker: bytes, offset: int, value: int, tmp_path: Path) -> None:
    path = write(tmp_path / name, BLANK)
    content = bytearray(path.read_bytes())
    content[content.index(marker) + offset] = value
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"{name} is not a readable"):
        open_images(path)


@pytest.mark.parametrize("name", ["pile.idx", "pile.npy"])
def test_bytes_after_the_array_are_refused(name: str, images: Pixels, tmp_path: Path) -> None:
    path = write(tmp_path / name, images)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(FormatError, match=r"declares 7,056 elements \(9, 28, 28\) and holds 7,057; fetch it again"):
        open_images(path)


def test_bytes_after_the_array_are_refused_within_gzip(images: Pixels, tmp_path: Path) -> None:
    (tmp_path / "pile.gz").write_bytes(gzip.compress(encode_idx(images) + b"\0"))
    with pytest.raises(FormatError, match=r"pile\.gz goes on after its 9 rows; write it again as one array"):
        read_all(open_images(tmp_path / "pile.gz"))


def test_gzip_is_known_by_its_first_bytes(images: Pixels, tmp_path: Path) -> None:
    write(tmp_path / "pile.gz", images).rename(tmp_path / "train-images")
    assert np.array_equal(pixels_of(read_all(open_images(tmp_path / "train-images"))), images)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    images = np.zeros((5000, 28, 28), np.uint8)
    source = open_images(write(tmp_path / "pile.npy", images))
    source.read(0, 10)
    write(tmp_path / "other.npy", images[:2000])
    (tmp_path / "pile.npy").write_bytes((tmp_path / "other.npy").read_bytes())
    with pytest.raises(FormatError, match=r"pile\.npy ends in row 2,000 of 5,000; mend it or fetch it again"):
        source.read(1000, 5000)
