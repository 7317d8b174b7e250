"""The table of data sets, against what is published elsewhere."""

import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.raw import RAW_FILES

CLASSES = dict(zip(DATASETS, (10, 10, 10, 10, 26, 47), strict=True))


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_whole(name: str) -> None:
    dataset = DATASETS[name]
    assert set(dataset.members or [file.name for file in dataset.files]) == set(RAW_FILES)
    assert [file.bytes for file in dataset.files] == sorted(file.bytes for file in dataset.files)
    for file in dataset.files:
        assert len(bytes.fromhex(file.sha256)) == 32
    assert dataset.mirrors
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in dataset.mirrors)
    assert len(set(dataset.about.classes)) == len(dataset.about.classes) == CLASSES[name]
    assert dataset.about.licence
    assert dataset.about.citation
    assert not dataset.about.noun.endswith("s")


def test_classes_of_emnist_are_those_of_its_mapping() -> None:
    """The character codes in `emnist-balanced-mapping.txt`, by label."""
    small = [97, 98, 100, 101, 102, 103, 104, 110, 113, 114, 116]
    assert [ord(name) for name in DATASETS["emnist-balanced"].about.classes] == [*range(48, 58), *range(65, 91), *small]
    letters = DATASETS["emnist-letters"]
    assert letters.first_label == 1
    assert [ord(name) for name in letters.about.classes] == [*range(97, 123)]


def test_nothing_is_published_twice() -> None:
    """But for the one zip of all splits of EMNIST."""
    plain = [file.sha256 for dataset in DATASETS.values() if not dataset.members for file in dataset.files]
    assert len(plain) == len(set(plain)) == 12
    assert len({dataset.files for dataset in DATASETS.values() if dataset.members}) == 1
