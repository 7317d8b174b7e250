"""Piles of one's own become raw files, like those of a published data set."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.data.download import download
from pipeline.data.own import FEWEST
from pipeline.data.prepare import prepare
from pipeline.data.prepared import read_split
from pipeline.data.raw import RAW_FILES, SOURCE_FILE, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from pipeline.errors import DataError
from pipeline.params import Prepare
from pipeline.sources.idx import read_idx
from pipeline.sources.images import Pixels
from tests.prepared_digits import DOWNLOAD
from tests.sources.piles import FORMATS, column, png, write

COUNT = 250
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
NUMBERS = np.arange(COUNT) % 12


@pytest.fixture(scope="module")
def own() -> Pixels:
    """Images, each told by its first pixel."""
    images = np.random.default_rng(5).integers(0, 256, (COUNT, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(COUNT)
    return images


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def gather(pile: Path, raw: Path, **changes: object) -> dict[str, object]:
    return download(DOWNLOAD.model_copy(update={"dataset": "own", "own": str(pile), **changes}), raw)


def splits(raw: Path) -> tuple[Pixels, Pixels]:
    return read_idx(raw / TRAIN_IMAGES, 3), read_idx(raw / TEST_IMAGES, 3)


def pile(path: Path, images: Pixels, labels: NDArray[np.int64] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, images, None if labels is None else labels.tolist())


@pytest.mark.parametrize("kind", FORMATS)
def test_any_pile_that_the_batch_jobs_read_is_split_by_a_seed(
    kind: str, own: Pixels, tmp_path: Path, raw: Path
) -> None:
    result = gather(pile(tmp_path / kind, own), raw)
    train, test = splits(raw)
    assert (len(train), len(test)) == (150, 100)
    assert sorted([*train[:, 0, 0], *test[:, 0, 0]]) == list(range(COUNT))
    assert result == json.loads((raw / SOURCE_FILE).read_text())
    assert result["source"] == "own"
    assert result["about"] == {
        "title": "own images", "noun": "image", "classes": [], "licence": "", "citation": "",
    }  # fmt: skip


def test_the_seed_and_the_share_decide_which_are_kept_for_testing(own: Pixels, tmp_path: Path, raw: Path) -> None:
    path = pile(tmp_path / "pile.npy", own)
    chosen = {}
    for name, changes in {"first": {}, "again": {}, "seed": {"seed": 1}, "share": {"test_share": 0.5}}.items():
        gather(path, raw, **changes)
        chosen[name] = splits(raw)[1][:, 0, 0].tolist()
    assert chosen["first"] == chosen["again"] != chosen["seed"]
    assert len(chosen["share"]) == 125


@pytest.mark.parametrize("kind", ["pile.npz", "list.parquet", "pile.tar", "folder_of_png"])
def test_labels_come_with_the_pile(kind: str, own: Pixels, tmp_path: Path, raw: Path) -> None:
    result = gather(pile(tmp_path / kind, own, NUMBERS), raw)
    assert result["about"]["classes"] == [str(number) for number in range(12)]  # type: ignore[index]
    for images, labels in zip(
        splits(raw), (read_idx(raw / name, 1) for name in (TRAIN_LABELS, TEST_LABELS)), strict=True
    ):
        assert np.array_equal(labels, images[:, 0, 0] % 12)


def test_a_folder_may_hold_a_pile_for_training_and_one_for_testing(own: Pixels, tmp_path: Path, raw: Path) -> None:
    for train, test in (
        ("train/folder_of_png", "test/pile.tar"),
        ("train-0.parquet", "test-0.parquet"),
        ("train.npz", "test.npy"),
    ):
        folder = tmp_path / "both"
        pile(folder / train, own[:120])
        pile(folder / test, own[120:])
        gather(folder, raw)
        assert np.array_equal(np.sort(splits(raw)[0][:, 0, 0]), np.arange(120))
        assert np.array_equal(splits(raw)[1], own[120:])
        shutil.rmtree(folder)


def lettered(path: Path, images: Pixels, letters: Sequence[str | None]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": column("binary", images), "label": pa.array(letters)}), path)


def test_classes_may_have_names(own: Pixels, tmp_path: Path, raw: Path) -> None:
    letters = [LETTERS[number] for number in np.arange(COUNT) % 26]
    lettered(tmp_path / "pile.parquet", own, letters)
    assert gather(tmp_path / "pile.parquet", raw)["about"]["classes"] == LETTERS  # type: ignore[index]
    labels = read_idx(raw / TRAIN_LABELS, 1)
    assert np.array_equal(labels, splits(raw)[0][:, 0, 0] % 26)


def test_two_piles_need_not_have_the_same_classes(own: Pixels, tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "both"
    lettered(folder / "train.parquet", own[:120], ["b", "d"] * 60)
    lettered(folder / "test.parquet", own[120:], ["a", "b"] * 65)
    assert gather(folder, raw)["about"]["classes"] == ["b", "d", "a"]  # type: ignore[index]
    assert read_idx(raw / TRAIN_LABELS, 1).tolist() == [0, 1] * 60
    assert read_idx(raw / TEST_LABELS, 1).tolist() == [2, 0] * 65
    (folder / "test.parquet").unlink()
    pile(folder / "test.npz", own[120:], NUMBERS[120:])
    with pytest.raises(DataError, match="has names of classes, the other numbers"):
        gather(folder, raw)


def test_labels_and_ink_are_read_as_the_parameters_say(own: Pixels, tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "pile"
    for number, image in enumerate(own):
        (folder / ("cat", "dog")[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / ("cat", "dog")[number % 2] / f"{number:03}.png").write_bytes(png(image))
    assert gather(folder, raw)["about"]["classes"] == []  # type: ignore[index]
    assert gather(folder, raw, labels_from="folder")["about"]["classes"] == ["cat", "dog"]  # type: ignore[index]
    assert np.array_equal(read_idx(raw / TEST_LABELS, 1), splits(raw)[1][:, 0, 0] % 2)
    gather(pile(tmp_path / "pile.npy", own), raw)
    upright = splits(raw)[0]
    gather(tmp_path / "pile.npy", raw, invert=True)
    assert np.array_equal(splits(raw)[0], 255 - upright)


def test_pictures_of_any_size_and_colour_become_grey_and_28_by_28(tmp_path: Path, raw: Path) -> None:
    folder = tmp_path / "pile"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number}.png").write_bytes(png(np.full((40 + number % 5, 40, 3), 77, np.uint8)))
    gather(folder, raw)
    assert splits(raw)[0].shape[1:] == (28, 28)
    assert (splits(raw)[0][:, 14, 14] == 77).all()


def test_labels_that_some_images_lack_are_not_used(
    own: Pixels, tmp_path: Path, raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gather(pile(tmp_path / "pile.npz", own, NUMBERS), raw)
    folder = pile(tmp_path / "folder_of_png", own, NUMBERS)
    (folder / "3").rename(folder / "unknown")
    with caplog.at_level(logging.WARNING):
        result = gather(folder, raw)
    (warning,) = caplog.messages
    assert "21 of 250 images have no label, the labels of the others are not used" in warning
    assert result["about"]["classes"] == []  # type: ignore[index]
    assert sorted(path.name for path in raw.iterdir()) == sorted([TRAIN_IMAGES, TEST_IMAGES, SOURCE_FILE])
    prepare(Prepare(validation_images=5000, seed=0), raw, tmp_path / "prepared")
    assert read_split(tmp_path / "prepared", "test")[1] is None

    gather(tmp_path / "pile.npz", raw)
    assert {path.name for path in raw.iterdir()} == {*RAW_FILES, SOURCE_FILE}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([FEWEST - 1, 120], r"train\S+ gives 99 images to train with, at least 100 are needed; add images$"),
        ([120, FEWEST - 1], r"test\S+ gives 99 images to test with, at least 100 are needed; add images$"),
        ([240], r"gives 96 images to test with, .* add images or change download.test_share$"),
    ],
)
def test_too_few_images_are_refused(
    counts: Sequence[int], message: str, own: Pixels, tmp_path: Path, raw: Path
) -> None:
    folder = tmp_path / "pile"
    for name, count in zip(("train", "test"), counts, strict=False):
        pile(folder / f"{name}.npy", own[:count])
    with pytest.raises(DataError, match=message):
        gather(folder if len(counts) > 1 else folder / "train.npy", raw)
    assert not list(raw.iterdir())


def test_a_folder_without_images_or_with_damaged_ones_is_refused(own: Pixels, tmp_path: Path, raw: Path) -> None:
    folder = pile(tmp_path / "folder_of_png", own)
    (folder / "0007.png").write_bytes(b"\x89PNG?")
    with pytest.raises(DataError, match=r"0007\.png \(row 7\): .*; mend it or take it out of \S+folder_of_png"):
        gather(folder, raw)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no image; expected"):
        gather(tmp_path / "empty", raw)
    with pytest.raises(DataError, match="nowhere"):
        gather(tmp_path / "nowhere", raw)
