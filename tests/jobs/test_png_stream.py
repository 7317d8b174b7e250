import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.jobs.png_stream import compress, join_adler32, write_png, write_strips


@given(st.binary(), st.binary())
def test_the_checksum_of_two_pieces_follows_from_theirs(first: bytes, second: bytes) -> None:
    joined = join_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


def test_the_checksum_of_long_pieces() -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, 3_000_000), np.uint8)
    joined = join_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(np.concatenate([first, second]))


@pytest.mark.parametrize("cuts", [[[40]], [[1, 7], [32]], [[1] * 40], [[10, 10], [10], [10]]])
@pytest.mark.parametrize("kind", ["noise", "black", "smooth"])
def test_a_png_of_strips_shows_their_pixels(kind: str, cuts: list[list[int]], tmp_path: Path) -> None:
    pixels = {
        "noise": np.random.default_rng(0).integers(0, 256, (40, 33), np.uint8),
        "black": np.zeros((40, 33), np.uint8),
        "smooth": np.add.outer(3 * np.arange(40), 4 * np.arange(33)).astype(np.uint8),
    }[kind]
    pieces, top = [], 0
    for number, heights in enumerate(cuts):
        strips = []
        for height in heights:
            strips.append(compress(pixels[top : top + height]))
            top += height
        pieces.append(tmp_path / str(number))
        write_strips(pieces[-1], strips)
    write_png(tmp_path / "x.png", pieces)
    with Image.open(tmp_path / "x.png") as image:
        assert (image.mode, image.size) == ("L", (33, 40))
        assert np.array_equal(np.asarray(image), pixels)
    assert np.array_equal(cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED), pixels)


def test_every_checksum_is_right(tmp_path: Path) -> None:
    """Some readers pass over them: the chunks are read here one by one, and the pixels by zlib."""
    pixels = np.random.default_rng(1).integers(0, 9, (30, 50), np.uint8)
    write_strips(tmp_path / "piece", [compress(pixels[:11]), compress(pixels[11:])])
    write_png(tmp_path / "x.png", [tmp_path / "piece"])
    file = io.BytesIO((tmp_path / "x.png").read_bytes()[8:])
    kinds, stream = [], b""
    while length := file.read(4):
        kind = file.read(4)
        data = file.read(int.from_bytes(length))
        assert int.from_bytes(file.read(4)) == zlib.crc32(kind + data)
        kinds.append(kind)
        stream += data if kind == b"IDAT" else b""
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    rows = zlib.decompressobj()
    assert len(rows.decompress(stream)) == 30 * 51  # raises where Adler-32 is wrong
    assert rows.eof
