"""Pictures are decoded as they were saved, or refused with a reason; none is half decoded."""

import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pipeline.sources.formats import EXPECTED, Header, read_header
from pipeline.sources.images import Pixels, open_images
from pipeline.sources.pictures import decode
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Refused
from tests.sources.piles import bad_of, labels_of, pixels_of, png, read_all, write

UNHURRIED = settings(deadline=None)  # a busy disk is no failure
NOISE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(28), np.arange(28)).astype(np.uint8)
SLOPE = np.add.outer(np.arange(28) * 6, np.arange(28) * 2).astype(np.uint8) + np.uint8(9)
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


def test_what_is_transparent_is_paper() -> None:
    colours = np.full((28, 28, 4), 255, np.uint8)
    colours[:, :14, 3], colours[:, 14:20, 3] = 0, 102
    assert decode(png(Image.fromarray(colours)))[0].tolist() == [0] * 14 + [102] * 6 + [255] * 8
    colours[:, :, :3] = 0
    assert decode(png(Image.fromarray(colours)))[0].tolist() == [255] * 14 + [153] * 6 + [0] * 8
    for ink, paper in ((9, 255), (200, 0)):
        grey = np.repeat(np.uint8([[ink], [77]]), [14, 14], axis=0).repeat(28, axis=1)
        for picture in (grey, grey.astype(np.uint16) * 257):
            clear = 77 if picture.dtype == np.uint8 else 77 * 257
            marked = png(Image.fromarray(picture), transparency=clear)
            assert decode(marked)[:, 0].tolist() == [ink] * 14 + [paper] * 14


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_rounded_to_8(channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 1 << 16, (28, 28, 1), np.uint16)
    opaque = np.concatenate([*[levels] * min(channels, 3), *[np.full_like(levels, 65535)] * (channels // 4)], axis=-1)
    content = cv2.imencode(".png", opaque)[1].tobytes()
    assert np.array_equal(decode(content), np.rint(levels[..., 0] / 257))


OTHERS = {
    "WebP": {"kind": "WEBP", "lossless": True},
    "BMP": {"kind": "BMP"},
    "GIF": {"kind": "GIF"},
    "TIFF": {"kind": "TIFF"},
    "TIFF in LZW": {"kind": "TIFF", "compression": "tiff_lzw"},
    "TIFF in JPEG": {"kind": "TIFF", "compression": "jpeg", "quality": 100},
    "big-endian TIFF": {"kind": "TIFF", "big": True},
}


def saved(picture: Image.Image, kind: str, big: bool = False, **options: object) -> bytes:
    if big:
        options["tiffinfo"] = ImageFileDirectory_v2(b"MM\0*\0\0\0\x08")
    return png(picture, kind, **options)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_have_the_same_pixels(name: str, mode: str) -> None:
    if (name == "TIFF in JPEG" and mode in ("RGBA", "P", "1")) or (name, mode) == ("GIF", "RGBA"):
        pytest.skip("there is none, or Pillow writes others")
    levels = NOISE // 2 if name == "GIF" else NOISE  # of which it keeps the most frequent
    picture = Image.fromarray(levels).convert(mode)
    found = decode(saved(picture, **OTHERS[name])).astype(int)
    assert np.abs(found - np.asarray(picture.convert("L"))).max() <= (3 if "JPEG" in name else 0)


@pytest.mark.parametrize("name", ["WebP", "GIF", "TIFF"])
def test_other_formats_may_be_transparent(name: str) -> None:
    drawing = np.zeros((28, 28, 4), np.uint8)
    drawing[9:19, 9:19, 3] = 255
    assert np.array_equal(decode(saved(Image.fromarray(drawing), **OTHERS[name])), 255 - drawing[..., 3])


def test_the_first_of_several_pictures_is_taken() -> None:
    first, *others = [Image.fromarray(NOISE // 2 + step) for step in (0, 9, 99)]
    for name in ("GIF", "WebP", "TIFF"):
        content = saved(first, **OTHERS[name], save_all=True, append_images=others)
        assert np.array_equal(decode(content), NOISE // 2)


@pytest.mark.parametrize("name", OTHERS)
def test_every_truncation_of_other_formats_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = saved(Image.fromarray(SMOOTH), **OTHERS[name])
    whole = decode(content)
    for length in range(len(content)):
        found = decode(content[:length], Reading(resize=True))
        assert isinstance(found, Refused) or (length > len(content) - 5 and np.array_equal(found, whole))
    assert capfd.readouterr() == ("", "")


TURNS: list[Callable[[Pixels], Pixels]] = [
    lambda image: image,
    lambda image: image[:, ::-1],
    lambda image: image[::-1, ::-1],
    lambda image: image[::-1],
    lambda image: image.T,
    lambda image: np.rot90(image, -1),
    lambda image: image[::-1, ::-1].T,
    np.rot90,
]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_data_say(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    plain = decode(png(SLOPE, kind, **options))
    assert np.array_equal(decode(png(SLOPE, kind, exif=exif, **options)), TURNS[orientation - 1](plain))
    upright = decode(png(SLOPE[:20], kind, exif=exif, **options), Reading(resize=True))
    assert (upright[:3].any(), upright[:, :3].any()) == ((False, True) if orientation < 5 else (True, False))


@pytest.mark.parametrize("rest", [b"\n", b"\0" * 9, b"\0\0\0\x18ftypmp42 a film", JPEG, b"\r\n" + JPEG + b"\n"])
def test_what_follows_a_jpeg_does_no_harm(rest: bytes) -> None:
    assert np.array_equal(decode(JPEG + rest), decode(JPEG))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_is_decoded(mode: str, options: dict[str, int]) -> None:
    pixels = decode(png(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, **options))
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= 4


@pytest.mark.parametrize("content", [PNG, JPEG, PROGRESSIVE])
def test_a_header_tells_the_size(content: bytes) -> None:
    assert read_header(content) == Header(28, 28)


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


@pytest.mark.parametrize(
    "start", [b"BM", b"II*\0", b"MM\0*", b"GIF89a", b"RIFF\xff\0\0\0WEBP", png(SMOOTH, "TIFF")[:100]]
)
@given(content=st.binary(max_size=300))
def test_any_bytes_of_other_formats_are_decoded_or_refused(start: bytes, content: bytes) -> None:
    found = decode(start + content + b";", Reading(resize=True))
    assert isinstance(found, Refused) or found.shape == (28, 28)


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
        (b"", f"starts with b'', expected {EXPECTED}"),
        (b"RIFF\0\0\0\0WAVE", f"starts with b'RIFF\\x00\\x00\\x00\\x00', expected {EXPECTED}"),
        (b"GIF89a and more", "is truncated: it has no end, expected a whole GIF"),
        (PNG[:200], "is truncated, expected a whole PNG"),
        (JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"), "has 12 bits per channel, expected 8"),
        (
            png(Image.fromarray(SMOOTH).convert("CMYK"), "TIFF"),
            "is a TIFF in CMYK, or of other than 1",
        ),
        (png(Image.fromarray(SMOOTH).convert("LA"), "TIFF"), "is a TIFF in CMYK, or of other than 1"),
        (png(Image.fromarray(SMOOTH).convert("F"), "TIFF"), "has values of type float32, expected whole numbers"),
        (PNG[:-20] + b"\0" + PNG[-19:], "is damaged: the checksum of its chunk b'IDAT'"),
        (png(SMOOTH[1:]), "is 28 x 27 pixels, expected 28 x 28"),
        (png(SMOOTH[1:], "JPEG"), "is 28 x 27 pixels, expected 28 x 28"),
        (JPEG[:-2], "is truncated or damaged: it has no end"),
    ],
)
def test_a_refusal_says_what_was_found(content: bytes, reason: str) -> None:
    assert decode(content).reason.startswith(reason)


def test_a_png_that_declares_gigapixels_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + PNG[24:29]
    content = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    assert decode(content, Reading(resize=True)).reason == "is 50,000 x 50,000 pixels, expected a side of 1 to 8,192"


@pytest.mark.parametrize("name", OTHERS)
def test_a_header_that_declares_gigapixels_takes_no_memory(name: str) -> None:
    content = bytearray(saved(Image.fromarray(SMOOTH), **OTHERS[name]))
    for order in "<>":  # of all fields that might be a size, and of WebP's
        content = bytearray(content.replace(struct.pack(f"{order}I", 28), struct.pack(f"{order}I", 40_000)))
    if name == "GIF":
        content[6:10] = struct.pack("<HH", 40_000, 40_000)
    if name == "WebP":
        content[21:25] = struct.pack("<I", 16_000 | 16_000 << 14)
    tracemalloc.start()
    found = decode(bytes(content), Reading(resize=True))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert re.match(r"is [\d,]+ x [\d,]+ pixels, expected a side of 1 to 8,192", found.reason)


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
