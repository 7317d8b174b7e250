"""Pictures are decoded as they were saved, or refused with a reason; none is half decoded."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.sources.images import Pixels, open_images
from pipeline.sources.pictures import Header, decode, read_header
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Refused
from tests.sources.piles import bad_of, labels_of, pixels_of, png, read_all, write

UNHURRIED = settings(deadline=None)  # a busy disk is no failure
NOISE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(28), np.arange(28)).astype(np.uint8)
PNG, JPEG = png(NOISE), png(SMOOTH, "JPEG", quality=95)
PROGRESSIVE = png(SMOOTH, "JPEG", progressive=True)
POSITION, CHANGE = st.floats(0, 1, exclude_max=True), st.integers(1, 255)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_png_in_any_mode_becomes_grey(mode: str) -> None:
    assert np.array_equal(decode(png(Image.fromarray(NOISE).convert(mode))), NOISE)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_png_of_few_bits_becomes_grey(bits: int) -> None:
    picture = Image.fromarray(NOISE).quantize(1 << bits)
    assert np.array_equal(decode(png(picture, bits=bits)), np.asarray(picture.convert("L")))
    assert np.array_equal(decode(png(Image.fromarray(NOISE > 99))), (NOISE > 99) * 255)


def test_colours_have_the_right_order() -> None:
    colours = np.zeros((28, 28, 3), np.uint8)
    colours[0], colours[1], colours[2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert decode(png(Image.fromarray(colours)))[:4, 0].tolist() == [76, 150, 29, 0]


def test_what_is_transparent_is_background() -> None:
    colours = np.full((28, 28, 4), 255, np.uint8)
    colours[:, :14, 3], colours[:, 14:20, 3] = 0, 102
    assert decode(png(Image.fromarray(colours)))[0].tolist() == [0] * 14 + [102] * 6 + [255] * 8
    grey = Image.fromarray(np.repeat(np.uint8([[9], [200]]), [14, 14], axis=0).repeat(28, axis=1))
    assert decode(png(grey, transparency=200))[:, 0].tolist() == [9] * 14 + [0] * 14


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_is_decoded(mode: str, options: dict[str, int]) -> None:
    pixels = decode(png(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, **options))
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= 4


def test_a_jpeg_is_taken_as_it_is_stored() -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # turned by 90 degrees
    assert np.array_equal(decode(png(SMOOTH, "JPEG", quality=95, exif=exif)), decode(JPEG))


@pytest.mark.parametrize("content", [PNG, JPEG, PROGRESSIVE])
def test_a_header_tells_the_size(content: bytes) -> None:
    assert read_header(content) == Header(28, 28, 8)


@pytest.mark.parametrize("content", [PNG, JPEG, PROGRESSIVE], ids=["png", "jpeg", "progressive"])
def test_every_truncation_is_refused(content: bytes) -> None:
    for length in range(len(content)):
        assert isinstance(decode(content[:length], Reading(resize=True)), Refused)


@given(changes=st.lists(st.tuples(POSITION, CHANGE), min_size=1, max_size=3, unique_by=lambda change: change[0]))
def test_a_damaged_png_is_refused(changes: list[tuple[float, int]]) -> None:
    content = bytearray(PNG)
    for position, change in changes:
        content[int(position * len(content))] ^= change
    pixels = decode(bytes(content), Reading(resize=True))
    assert isinstance(pixels, Refused) or bytes(content) == PNG


@pytest.mark.parametrize("start", [b"", b"\x89PNG\r\n\x1a\n", PNG[:33], b"\xff\xd8\xff", JPEG[:200], JPEG[:-90]])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(start: bytes, content: bytes) -> None:
    found = decode(start + content, Reading(resize=True))
    assert isinstance(found, Refused) or found.shape == (28, 28)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_jpeg_that_ends_within_its_data_is_refused(share: float) -> None:
    data = JPEG.index(b"\xff\xda") + 14
    end = data + int(share * (len(JPEG) - data))
    assert decode(JPEG[:end] + b"\xff\xd9" + JPEG[end + 2 :]).reason.endswith("bytes follow its end (EOI)")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "starts with b'', expected a PNG or JPEG picture"),
        (b"GIF89a and more", "starts with b'GIF89a a', expected a PNG or JPEG picture"),
        (PNG[:200], "is truncated, expected a whole PNG or JPEG picture"),
        (PNG[:-20] + b"\0" + PNG[-19:], "is damaged: the checksum of its chunk b'IDAT'"),
        (png(SMOOTH[1:]), "is 28 x 27 pixels, expected 28 x 28"),
        (png(SMOOTH[1:], "JPEG"), "is 28 x 27 pixels, expected 28 x 28"),
        (png(SMOOTH.astype(np.uint16)), "has 16 bits per channel, expected 8"),
        (JPEG[:-2], "is truncated or damaged: it has no end"),
    ],
)
def test_a_refusal_says_what_was_found(content: bytes, reason: str) -> None:
    assert decode(content).reason.startswith(reason)


def test_a_png_that_declares_gigapixels_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + PNG[24:29]
    content = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    assert decode(content, Reading(resize=True)).reason == "is 50,000 x 50,000 pixels, expected a side of 1 to 8,192"


def test_megabytes_of_text_beside_the_pixels_do_no_harm() -> None:
    text = PngInfo()
    text.add_text("comment", "long" * 1_000_000, zip=True)
    assert np.array_equal(decode(png(NOISE, pnginfo=text)), NOISE)


def test_nothing_is_printed_about_what_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for content in (PNG[:200], PNG[:-20] + b"\0" + PNG[-19:], JPEG[:-2], b"", png(SMOOTH[1:])):
        decode(content, Reading(resize=True))
    assert capfd.readouterr() == ("", "")


def test_pictures_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["a-b.png", "a.png", "a/9.PNG", "a/10.png", "b/c/d.jpg", "B.jpeg", "a/b/c.png", "ä.png"]
    for name in [*names, ".hidden.png", "a/._9.png", "__MACOSX/._a.png", ".git/x.png", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d").symlink_to(tmp_path / "a/b")
    (tmp_path / "a/b/back").symlink_to(tmp_path)
    bad = [row.name for rows in read_all(open_images(tmp_path)) for row in rows.bad]
    assert bad == [str(tmp_path / name) for name in sorted([*names, "d/c.png"])]


def test_folders_called_by_a_number_are_labels(images: Pixels, tmp_path: Path) -> None:
    for number, folder in enumerate(["007", "255", "256", "-1", "x", "3/y", "x/4", "², ", ""]):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"{number}.png").write_bytes(png(images[number]))
    with open_images(tmp_path) as source:
        stretches = read_all(source, 2)
    order = [3, 0, 1, 2, 5, 8, 4, 6, 7]
    assert np.array_equal(pixels_of(stretches), images[order])
    assert labels_of(stretches) == [-1, 7, 255, -1, -1, -1, -1, 4, -1]
    for alone in ("007", "255/1.png"):  # a label from nowhere
        assert labels_of(read_all(open_images(tmp_path / alone))) is None
    assert labels_of(read_all(open_images(tmp_path / "x/*.png"))) is None


def test_files_that_vanish_or_cannot_be_read_are_bad_rows(images: Pixels, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder_of_png", images)
    source = open_images(folder)
    (folder / "0002.png").unlink()
    (folder / "0004.png").unlink()
    (folder / "0004.png").mkdir()
    stretches = read_all(source, 4)
    assert np.array_equal(pixels_of(stretches), images[[0, 1, 3, 5, 6, 7, 8]])
    assert bad_of(stretches) == {
        2: "0002.png can't be read (No such file or directory), expected a picture",
        4: "0004.png can't be read (Is a directory), expected a picture",
    }
