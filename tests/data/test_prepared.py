"""The later stages read what `prepare` wrote, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.prepared import STATS_FILE, images_file, labels_file, read_about, read_split, read_stats
from pipeline.errors import DataError, FormatError
from pipeline.sources.images import Pixels

ABOUT = DATASETS["mnist"].about
LABELS = np.arange(9, dtype=np.uint8)


@pytest.fixture
def prepared(tmp_path: Path, images: Pixels) -> Path:
    np.save(tmp_path / images_file("test"), images)
    np.save(tmp_path / labels_file("test"), LABELS)
    (tmp_path / STATS_FILE).write_text(json.dumps({"about": ABOUT.as_json()}))
    return tmp_path


def test_a_split_is_mapped_into_memory(prepared: Path, images: Pixels) -> None:
    read_images, read_labels = read_split(prepared, "test")
    assert isinstance(read_images, np.memmap)
    assert np.array_equal(read_images, images)
    assert np.array_equal(read_labels, LABELS)


def test_a_missing_split_names_the_stage_to_run(prepared: Path) -> None:
    with pytest.raises(DataError, match=r"train_images\.npy was not found; run `vae prepare`"):
        read_split(prepared, "train")
    (prepared / STATS_FILE).unlink()
    for read in (read_stats, read_about):
        with pytest.raises(DataError, match=r"stats\.json was not found; run `vae prepare`"):
            read(prepared)


@pytest.mark.parametrize("content", ["", "[]", "<html>"])
def test_damaged_stats_are_refused(content: str, prepared: Path) -> None:
    (prepared / "stats.json").write_text(content)
    with pytest.raises(FormatError, match=r"stats\.json is not a JSON object; run `vae prepare` again"):
        read_stats(prepared)


@pytest.mark.parametrize("content", ["{}", '{"about": {}}', '{"about": 3}', '{"about": {"classes": []}}'])
def test_stats_that_do_not_say_what_the_images_show_are_refused(content: str, prepared: Path) -> None:
    (prepared / "stats.json").write_text(content)
    with pytest.raises(FormatError, match=r"stats\.json does not say what the images show; run `vae prepare` again"):
        read_about(prepared)


def test_images_may_have_no_labels(prepared: Path, images: Pixels) -> None:
    (prepared / labels_file("test")).unlink()
    with pytest.raises(DataError, match=r"test_labels\.npy was not found; run `vae prepare`"):
        read_split(prepared, "test")
    (prepared / STATS_FILE).write_text(json.dumps({"about": replace(ABOUT, classes=()).as_json()}))
    read_images, read_labels = read_split(prepared, "test")
    assert np.array_equal(read_images, images)
    assert read_labels is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "archive", "header", "objects"])
def test_a_damaged_array_is_refused(damage: str, prepared: Path, images: Pixels) -> None:
    path = prepared / images_file("test")
    content = path.read_bytes()
    match damage:
        case "archive":
            with path.open("wb") as file:
                np.savez(file, images)
        case "objects":
            np.save(path, np.array([{}]), allow_pickle=True)
        case _:
            path.write_bytes(
                {
                    "truncated": content[:-1],
                    "empty": b"",
                    "text": b"hello",
                    "header": content.replace(b"}", b" "),
                }[damage]
            )
    with pytest.raises(FormatError, match=r"test_images\.npy is not an \.npy array; run `vae prepare` again"):
        read_split(prepared, "test")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + np.uint8(2), r"test_labels\.npy holds 10 in row 8, labels are 0 to 9"),
        (LABELS[1:], r"holds 9 images, \S+test_labels\.npy 8 labels"),
        (LABELS.astype(np.int64), r"test_labels\.npy holds int64\[9\], expected uint8\[n\]"),
        (LABELS.reshape(9, 1), r"test_labels\.npy holds uint8\[9, 1\], expected uint8\[n\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Pixels, message: str, prepared: Path) -> None:
    np.save(prepared / labels_file("test"), labels)
    with pytest.raises(FormatError, match=message):
        read_split(prepared, "test")
