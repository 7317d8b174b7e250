"""A zip file of pictures gives what the folder would that it unpacks to."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import Pixels, open_images
from tests.sources.piles import bad_of, labels_of, pixels_of, png, read_all


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def pictures(images: Pixels, *names: str) -> dict[str, bytes]:
    return {name: png(image) for name, image in zip(names, images, strict=False)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_is_read_like_the_folder_that_it_holds(method: int, images: Pixels, tmp_path: Path) -> None:
    members = pictures(images, "b/3/x.PNG", "b/7/y.jpg", "b/3/a.png", "b/top.png", "ä/3/z.webp", "root.png")
    path = zipped(tmp_path / "pile.zip", members, method)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    with open_images(path) as source, open_images(tmp_path / "folder") as folder:
        found, expected = read_all(source, 2), read_all(folder, 2)
        assert source.count == 6
        assert (source.labels_from, source.passed_over) == ("names of folders", {})
    assert np.array_equal(pixels_of(found), pixels_of(expected))
    assert labels_of(found) == labels_of(expected) == [3, 3, 7, -1, -1, 3]
    names = [name for rows in expected for name in rows.names or ()]
    assert [name for rows in found for name in rows.names or ()] == [f"pile.zip: {name}" for name in names]


def test_several_zip_files_follow_each_other(images: Pixels, tmp_path: Path) -> None:
    for number in range(3):
        zipped(tmp_path / f"{number}.zip", pictures(images[number * 2 :], "dog/0.png", "cat/1.png"))
    source = open_images(tmp_path, labels_from="folder")
    stretches = read_all(source, 4, start=1)
    assert np.array_equal(pixels_of(stretches), images[[1, 0, 3, 2, 5, 4]][1:])
    assert (labels_of(stretches), source.classes) == ([1, 0, 1, 0, 1], ("cat", "dog"))
    before = source.state()
    (tmp_path / "0.zip").unlink()
    assert source.state() != before


def test_what_is_no_picture_is_counted(images: Pixels, tmp_path: Path) -> None:
    members = pictures(images, "a/0.png", "__MACOSX/a/._0.png", "a/.DS_Store", "a/notes.txt", "__MACOSX/x", "a/b/")
    source = open_images(zipped(tmp_path / "pile.zip", members))
    assert len(pixels_of(read_all(source))) == 1
    assert source.passed_over == {"hidden": 3, ".txt": 1}
    with pytest.raises(
        FormatError, match=r"pile\.zip holds __MACOSX/a/\._0\.png, no picture that is read; leave --str"
    ):
        open_images(tmp_path / "pile.zip", strict=True)


def test_members_that_cannot_be_unpacked_are_bad_rows(images: Pixels, tmp_path: Path) -> None:
    members = pictures(images, "0.png", "1.png", "2.png", "3.png") | {"4.png": bytes((64 << 20) + 1)}
    content = bytearray(zipped(tmp_path / "pile.zip", members).read_bytes())
    with zipfile.ZipFile(tmp_path / "pile.zip") as archive:
        first = archive.getinfo("1.png").header_offset
    content[first + 50] ^= 1  # of its data
    directory = content.index(b"PK\x01\x02")
    third = content.index(b"2.png", directory) - 46
    content[third + 8] |= 1  # says that it is encrypted
    (tmp_path / "pile.zip").write_bytes(content)
    stretches = read_all(open_images(tmp_path / "pile.zip"))
    bad = bad_of(stretches)
    assert np.array_equal(pixels_of(stretches), images[[0, 3]])
    assert bad[1].startswith("pile.zip: 1.png can't be unpacked (")
    assert bad[2] == "pile.zip: 2.png is encrypted, expected a picture; unpack it first"
    assert bad[4] == "pile.zip: 4.png takes 67,108,865 bytes, expected at most 67,108,864"


def test_a_zip_file_without_pictures_or_an_end_is_refused(images: Pixels, tmp_path: Path) -> None:
    for members, message in (
        ({}, r"pile\.zip holds no picture$"),
        ({"train.csv": b"1,2"}, r"pile\.zip holds no picture but 1 \.csv; unpack it first"),
    ):
        with pytest.raises(DataError, match=message):
            open_images(zipped(tmp_path / "pile.zip", members))
    whole = zipped(tmp_path / "pile.zip", pictures(images, "0.png")).read_bytes()
    for length in range(0, len(whole), 40):
        (tmp_path / "pile.zip").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"pile\.zip is truncated or damaged|pile\.zip is empty"):
            open_images(tmp_path / "pile.zip")


def test_a_zip_file_behind_an_address_or_without_a_suffix(images: Pixels, tmp_path: Path) -> None:
    content = zipped(tmp_path / "pile", pictures(images, "1/0.png", "2/1.png")).read_bytes()
    fsspec.filesystem("memory").pipe("/zips/pile.zip", content)
    for path in (tmp_path / "pile", "memory://zips/pile.zip"):
        with open_images(path) as source:
            stretches = read_all(source)
        assert np.array_equal(pixels_of(stretches), images[:2])
        assert labels_of(stretches) == [1, 2]


def test_a_zip_file_can_be_read_by_several_threads(images: Pixels, tmp_path: Path) -> None:
    path = zipped(tmp_path / "pile.zip", {f"{n:04d}.png": png(images[n % 9]) for n in range(900)})
    with open_images(path) as source, ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda decode: decode(), [source.read(at, at + 90) for at in range(0, 900, 90)]))
    assert np.array_equal(pixels_of(parts), np.concatenate([images] * 100))
