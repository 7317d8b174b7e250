"""Files that hold exactly one IDX array are read, and no others."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pipeline.errors import FormatError
from pipeline.sources.idx import encode_idx, read_idx

ARRAYS = arrays(np.uint8, array_shapes(max_dims=3, max_side=6))
UNHURRIED = settings(deadline=None)  # a busy disk is no failure
COMPRESSIONS = pytest.mark.parametrize("name", ["array.idx", "array.idx.gz"])

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
GOOD = b"\x00\x00\x08\x03" + struct.pack(">3I", 3, 2, 2) + bytes(range(12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the examples of a property."""
    return tmp_path_factory.mktemp("idx")


def packed(content: bytes, name: str) -> bytes:
    return gzip.compress(content) if name.endswith(".gz") else content


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_format_is_the_published_one(folder: Path) -> None:
    assert encode_idx(PIXELS) == GOOD
    assert np.array_equal(read_idx(write(folder / "images", GOOD), 3), PIXELS)


@COMPRESSIONS
@UNHURRIED
@given(array=ARRAYS)
def test_what_is_written_is_read_back(folder: Path, name: str, array: NDArray[np.uint8]) -> None:
    read = read_idx(write(folder / name, packed(encode_idx(array), name)), array.ndim)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


@COMPRESSIONS
@UNHURRIED
@given(array=ARRAYS, share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_refused(folder: Path, name: str, array: NDArray[np.uint8], share: float) -> None:
    content = packed(encode_idx(array), name)
    path = write(folder / name, content[: int(share * len(content))])
    with pytest.raises(FormatError):
        read_idx(path, array.ndim)


@COMPRESSIONS
@UNHURRIED
@given(array=ARRAYS, appended=st.binary(min_size=1, max_size=9))
def test_any_appended_byte_is_refused(folder: Path, name: str, array: NDArray[np.uint8], appended: bytes) -> None:
    path = write(folder / name, packed(encode_idx(array), name) + appended)
    with pytest.raises(FormatError):
        read_idx(path, array.ndim)


@UNHURRIED
@given(array=ARRAYS, appended=st.binary(min_size=1, max_size=9))
def test_appended_bytes_are_refused_within_the_compression_too(
    folder: Path, array: NDArray[np.uint8], appended: bytes
) -> None:
    path = write(folder / "array.gz", gzip.compress(encode_idx(array) + appended))
    with pytest.raises(FormatError, match="declares"):
        read_idx(path, array.ndim)


@UNHURRIED
@given(data=st.data(), array=ARRAYS)
def test_an_altered_gz_is_refused_unless_it_says_the_same(
    folder: Path, data: st.DataObject, array: NDArray[np.uint8]
) -> None:
    content = bytearray(gzip.compress(encode_idx(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = write(folder / "array.gz", bytes(content))
    try:
        read = read_idx(path, array.ndim)
    except FormatError:
        return
    assert np.array_equal(read, array)  # a time stamp or a bit of padding


def test_a_wrong_check_sum_of_a_gz_is_refused(folder: Path) -> None:
    content = bytearray(gzip.compress(GOOD))
    content[-8] ^= 1
    with pytest.raises(FormatError, match=r"array\.gz is damaged .*; fetch it again"):
        read_idx(write(folder / "array.gz", bytes(content)), 3)


def test_a_gz_may_have_several_members(folder: Path) -> None:
    path = write(folder / "array.gz", gzip.compress(GOOD[:7]) + gzip.compress(GOOD[7:]))
    assert np.array_equal(read_idx(path, 3), PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b''"),
        (b"<!DOCTYPE html>", "starts with b'<!DO'"),
        (b"\x01" + GOOD[1:], r"starts with b'\\x01\\x00\\x08\\x03'"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], r"starts with b'\\x00\\x00\\r\\x03', .* starts with b'\\x00\\x00\\x08\\x03'"),
        (b"\x00\x00\x08\x01" + GOOD[4:], r"starts with b'\\x00\\x00\\x08\\x01', .* with 3 dimension"),
        (GOOD[:9], "ends within its header"),
        (GOOD[:-1], r"declares 12 elements \(3, 2, 2\) and holds 11"),
        (GOOD + b"\x00", r"declares 12 elements \(3, 2, 2\) and holds 13"),
        (GOOD[:4] + b"\xff" * 12, "declares 79,228,162,458,924,105,385,300,197,375 elements"),
        (GOOD[:4] + b"\x00" * 4 + b"\xff" * 8, "declares 0 elements"),
    ],
)
def test_the_message_says_what_is_wrong(folder: Path, content: bytes, message: str) -> None:
    path = write(folder / "images", content)
    with pytest.raises(FormatError, match=message):
        read_idx(path, 3)
    packed_path = write(folder / "images.gz", gzip.compress(content))
    with pytest.raises(FormatError, match=message):
        read_idx(packed_path, 3)


def test_a_page_in_place_of_a_gz_is_named(folder: Path) -> None:
    with pytest.raises(FormatError, match="is not gzip: it starts with b'<!DOCTYPE html>'; fetch it again"):
        read_idx(write(folder / "images.gz", b"<!DOCTYPE html>"), 3)
