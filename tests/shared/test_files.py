"""Files and folders appear whole or not at all, and leave nothing beside them."""

import contextlib
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.shared.files import atomic_file, atomic_folder, flush, release, sha256, write_json
from tests.page_cache import is_cached


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes: what a full disk looks like to a writer, even to root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(path: Path, content: str) -> None:
    with atomic_folder(path, owns=["*.txt"]) as beside:
        (beside / "a.txt").write_text(content)


def test_a_file_appears_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with atomic_file(path) as beside:
        beside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file"]


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with atomic_folder(path, owns=[]) as beside:
        (beside / "inner").mkdir()
        (beside / "inner" / "a.txt").write_text("whole")
        assert not path.exists()
    assert (path / "inner" / "a.txt").read_text() == "whole"
    assert names(path.parent) == ["folder"]


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "file") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "folder", owns=["*.txt"]) as beside:
        (beside / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "folder" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "old")
    (tmp_path / "folder" / "b.txt").touch()
    write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "a.txt").read_text() == "new"
    assert names(tmp_path / "folder") == ["a.txt"]


def test_a_folder_with_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(OutputError, match=r"already holds 'thesis\.doc', which this command did not write"):
        write_folder(tmp_path, "new")
    assert names(tmp_path) == ["thesis.doc"]


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, a folder to write to was expected"):
        write_folder(tmp_path / "file", "new")


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "large_disk")
    write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder").is_symlink()
    assert names(tmp_path / "large_disk") == ["a.txt"]


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_the_folder_one_stands_in_is_not_replaced(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError):
        write_folder(Path(path), "new")
    assert names(tmp_path / "here") == []
    assert Path.cwd() == tmp_path / "here"


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_json(tmp_path / "file", {})
        write_folder(tmp_path / "folder", "new")
    finally:
        os.umask(previous)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*/file/below/new: Not a directory; .* choose another place"):
        write_json(tmp_path / "file" / "below" / "new", {})
    with pytest.raises(OutputError, match=r"cannot write .*/file/below/new: Not a directory"):
        write_folder(tmp_path / "file" / "below" / "new", "new")
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(room=100), pytest.raises(OutputError, match=r"cannot write .*/file: .*; free some space"):
        write_json(tmp_path / "file", "long" * 100)
    with full_disk(room=100), pytest.raises(OutputError, match=r"cannot write .*/folder: .*; free some space"):
        write_folder(tmp_path / "folder", "long" * 100)
    assert names(tmp_path) == []


def test_a_source_that_cannot_be_read_is_not_a_failure_to_write(tmp_path: Path) -> None:
    for source in (tmp_path / "source", tmp_path / "elsewhere" / "source"):
        with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "file") as beside:
            beside.write_bytes(source.read_bytes())
        with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "folder", owns=[]) as beside:
            (beside / "copy").write_bytes(source.read_bytes())
    assert names(tmp_path) == []


def test_json_ends_with_a_newline_and_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"digits": [1, 2]})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"digits": [1, 2]}


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_released_file_leaves_the_memory_and_keeps_its_bytes(tmp_path: Path) -> None:
    path, content = tmp_path / "file", os.urandom(100_000)
    path.write_bytes(content)
    assert is_cached(path)
    flush(path)
    release(path)
    assert not is_cached(path)
    assert path.read_bytes() == content


def test_a_list_of_numbers_stands_on_one_line(tmp_path: Path) -> None:
    content = {"steps": [0, -1.5, 1e-05], "rows": [[1, 2], [3]], "mixed": [1, "2"], "none": [], "objects": [{"a": 1}]}
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text().splitlines() == [
        "{",
        '  "steps": [0, -1.5, 1e-05],',
        '  "rows": [',
        "    [1, 2],",
        "    [3]",
        "  ],",
        '  "mixed": [',
        "    1,",
        '    "2"',
        "  ],",
        '  "none": [],',
        '  "objects": [',
        "    {",
        '      "a": 1',
        "    }",
        "  ]",
        "}",
    ]


NUMBERS = st.integers() | st.floats(allow_nan=False)
TEXTS = st.text() | st.sampled_from(["[\n 1,\n 2\n]", "[\\n  1\\n]", "[", "]", "[1,   2]"])


@given(
    st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXTS,
        lambda inner: st.lists(NUMBERS) | st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=12,
    )
)
def test_json_is_read_back_whatever_its_texts(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    write_json(file, content)
    assert json.loads(file.read_text()) == content
