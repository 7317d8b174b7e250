"""What lies behind an address is read like what lies on the disk."""

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import MAX_ROWS, Pixels, open_images
from pipeline.sources.places import Names
from tests.sources.piles import FORMATS, bad_of, labels_of, pixels_of, png, read_all, write

SEQUENTIAL = ["pile.idx", "pile.idx.gz", "pile-idx3-ubyte", "pile.npy", "pile.tar", "pile.tar.gz", "picture.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The address of a server of `folder` that knows no ranges."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The address of a place in memory."""
    yield f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def upload(path: Path, address: str) -> str:
    fsspec.filesystem("memory").put(str(path), f"{address}/{path.name}", recursive=True)
    return f"{address}/{path.name}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_from_behind_an_address(name: str, images: Pixels, tmp_path: Path, memory: str) -> None:
    address = upload(write(tmp_path / name, images), memory)
    for path in (address, f"file://{tmp_path}/{name}"):
        with open_images(path) as source:
            assert source.name == path
            assert np.array_equal(pixels_of(read_all(source, 4)), images)
        with open_images(path) as source:
            assert np.array_equal(pixels_of(read_all(source, 4, start=5)), images[5:])


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_server_without_ranges_is_enough(name: str, images: Pixels, folder: Path, server: str) -> None:
    if name == "picture.png":
        images = images[:1]
        (folder / name).write_bytes(png(images[0]))
    else:
        write(folder / name, images)
    with open_images(f"{server}/{name}") as source:
        assert np.array_equal(pixels_of(read_all(source, 4)), images)
    start = len(images) // 2
    with open_images(f"{server}/{name}") as source:
        assert np.array_equal(pixels_of(read_all(source, 4, start=start)), images[start:])
        assert source.state() == source.state()


def test_a_tar_is_measured_without_ranges_and_cut_at_its_start_alone(folder: Path, server: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (MAX_ROWS + 9, 28, 28), dtype=np.uint8)
    write(folder / "large.tar", images)
    with open_images(f"{server}/large.tar") as source:
        assert source.measured().count == len(images)
        assert np.array_equal(source.cut(1, 5).read(1, 5)().images, images[1:5])
        late = source.cut(MAX_ROWS, MAX_ROWS + 9)
        with pytest.raises(DataError, match=r"large\.tar can't be read: its server sends files only whole, .*download"):
            late.read(MAX_ROWS, MAX_ROWS + 9)


def test_a_large_file_comes_in_pieces(folder: Path, server: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 28, 28), dtype=np.uint8)
    write(folder / "large.npy", images)
    assert np.array_equal(pixels_of(read_all(open_images(f"{server}/large.npy"), 4096)), images)


def test_a_listing_of_a_server_is_a_folder(images: Pixels, folder: Path, server: str) -> None:
    write(folder / "folder_of_png", images)
    for path in ("folder_of_png/", "folder_of_png/*.png"):
        with open_images(f"{server}/{path}") as source:
            assert np.array_equal(pixels_of(read_all(source)), images)


def test_patterns_and_labels_work_behind_addresses(images: Pixels, tmp_path: Path, memory: str) -> None:
    upload(write(tmp_path / "folder_of_png", images, [3] * 4 + [5] * 5), memory)
    labels = upload(write(tmp_path / "labels.npy", np.arange(5, dtype=np.uint8)), memory)
    stretches = read_all(open_images(f"{memory}/**/5/*.png"))
    assert np.array_equal(pixels_of(stretches), images[4:])
    assert labels_of(stretches) is None
    assert labels_of(read_all(open_images(memory))) == [3] * 4 + [5] * 5
    assert labels_of(read_all(open_images(f"{memory}/folder_of_png/5", labels))) == list(range(5))


def test_a_picture_that_vanishes_is_a_bad_row(images: Pixels, tmp_path: Path, memory: str) -> None:
    address = upload(write(tmp_path / "folder_of_png", images), memory)
    source = open_images(address)
    before = source.state()
    fsspec.filesystem("memory").rm(f"{address}/0003.png")
    stretches = read_all(source, 4)
    assert list(bad_of(stretches)) == [3]
    assert [rows.bad[0].name for rows in stretches if rows.bad] == [f"{address.replace('://', ':///')}/0003.png"]
    assert np.array_equal(pixels_of(stretches), np.delete(images, 3, axis=0))
    assert source.state() != before


def test_an_address_may_go_on_after_its_name(images: Pixels, folder: Path, server: str) -> None:
    for name in ("pile.npy", "pile.tar"):
        write(folder / name, images)
        assert np.array_equal(pixels_of(read_all(open_images(f"{server}/{name}?token=a/b"))), images)


def test_names_with_the_signs_of_patterns_are_names(images: Pixels, tmp_path: Path, memory: str) -> None:
    (tmp_path / "pile[1]").mkdir()
    for row in range(3):
        (tmp_path / f"pile[1]/a[{row}]*.png").write_bytes(png(images[row]))
    fsspec.filesystem("memory").pipe({f"{memory}/x/a{row}[1].png": png(images[row]) for row in range(3)})
    for path in (tmp_path / "pile[1]", f"{memory}/x"):
        assert np.array_equal(pixels_of(read_all(open_images(path))), images[:3])


def test_what_is_not_there_is_named(server: str) -> None:
    for path in (f"{server}/nothing.npy", "memory://nowhere/pile.npy"):
        with pytest.raises(DataError, match="was not found; expected an IDX"):
            open_images(path)
    with pytest.raises(DataError, match="holds no image"):
        open_images("memory://nowhere/*.png")


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(DataError, match=r"can't be reached: .*; install the driver for nonsense://"):
        open_images("nonsense://bucket/pile.npy")


def test_a_transfer_that_breaks_off_is_named(images: Pixels, folder: Path, server: str) -> None:
    content = write(folder / "broken.npy", images).read_bytes()
    with open_images(f"{server}/broken.npy") as source:
        assert np.array_equal(source.read(0, 9)().images, images)
    (folder / "broken.npy").write_bytes(content[:3000])
    short = open_images(f"{server}/broken.npy")
    with pytest.raises(FormatError, match=r"broken\.npy ends in row 3 of 9"):
        short.read(0, 9)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list all")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="can't be read: Permission denied"):
        open_images(tmp_path)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_names_are_kept_in_little_memory(texts: list[str]) -> None:
    names = Names(texts)
    assert [names[index] for index in range(len(names))] == texts
