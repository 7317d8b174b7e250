"""A pile of images gives the same pixels whatever it is kept in; a wrong one says what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import Pixels, open_images
from tests.sources.piles import FORMATS, bad_of, labels_of, pixels_of, read_all, write

UNHURRIED = settings(deadline=None)  # a busy disk is no failure
RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (300, 28, 28), dtype=np.uint8)
LABELS = np.sort(RNG.integers(0, 10, 300)).tolist()  # in the order of folders


@pytest.fixture(scope="module")
def piles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 300 digits in every format."""
    folder = tmp_path_factory.mktemp("piles")
    for name in FORMATS:
        write(folder / name, DIGITS)
    return folder


@pytest.mark.parametrize("step", [1, 7, 100])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_pixels(name: str, step: int, piles: Path) -> None:
    with open_images(piles / name) as source:
        assert source.name == str(piles / name)
        assert source.count == (None if "tar" in name else 300)
        stretches = read_all(source, step)
    assert np.array_equal(pixels_of(stretches), DIGITS)
    assert all(rows.images.flags.c_contiguous and rows.images.dtype == np.uint8 for rows in stretches)
    assert set(labels_of(stretches) or ()) <= {-1}


@pytest.mark.parametrize("name", FORMATS)
def test_finished_rows_are_jumped_over(name: str, piles: Path) -> None:
    with open_images(piles / name) as source:
        first, second = source.read(3, 10), source.read(150, 160)
        assert np.array_equal(first().images, DIGITS[3:10])
        assert np.array_equal(second().images, DIGITS[150:160])
        assert np.array_equal(pixels_of(read_all(source, 7, start=290)), DIGITS[290:])


@pytest.mark.parametrize("name", [name for name in FORMATS if "idx" not in name and "npy" not in name])
def test_labels_of_the_pile_are_carried_along(name: str, tmp_path: Path) -> None:
    with open_images(write(tmp_path / name, DIGITS, LABELS)) as source:
        assert source.labelled
        stretches = read_all(source, 7)
    assert labels_of(stretches) == LABELS
    assert np.array_equal(pixels_of(stretches), DIGITS)


@pytest.mark.parametrize("labels", ["labels.idx", "labels.idx.gz", "labels.npy"])
@pytest.mark.parametrize("name", ["pile.npy", "pile.tar", "folder_of_png"])
def test_labels_may_lie_in_a_file_of_their_own(name: str, labels: str, piles: Path, tmp_path: Path) -> None:
    others = write(tmp_path / labels, (np.arange(300) % 7).astype(np.uint8))
    with open_images(piles / name, others) as source:
        assert source.labelled
        source.read(0, 5)
        stretches = read_all(source, 7, start=20)
    assert labels_of(stretches) == (np.arange(20, 300) % 7).tolist()


def test_a_row_that_is_left_out_takes_its_label_with_it(images: Pixels, tmp_path: Path) -> None:
    pile = write(tmp_path / "folder_of_png", images)
    (pile / "0003.png").write_bytes(b"no picture")
    with open_images(pile, write(tmp_path / "labels.npy", np.arange(9, dtype=np.uint8))) as source:
        (rows,) = read_all(source)
    assert rows.stop == 9
    assert labels_of([rows]) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert bad_of([rows]) == {
        3: "0003.png starts with b'no pictu', expected a PNG, JPEG, WebP, BMP, TIFF or GIF picture"
    }


@pytest.mark.parametrize("name", ["pile.npy", "pile.tar", "folder_of_png", "pile.npz"])
@pytest.mark.parametrize("number", [8, 10])
def test_labels_must_be_as_many_as_images(number: int, name: str, images: Pixels, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.npy", np.zeros(number, np.uint8))
    with pytest.raises(FormatError, match=rf"{name} holds (9 images, \S+ {number} labels|more images than \S+ labels)"):
        read_all(open_images(write(tmp_path / name, images), labels), step=4)


def test_labels_must_be_labels(images: Pixels, tmp_path: Path) -> None:
    pile = write(tmp_path / "pile.npy", images)
    with pytest.raises(
        FormatError, match=r"labels\.npy holds labels as float32\[9, 10\], .* save array\.argmax\(axis=1\)"
    ):
        open_images(pile, write(tmp_path / "labels.npy", np.zeros((9, 10), np.float32)))
    with pytest.raises(FormatError, match=r"pile\.npy holds labels as uint8\[9, 28, 28\], expected one for each image"):
        open_images(pile, pile)
    with pytest.raises(DataError, match=r"nothing was not found; expected labels as IDX, \.npy, \.npz, CSV, Parquet"):
        open_images(pile, tmp_path / "nothing")
    with pytest.raises(DataError, match="is no file; expected labels"):
        open_images(pile, tmp_path)


def test_a_missing_pile_is_named(tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere/*.png", "nowhere.npy", "a\0b", "x" * 300):
        with pytest.raises(DataError, match=r"was not found; expected an IDX|holds no image|can't be read"):
            open_images(tmp_path / name)


@pytest.mark.parametrize("name", ["pile.idx", "pile.npy", "pile.npz", "binary.parquet", "pile.tar"])
def test_a_pile_without_images_is_refused(name: str, images: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} holds no image"):
        open_images(write(tmp_path / name, images[:0]))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder holds no image; expected"):
        open_images(tmp_path / "folder")


def test_a_folder_of_two_kinds_needs_a_choice(images: Pixels, tmp_path: Path) -> None:
    write(tmp_path / "folder_of_png", images)
    write(tmp_path / "binary.parquet", images)
    with pytest.raises(DataError, match=r"holds Parquet and picture files; choose with a pattern like \*\.png"):
        open_images(tmp_path)
    for pattern in ("**/*.png", "*/000[0-9].png", "*.parquet", "binary.parquet"):
        assert np.array_equal(pixels_of(read_all(open_images(tmp_path / pattern))), images)


@pytest.mark.parametrize("name", FORMATS)
def test_the_state_changes_with_the_pile(name: str, images: Pixels, tmp_path: Path) -> None:
    pile = write(tmp_path / name, images)
    labels = write(tmp_path / "labels.npy", np.zeros(9, np.uint8))
    source, labelled = open_images(pile), open_images(pile, labels)
    first, second = source.state(), labelled.state()
    assert first == source.state() == open_images(pile).state() != second
    assert first != open_images(pile, resize=True).state()
    os.utime(labels, ns=(0, 0))
    assert first == source.state()
    assert second != labelled.state()
    os.utime(next(pile.iterdir()) if pile.is_dir() else pile, ns=(0, 0))
    assert first != source.state()


def test_the_state_changes_with_the_number_of_files(images: Pixels, tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "folder_of_png", images))
    first = source.state()
    (tmp_path / "folder_of_png/0009.png").touch()
    second = source.state()
    (tmp_path / "folder_of_png/0000.png").unlink()
    assert len({first, second, source.state()}) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_other_sizes_are_resized_if_that_is_asked_for(name: str, tmp_path: Path) -> None:
    if name in ("binary.parquet", "variable.parquet", "list.parquet", "nested.parquet", "folder_of_parquet"):
        pytest.skip("these have 28 x 28 pixels")
    large = np.zeros((3, 84, 42), np.uint8)
    large[:, :, :21] = [[[90]], [[120]], [[255]]]
    small = np.zeros((3, 28, 28), np.uint8)
    small[:, :, 7:14] = [[[90]], [[120]], [[255]]]  # padded by 21 on both sides, then shrunk to a third
    pile = write(tmp_path / name, large)
    assert np.array_equal(pixels_of(read_all(open_images(pile, resize=True))), small)


SEEDS = [name for name in FORMATS if "folder" not in name]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the examples of a property."""
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", [*SEEDS, "picture.png", "picture.jpg"])
@UNHURRIED
@given(content=st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused_by_name(name: str, content: bytes, damaged: Path) -> None:
    (damaged / name).write_bytes(content)
    try:
        with open_images(damaged / name) as source:
            stretches = read_all(source)
    except DataError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:
        assert all(name in bad.name for rows in stretches for bad in rows.bad)


POSITION, CHANGE = st.floats(0, 1, exclude_max=True), st.integers(1, 255)


@pytest.mark.parametrize("name", SEEDS)
@UNHURRIED
@given(changes=st.lists(st.tuples(POSITION, CHANGE), max_size=3), length=POSITION | st.just(1.0))
def test_a_damaged_file_is_read_or_refused_by_name(
    name: str, changes: list[tuple[float, int]], length: float, damaged: Path
) -> None:
    content = bytearray(write(damaged / name, DIGITS[:3], [1, 2, 3]).read_bytes())
    for position, change in changes:
        content[int(position * len(content))] ^= change
    content = content[: int(length * len(content))]
    (damaged / name).write_bytes(content)
    try:
        with open_images(damaged / name) as source:
            stretches = read_all(source, 2)
    except DataError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:
        for rows in stretches:
            assert rows.images.shape == (rows.stop - rows.start - len(rows.bad), 28, 28)
            assert all("\n" not in bad.reason for bad in rows.bad)


@pytest.mark.parametrize("name", SEEDS)
@UNHURRIED
@given(length=POSITION)
def test_no_truncation_goes_unnoticed(name: str, length: float, damaged: Path) -> None:
    content = write(damaged / name, DIGITS[:3]).read_bytes()
    kept = content[: int(length * len(content))]
    (damaged / name).write_bytes(kept)
    if name == "pile.tar" and not content[len(kept) :].strip(b"\0") and len(kept) % 10240 >= 512:
        return  # the padding at the end of an archive
    with pytest.raises(DataError, match=name), open_images(damaged / name) as source:
        read_all(source)


def test_opening_loads_only_what_the_pile_needs(piles: Path) -> None:
    code = (
        "import sys; from pipeline.sources.images import open_images;"
        "open_images(sys.argv[1]).read(0, 9)(); print(*sys.modules)"
    )
    loaded = {
        name: set(subprocess.check_output([sys.executable, "-c", code, piles / name], text=True).split())
        for name in ("pile.npy", "list.parquet", "folder_of_png")
    }
    assert not {"cv2", "pyarrow", "fsspec", "PIL", "pandas"} & loaded["pile.npy"]
    assert not {"cv2", "pandas"} & loaded["list.parquet"]
    assert not {"pyarrow", "fsspec", "PIL"} & loaded["folder_of_png"]
