"""A pile of images gives the same pixels whatever it is kept in; a wrong one says what is wrong."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.data.idx import encode_idx
from pipeline.data.images import Pixels, open_images
from pipeline.errors import DataError, FormatError

UNHURRIED = settings(deadline=None)  # a busy disk is no failure
LABELS = np.arange(9, dtype=np.uint8)


def write(path: Path, images: Pixels) -> Path:
    """Keep `images` in the format that the name of `path` says."""
    match path.name:
        case "fortran.npy":
            np.save(path, np.asfortranarray(images))
        case "compressed.npz":
            np.savez_compressed(path, images=images, others=LABELS)
        case _ if path.suffix == ".npy":
            np.save(path, images)
        case _ if path.suffix == ".npz":
            np.savez(path, images)
        case _ if path.suffix == ".gz":
            path.write_bytes(gzip.compress(encode_idx(images)))
        case _ if path.suffix:
            path.write_bytes(encode_idx(images))
        case _:
            path.mkdir()
            for number, image in enumerate(images):
                Image.fromarray(image).save(path / f"{number:03d}.png")
    return path


def write_png(folder: Path, image: Image.Image) -> Path:
    folder.mkdir()
    image.save(folder / "digit.png")
    return folder


@pytest.mark.parametrize(
    "name", ["pile.idx", "pile.idx.gz", "pile.npy", "fortran.npy", "pile.npz", "compressed.npz", "folder_of_png"]
)
def test_every_format_gives_the_same_pixels(name: str, images: Pixels, tmp_path: Path) -> None:
    source = open_images(write(tmp_path / name, images))
    assert source.count == 9
    assert source.labels is None
    for start, stop in ((0, 9), (2, 5), (8, 9)):
        pixels = source.read(start, stop)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, images[start:stop])


@pytest.mark.parametrize("name", ["pile.idx", "pile.npy", "pile.npz", "folder_of_png"])
def test_the_digest_follows_the_content(name: str, images: Pixels, tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    first, same, other = (
        open_images(write(tmp_path / folder / name, pile)).sha256
        for folder, pile in (("a", images), ("b", images), ("c", images[::-1]))
    )
    assert first == same != other


@pytest.mark.parametrize("name", ["labels.idx", "labels.idx.gz", "labels.npy"])
def test_labels_are_carried_along(name: str, images: Pixels, tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "pile.npy", images), write(tmp_path / name, LABELS))
    assert np.array_equal(source.labels, LABELS)


def test_an_npz_may_bring_its_labels(images: Pixels, tmp_path: Path) -> None:
    np.savez(tmp_path / "pile.npz", images=images, labels=LABELS)
    source = open_images(tmp_path / "pile.npz")
    assert np.array_equal(source.labels, LABELS)
    assert np.array_equal(source.read(0, 9), images)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_png_in_colour_becomes_grey(mode: str, images: Pixels, tmp_path: Path) -> None:
    source = open_images(write_png(tmp_path / "folder", Image.fromarray(images[0]).convert(mode)))
    assert np.array_equal(source.read(0, 1), images[:1])


def test_only_png_files_of_a_folder_count(images: Pixels, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", images)
    (folder / "notes.txt").touch()
    (folder / "000.png").rename(folder / "000.PNG")
    assert np.array_equal(open_images(folder).read(0, 9), images)


def test_missing_piles_and_labels_are_named(images: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere was not found; expected an IDX"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing was not found; expected labels"):
        open_images(write(tmp_path / "pile.npy", images), tmp_path / "nothing")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FormatError, match=r"folder\.npy is not a readable \.npy file"):
        open_images(tmp_path / "pile.npy", tmp_path / "folder.npy")


def test_a_pile_without_images_is_refused(images: Pixels, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder holds no \.png file"):
        open_images(tmp_path / "folder")
    with pytest.raises(DataError, match=r"pile\.npy holds no image"):
        open_images(write(tmp_path / "pile.npy", images[:0]))


@pytest.mark.parametrize("name", ["pile.idx", "pile.npy", "pile.npz"])
def test_another_size_is_refused(name: str, images: Pixels, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"{name} holds uint8\[9, 27, 28\], expected uint8\[n, 28, 28\]"):
        open_images(write(tmp_path / name, images[:, 1:]))


def test_a_png_of_another_size_is_refused(images: Pixels, tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "folder", images[:, 1:]))
    with pytest.raises(FormatError, match=r"000\.png is 28 x 27 pixels, expected 28 x 28"):
        source.read(0, 1)


@pytest.mark.parametrize("name", ["pile.npy", "pile.npz"])
def test_another_type_is_refused(name: str, images: Pixels, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"{name} holds float32\[9, 28, 28\], expected uint8\[n, 28, 28\]"):
        open_images(write(tmp_path / name, images.astype(np.float32)))


def test_a_png_of_16_bits_is_refused(images: Pixels, tmp_path: Path) -> None:
    folder = write_png(tmp_path / "folder", Image.fromarray(images[0].astype(np.uint16)))
    with pytest.raises(FormatError, match=r"digit\.png has 16 bits per pixel, expected 8"):
        open_images(folder).read(0, 1)


@pytest.mark.parametrize("name", ["pile.npy", "pile.npz"])
def test_pickled_objects_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"{name} is not a readable {name[-4:]} file of plain arrays"):
        open_images(write(tmp_path / name, np.array([{"a": "pickle"}])))


@pytest.mark.parametrize(("name", "truth"), [("pile.npy", "pile.npz"), ("pile.npz", "pile.npy")])
def test_a_file_under_the_name_of_another_format_is_refused(
    name: str, truth: str, images: Pixels, tmp_path: Path
) -> None:
    path = write(tmp_path / truth, images).rename(tmp_path / name)
    with pytest.raises(FormatError, match=rf"{name} is not a readable"):
        open_images(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"holds the arrays \[\], expected one"),
        ({"a": LABELS, "b": LABELS}, r"holds the arrays \['a', 'b'\], expected one, or one named 'images'"),
        ({"images": np.uint8(0), "labels": LABELS}, r"holds uint8\[\], expected uint8\[n, 28, 28\]"),
    ],
)
def test_an_npz_must_say_which_array_holds_the_images(arrays: dict[str, Pixels], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "pile.npz", **arrays)
    with pytest.raises(FormatError, match=message):
        open_images(tmp_path / "pile.npz")


def test_labels_must_match_the_images(images: Pixels, tmp_path: Path) -> None:
    pile, labels = write(tmp_path / "pile.npy", images), tmp_path / "labels.npy"
    with pytest.raises(FormatError, match=r"pile\.npy holds 9 images, \S+labels\.npy 8 labels"):
        open_images(pile, write(labels, LABELS[1:]))
    with pytest.raises(FormatError, match=r"labels\.npy holds labels as int64\[9\], expected uint8\[n\]"):
        open_images(pile, write(labels, LABELS.astype(np.int64)))
    np.savez(tmp_path / "pile.npz", images=images, labels=LABELS[1:])
    with pytest.raises(FormatError, match=r"pile\.npz holds 9 images and 8 labels"):
        open_images(tmp_path / "pile.npz")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the examples of a property."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "png").mkdir()
    return folder


BLANK = np.zeros((1, 28, 28), np.uint8)
POSITION, CHANGE = st.floats(0, 1, exclude_max=True), st.integers(1, 255)


@pytest.mark.parametrize("name", ["pile.npy", "pile.npz", "compressed.npz", "png/000.png"])
@UNHURRIED
@given(changes=st.lists(st.tuples(POSITION, CHANGE), max_size=3), length=POSITION | st.just(1.0))
def test_a_damaged_file_is_read_or_refused_by_name(
    name: str, changes: list[tuple[float, int]], length: float, damaged: Path
) -> None:
    if name.endswith(".png"):
        Image.fromarray(BLANK[0]).save(damaged / name)
    else:
        write(damaged / name, BLANK)
    content = bytearray((damaged / name).read_bytes())
    for position, change in changes:
        content[int(position * len(content))] ^= change
    (damaged / name).write_bytes(content[: int(length * len(content))])
    try:
        pixels = open_images(damaged / name if name != "png/000.png" else damaged / "png").read(0, 1)
    except DataError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (1, 28, 28)


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


def test_a_png_with_megabytes_of_text_is_refused(images: Pixels, tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("comment", "long" * 1_000_000, zip=True)
    (tmp_path / "folder").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "folder" / "digit.png", pnginfo=text)
    with pytest.raises(FormatError, match=r"digit\.png is not a readable PNG image; mend or remove it"):
        open_images(tmp_path / "folder").read(0, 1)


def test_a_png_that_declares_gigapixels_is_refused(images: Pixels, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", images[:1])
    content = (folder / "000.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + content[24:29]
    (folder / "000.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(FormatError, match=r"000\.png is not a readable PNG image; mend or remove it"):
        open_images(folder).read(0, 1)
