"""Raw files become arrays, split by a seed; what does not fit together is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.prepare import prepare
from pipeline.data.prepared import read_about, read_split
from pipeline.data.raw import RAW_FILES, SOURCE_FILE, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from pipeline.errors import DataError, FormatError, OutputError
from pipeline.params import Prepare
from pipeline.sources.idx import encode_idx
from pipeline.sources.images import Pixels

PARAMS = Prepare(validation_images=5000, seed=0)  # of 60,000; 20 of the 240 below

COUNT = 240
LABELS = (np.arange(COUNT) % 10).astype(np.uint8)
IMAGES = np.repeat(np.arange(COUNT, dtype=np.uint8), 28 * 28).reshape(COUNT, 28, 28)  # each its own number


def write_raw(folder: Path, images: Pixels, labels: Pixels | None, dataset: str = "mnist") -> Path:
    """A folder as `download` leaves it, with the same images for training and for testing."""
    folder.mkdir()
    for name, array in (
        (TRAIN_IMAGES, images),
        (TRAIN_LABELS, labels),
        (TEST_IMAGES, images),
        (TEST_LABELS, labels),
    ):
        if array is not None:
            (folder / name).write_bytes(gzip.compress(encode_idx(array)))
    known = DATASETS[dataset]
    about = known.about.as_json() | ({"classes": []} if labels is None else {})
    how = {"transposed": known.transposed, "first_label": known.first_label}
    (folder / SOURCE_FILE).write_text(json.dumps({"source": dataset, "about": about, **how, "files": []}))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", IMAGES, LABELS)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(folder: Path, name: str) -> Pixels:
    array: Pixels = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    assert isinstance(array, np.memmap)
    assert array.dtype == np.uint8
    return array


def test_every_training_digit_goes_into_one_split(raw: Path, tmp_path: Path) -> None:
    prepare(PARAMS, raw, tmp_path / "prepared")
    train, validation = (load(tmp_path / "prepared", f"{split}_images") for split in ("train", "validation"))
    assert train.shape == (220, 28, 28)
    assert validation.shape == (20, 28, 28)
    assert sorted([*train[:, 0, 0], *validation[:, 0, 0]]) == list(range(COUNT))


def test_labels_stay_with_their_images(raw: Path, tmp_path: Path) -> None:
    prepare(PARAMS, raw, tmp_path / "prepared")
    for split in ("train", "validation", "test"):
        images, labels = (load(tmp_path / "prepared", f"{split}_{kind}") for kind in ("images", "labels"))
        assert np.array_equal(labels, images[:, 0, 0] % 10)


def test_test_digits_are_left_as_they_are(raw: Path, tmp_path: Path) -> None:
    prepare(PARAMS, raw, tmp_path / "prepared")
    assert np.array_equal(load(tmp_path / "prepared", "test_images"), IMAGES)
    assert np.array_equal(load(tmp_path / "prepared", "test_labels"), LABELS)


def test_equal_seeds_give_equal_bytes(raw: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("second", 7), ("other", 8)):
        prepare(Prepare(validation_images=5000, seed=seed), raw, tmp_path / name)
    first, second, other = (bytes_of(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert first["validation_images.npy"] != other["validation_images.npy"]
    assert first["test_images.npy"] == other["test_images.npy"]


@pytest.mark.parametrize(("of_all", "held_out"), [(250, 1), (5000, 20), (30000, 120)])
def test_validation_takes_the_same_share_of_a_smaller_source(
    of_all: int, held_out: int, raw: Path, tmp_path: Path
) -> None:
    stats = prepare(Prepare(validation_images=of_all, seed=0), raw, tmp_path / "prepared")
    assert stats["splits"]["validation"]["images"] == held_out
    assert stats["splits"]["train"]["images"] == COUNT - held_out


def test_a_share_of_nothing_is_refused(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"validation_images = 1 of 60,000 leaves 0 of 240 .* between 1 and 239"):
        prepare(Prepare(validation_images=1, seed=0), raw, tmp_path / "prepared")


def test_the_stats_describe_the_splits(raw: Path, tmp_path: Path) -> None:
    stats = prepare(PARAMS, raw, tmp_path / "prepared")
    assert stats == json.loads((tmp_path / "prepared" / "stats.json").read_text())
    assert stats["source"] == "mnist"
    assert stats["splits"]["test"] == {"images": 240, "per_class": [24] * 10, "mean": round(119.5 / 255, 6)}
    validation = load(tmp_path / "prepared", "validation_labels")
    assert stats["splits"]["validation"]["per_class"] == [int((validation == digit).sum()) for digit in range(10)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_pictures_stand_upright_and_classes_count_from_0(dataset: str, tmp_path: Path) -> None:
    known = DATASETS[dataset]
    numbers = np.arange(COUNT) % len(known.about.classes)
    images = np.random.default_rng(3).integers(0, 256, IMAGES.shape, np.uint8)
    stored = images.transpose(0, 2, 1) if known.transposed else images
    raw = write_raw(tmp_path / "raw", stored, (numbers + known.first_label).astype(np.uint8), dataset)
    stats = prepare(PARAMS, raw, tmp_path / "prepared")
    assert np.array_equal(load(tmp_path / "prepared", "test_images"), images)
    assert np.array_equal(load(tmp_path / "prepared", "test_labels"), numbers)
    assert stats["splits"]["test"]["per_class"] == np.bincount(numbers).tolist()
    assert read_about(tmp_path / "prepared") == known.about


def test_labels_below_the_first_are_refused(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", IMAGES, LABELS, "emnist-letters")
    with pytest.raises(FormatError, match=r"train-labels\S+ holds 0 in row 0, labels are 1 to 26"):
        prepare(PARAMS, raw, tmp_path / "prepared")


def test_images_without_labels_stay_without(tmp_path: Path) -> None:
    stats = prepare(PARAMS, write_raw(tmp_path / "raw", IMAGES, None), tmp_path / "prepared")
    assert stats["splits"]["test"] == {"images": 240, "mean": round(119.5 / 255, 6)}
    images, labels = read_split(tmp_path / "prepared", "train")
    assert images.shape == (220, 28, 28)
    assert labels is None
    assert not list((tmp_path / "prepared").glob("*labels*"))


def test_an_earlier_result_is_replaced_and_anything_else_refused(raw: Path, tmp_path: Path) -> None:
    prepare(PARAMS, raw, tmp_path / "prepared")
    prepare(PARAMS, raw, tmp_path / "prepared")
    with pytest.raises(OutputError, match="which this command did not write"):
        prepare(PARAMS, raw, raw)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[1:], LABELS, r"train-images\S+ holds 239 images, \S+train-labels\S+ 240 labels"),
        (IMAGES, np.full(COUNT, 10, np.uint8), r"train-labels\S+ holds 10 in row 0, labels are 0 to 9"),
        (IMAGES[:, 1:], LABELS, r"train-images\S+ holds uint8\[240, 27, 28\], expected uint8\[n, 28, 28\]"),
        (IMAGES[:0], LABELS[:0], r"train-images\S+ holds no image"),
        (LABELS, LABELS, r"train-images\S+ starts with b'\\x00\\x00\\x08\\x01'"),
    ],
    ids=["counts", "label 10", "size", "empty", "not images"],
)
def test_digits_that_do_not_fit_are_refused(images: Pixels, labels: Pixels, message: str, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", images, labels)
    with pytest.raises(FormatError, match=message):
        prepare(PARAMS, raw, tmp_path / "prepared")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("file", RAW_FILES)
def test_a_file_that_is_missing_or_altered_is_named(file: str, raw: Path, tmp_path: Path) -> None:
    content = bytearray((raw / file).read_bytes())
    content[-6] ^= 1
    (raw / file).write_bytes(content)
    with pytest.raises(FormatError, match=f"{file} is damaged"):
        prepare(PARAMS, raw, tmp_path / "prepared")
    (raw / file).unlink()
    with pytest.raises(DataError, match=f"{file} was not found; run `vae download`"):
        prepare(PARAMS, raw, tmp_path / "prepared")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source": "mnist"}', "<html>"])
def test_a_source_file_that_says_nothing_is_refused(content: str, raw: Path, tmp_path: Path) -> None:
    (raw / "source.json").write_text(content)
    with pytest.raises(FormatError, match=r"source\.json .*; run `vae download` again"):
        prepare(PARAMS, raw, tmp_path / "prepared")


def test_a_folder_that_download_did_not_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source\.json was not found; run `vae download`"):
        prepare(PARAMS, tmp_path, tmp_path / "prepared")
