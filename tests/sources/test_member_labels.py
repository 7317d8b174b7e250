"""Labels of archives come from where they can be nothing else, or from where they are said to be."""

import json
import os
from pathlib import Path
from threading import Thread

import pytest

from pipeline.errors import FormatError
from pipeline.sources.images import ImageSource, Pixels, open_images
from tests.sources.piles import bad_of, labels_of, png, read_all, tar
from tests.sources.test_places import Quiet, folder, server

__all__ = ["Quiet", "folder", "server"]


def beside(suffix: str, *contents: str | None, folders: tuple[str, ...] = ()) -> dict[str, str | None]:
    """Pictures, marked by None, each followed by a member with these contents."""
    members: dict[str, str | None] = {}
    for number, content in enumerate(contents):
        key = f"{folders[number]}/{number}" if folders else f"{number}"
        members[f"{key}.png"] = None
        if content is not None:
            members[f"{key}{suffix}"] = content
    return members


def within(*folders: str) -> dict[str, str | None]:
    """One picture in each of these folders, in this order."""
    return {f"{folder}/{number}.png".removeprefix("/"): None for number, folder in enumerate(folders)}


def opened(path: Path, members: dict[str, str | None], image: Pixels, labels_from: str | None = None) -> ImageSource:
    contents = {name: png(image) if text is None else text.encode() for name, text in members.items()}
    path.write_bytes(tar(contents, gz=path.suffix == ".gz"))
    return open_images(path, labels_from=labels_from)


FOUND = {
    "numbers in .cls": (beside(".cls", "7", None, "255\n"), None, [7, -1, 255], (), "members .cls"),
    "in a later .cls": (beside(".cls", None, "3"), None, [-1, 3], (), "members .cls"),
    "in .label": (beside(".label", "7", "3"), None, [7, 3], (), "members .label"),
    "words in .cls": (beside(".cls", "dog", "cat", "dog"), None, [1, 0, 1], ("cat", "dog"), "members .cls"),
    "words for digits": (beside(".cls", "Seven", "zero"), None, [7, 0], (), "members .cls"),
    "numbers in .txt": (beside(".txt", "7", "", None, "3"), None, [-1] * 4, (), ""),
    "only numbers in .txt": (beside(".txt", "7", None, "3"), None, [7, -1, 3], (), "members .txt"),
    "captions": (beside(".txt", "7", "a seven"), None, [-1, -1], (), ""),
    "a late caption": (beside(".txt", *["7"] * 70, "a seven"), None, [-1] * 71, (), ""),
    "beside a readme": ({"readme.txt": "About"} | beside(".txt", "7", "3"), None, [7, 3], (), "members .txt"),
    "in .json": (beside(".json", "7", '"3"', '{"a": 1, "Label": 5}'), None, [7, 3, 5], (), "members .json"),
    "in no .json": (beside(".json", "7", '{"a": 1}'), None, [-1, -1], (), ""),
    "in a broken .json": (beside(".json", "7", "{"), None, [-1, -1], (), ""),
    "no label but true": (beside(".json", "true", "1"), None, [-1, -1], (), ""),
    ".cls before .txt": (beside(".cls", "7") | {"0.txt": "3"}, None, [7], (), "members .cls"),
    ".cls before folders": (beside(".cls", "7", "3", folders=("1", "2")), None, [7, 3], (), "members .cls"),
    "folders": (within("7", "3", "7", "", "x/3"), None, [7, 3, 7, -1, 3], (), "names of folders"),
    "folders of words": (within("seven", "three"), None, [7, 3], (), "names of folders"),
    "folders with a dot": (within("./7", "./3"), None, [7, 3], (), "names of folders"),
    "one folder": (within("7", "7"), None, [-1, -1], (), ""),
    "folders of anything": (within("dogs", "cats"), None, [-1, -1], (), ""),
    "folders asked for": (within("dogs", "cats"), "folder", [1, 0], ("cats", "dogs"), "names of folders"),
    "captions asked for": (beside(".txt", "a", "b", "a"), "txt", [0, 1, 0], ("a", "b"), "members .txt"),
    "with a dot": (beside(".txt", "9", "8"), ".txt", [9, 8], (), "members .txt"),
    "a key asked for": (beside(".json", '{"y": 1, "is": 4}'), "is", [4], (), "members .json, key is"),
    "none": (beside(".cls", "7"), "none", None, (), ""),
}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize(("members", "asked", "labels", "classes", "about"), FOUND.values(), ids=FOUND)
def test_labels_are_found_where_they_are(
    members: dict[str, str | None],
    asked: str | None,
    labels: list[int] | None,
    classes: tuple[str, ...],
    about: str,
    suffix: str,
    images: Pixels,
    tmp_path: Path,
) -> None:
    with opened(tmp_path / f"pile{suffix}", members, images[0], asked) as source:
        stretches = read_all(source, 2)
        assert labels_of(stretches) == labels
        assert bad_of(stretches) == {}
        assert (source.classes, source.labels_from) == (classes, about)


BAD = {
    "a word among numbers": (beside(".cls", "7", "cat"), None, "has the label 'cat', expected a whole number"),
    "a number too large": (beside(".cls", "7", "256"), None, "has the label '256', expected a whole number"),
    "nothing": (beside(".cls", "7", ""), None, "has the label b'' in its .cls, expected a whole number"),
    "no text": (beside(".cls", "7", "\0\ud800"), None, "has the label "),
    "too much": (beside(".cls", "7", "long " * 99), None, "has a .cls of 495 bytes, expected a label of at most 256"),
    "no key": (beside(".json", '{"is": 4}', '{"y": 4}'), "is", "has the label b'{\"y\": 4}' in its .json"),
}


@pytest.mark.parametrize(("members", "asked", "reason"), BAD.values(), ids=BAD)
def test_a_label_that_is_none_makes_a_bad_row(
    members: dict[str, str | None], asked: str | None, reason: str, images: Pixels, tmp_path: Path
) -> None:
    contents = {
        name: png(images[0]) if text is None else text.encode("utf-8", "surrogatepass")
        for name, text in members.items()
    }
    (tmp_path / "pile.tar").write_bytes(tar(contents))
    bad = bad_of(read_all(open_images(tmp_path / "pile.tar", labels_from=asked)))
    assert list(bad) == [1]
    assert bad[1].startswith(f"pile.tar: 1.png {reason}")


@pytest.mark.parametrize(
    ("members", "asked", "message"),
    [
        (beside(".cls", "7"), "txt", r"pile\.tar has no members \.txt; --labels-from names others, or none"),
        (beside(".json", "{}"), "is", r"pile\.tar has no members \.json with a label under 'is'; --labels-from"),
        (beside(".cls", "7"), "folder", r"pile\.tar has no folders, whose names --labels-from folder takes"),
        (
            beside(".txt", *(f"a{n}" for n in range(300))),
            "txt",
            r"pile\.tar has 257 different labels, expected at most",
        ),
    ],
)
def test_labels_that_are_asked_for_must_be_there(
    members: dict[str, str | None], asked: str, message: str, images: Pixels, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=message):
        opened(tmp_path / "pile.tar", members, images[0], asked)


def test_words_mean_the_same_in_all_shards(images: Pixels, tmp_path: Path) -> None:
    for shard, word in enumerate(["dog", "ape", "cat"]):
        (tmp_path / f"{shard}.tar").write_bytes(tar({"0.png": png(images[0]), "0.cls": word.encode()}))
    source = open_images(tmp_path)
    assert labels_of(read_all(source)) == [2, 0, 1]
    assert source.classes == ("ape", "cat", "dog")


def test_what_holds_labels_is_not_passed_over(images: Pixels, tmp_path: Path) -> None:
    members = beside(".cls", "7", "3") | {"1.txt": "a three", "1.json": json.dumps({"y": 3}), "2.label": "5"}
    for asked, counts in ((None, {".txt": 1, ".json": 1, ".label": 1}), ("json", {".txt": 1})):
        source = opened(tmp_path / "pile.tar", members, images[0], asked)
        read_all(source)
        assert source.passed_over == counts


def test_a_server_without_ranges_is_asked_twice(images: Pixels, folder: Path, server: str) -> None:
    contents = {name: png(images[0]) for name in within("7", "3")}
    (folder / "pile.tar.gz").write_bytes(tar(contents, gz=True))
    assert labels_of(read_all(open_images(f"{server}/pile.tar.gz"))) == [7, 3]


def test_a_pipe_has_labels_too(images: Pixels, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pile.tar")
    contents = tar({name: png(images[0]) for name in within("7", "3")})
    Thread(target=(tmp_path / "pile.tar").write_bytes, args=[contents], daemon=True).start()
    assert labels_of(read_all(open_images(tmp_path / "pile.tar"))) == [7, 3]
