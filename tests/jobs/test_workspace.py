"""The folder in which a job works: who may work there, what is found there, what stays there."""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.jobs.workspace import Part, Workspace, open_workspace, read_journal
from pipeline.shared.files import atomic_file
from tests.test_house import ROOT

JOB = {"job": "encode", "limit": None, "encoder": {"sha256": "1234", "latent_dim": 2}}
BAD = ((3, "pile/3.png", "is damaged: ein Bild fürs Auge, \u2028 \x85"), (4, "pile/\udcff.png", "is empty"))


def part(number: int, bad: tuple[tuple[int, str, str], ...] = ()) -> Part:
    return Part(f"part-{number:05d}.parquet", 65_536 - len(bad), 1_000 + number, "12ab", "34cd", 65_536, bad)


def finish(space: Workspace, part: Part) -> None:
    """What a job does with a part."""
    (space.parts / part.file).write_bytes(bytes(part.bytes))
    space.add(part)


def is_there(folder: Path) -> Any:
    return lambda part: (folder / "parts" / part.file).stat().st_size == part.bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "job" / ".out.partial"


@pytest.fixture
def left(folder: Path) -> Path:
    """What a job leaves that is killed after three parts."""
    with pytest.raises(KeyboardInterrupt), open_workspace(folder, JOB, is_there(folder)) as space:
        for number in range(3):
            finish(space, part(number, BAD if number == 1 else ()))
        raise KeyboardInterrupt
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_workspace_is_empty_and_says_what_it_is_for(folder: Path) -> None:
    with open_workspace(folder, JOB, is_there(folder)) as space:
        assert space.finished == []
        assert names(folder) == ["journal.jsonl", "lock", "parts"]
        assert json.loads((folder / "journal.jsonl").read_text()) == JOB


def test_finished_parts_are_found_again_in_order_with_all_that_was_noted(left: Path) -> None:
    assert read_journal(left, JOB) == [part(0), part(1, BAD), part(2)]
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == [part(0), part(1, BAD), part(2)]
        finish(space, part(3))
        assert read_journal(left, JOB) == [part(0), part(1, BAD), part(2), part(3)]


def test_a_manifest_lists_a_part_without_the_rows_that_were_set_aside() -> None:
    assert part(1, BAD).listed() == {
        "file": "part-00001.parquet",
        "rows": 65_534,
        "bytes": 1_001,
        "xxh3_128": "12ab",
        "source_xxh3_128": "34cd",
        "source_rows": 65_536,
    }


def test_a_journal_may_break_off_anywhere(left: Path) -> None:
    journal = left / "journal.jsonl"
    whole = journal.read_bytes()
    ends = [index for index, byte in enumerate(whole) if byte == ord("\n")]
    found = []
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        found.append(len(read_journal(left, JOB) or []))
    # The line feed itself may be missing; the first line is the job.
    assert found == [max(0, sum(length >= end for end in ends) - 1) for length in range(len(whole))]


@pytest.mark.parametrize(
    "line",
    ["", "\0" * 512, "{", "null", "3", "[]", '"file"', "{}", '{"bad": []}', '{"bad": 3}', '{"bad": [[1]]}', "\udcff"],
)
def test_what_stands_behind_a_line_that_is_none_does_not_count(line: str, left: Path) -> None:
    journal = left / "journal.jsonl"
    lines = journal.read_text().splitlines()
    garbled = [*lines[:2], line, *lines[3:]]
    journal.write_bytes("\n".join(garbled).encode(errors="surrogateescape"))
    assert read_journal(left, JOB) == [part(0)]
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == [part(0)]
        finish(space, part(1))
    assert read_journal(left, JOB) == [part(0), part(1)]  # and is gone from then on


def test_a_line_that_is_missing_ends_what_is_finished(left: Path) -> None:
    """Or the rows of the part would be missing in the result."""
    journal = left / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], *lines[3:]]))
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == [part(0)]


@pytest.mark.parametrize("first", ["", "null", "[]", "no JSON", json.dumps(JOB | {"limit": 5}), json.dumps({})])
def test_the_journal_of_another_job_counts_for_nothing(first: str, left: Path) -> None:
    journal = left / "journal.jsonl"
    journal.write_text("\n".join([first, *journal.read_text().splitlines()[1:]]))
    assert not read_journal(left, JOB)


def test_no_journal_or_a_folder_in_its_place_counts_for_nothing(left: Path) -> None:
    (left / "journal.jsonl").unlink()
    assert not read_journal(left, JOB)
    (left / "journal.jsonl").mkdir()
    assert not read_journal(left, JOB)
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == []
    assert not read_journal(left.parent / "nowhere", JOB)


def test_what_another_job_left_is_deleted_and_said_so(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    (left / "replaced").mkdir()
    (left / "picture.png").touch()
    caplog.set_level(logging.INFO)
    with open_workspace(left, JOB | {"limit": 5}, is_there(left)) as space:
        assert space.finished == []
        assert names(left) == ["journal.jsonl", "lock", "parts"]
    assert caplog.messages == [f"{left} was left by another job; starting over"]


@pytest.mark.parametrize(("changed", "kept"), [(0, []), (1, [part(0)]), (2, [part(0), part(1, BAD)])])
def test_parts_count_up_to_the_first_that_is_not_intact(changed: int, kept: list[Part], left: Path) -> None:
    os.truncate(left / "parts" / part(changed).file, 7)
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == kept
    assert (read_journal(left, JOB) or []) == kept


@pytest.mark.parametrize("kind", [RuntimeError, OutputError, KeyboardInterrupt, SystemExit])
def test_a_failure_without_a_finished_part_leaves_nothing(kind: type[BaseException], folder: Path) -> None:
    with pytest.raises(kind), open_workspace(folder, JOB, is_there(folder)) as space:
        (space.parts / "half").touch()
        raise kind
    assert names(folder.parent) == []


@pytest.mark.parametrize("kind", [RuntimeError, OutputError, KeyboardInterrupt, SystemExit])
def test_a_failure_keeps_finished_parts_and_says_how_to_go_on(
    kind: type[BaseException], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(kind), open_workspace(folder, JOB, is_there(folder)) as space:
        finish(space, part(0))
        raise kind
    assert names(folder) == ["journal.jsonl", "lock", "parts", "parts/part-00000.parquet"]
    assert caplog.messages == [f"{folder} holds 1 finished part(s); run the same command again to resume"]


def test_a_workspace_that_has_vanished_is_not_said_to_hold_anything(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(OutputError), open_workspace(folder, JOB, is_there(folder)) as space:
        finish(space, part(0))
        shutil.rmtree(folder.parent)
        raise OutputError
    assert (caplog.messages, folder.parent.exists()) == ([], False)


def test_what_is_removed_is_gone_at_once_and_can_be_begun_again(left: Path) -> None:
    with open_workspace(left, JOB, is_there(left)) as space:
        space.remove()
        assert not left.exists()
    with open_workspace(left, JOB, is_there(left)) as space:
        assert space.finished == []


def test_two_jobs_cannot_work_in_one_place(folder: Path) -> None:
    with open_workspace(folder, JOB, is_there(folder)) as space:
        finish(space, part(0))
        with (
            pytest.raises(OutputError, match=r"another process is writing in .*/\.out\.partial; wait for it, or"),
            open_workspace(folder, JOB | {"limit": 5}, is_there(folder)),
        ):
            pytest.fail("both work")
        assert read_journal(folder, JOB) == [part(0)]


@pytest.fixture
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works in the folder."""
    script = (
        "import sys; from pathlib import Path; from pipeline.jobs.workspace import open_workspace\n"
        f"with open_workspace(Path(sys.argv[1]), {JOB!r}, bool):\n"
        "    print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_kept_out_only_as_long_as_it_lives(
    folder: Path, other_process: subprocess.Popen[str]
) -> None:
    with pytest.raises(OutputError, match="another process is writing"), open_workspace(folder, JOB, is_there(folder)):
        pytest.fail("both work")
    other_process.send_signal(signal.SIGKILL)
    other_process.communicate()
    assert (folder / "lock").exists()  # and holds nobody up
    with open_workspace(folder, JOB, is_there(folder)) as space:
        assert space.finished == []


def test_a_file_in_its_place_is_an_output_error(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with (
        pytest.raises(OutputError, match=r"cannot write .*/\.out\.partial: File exists"),
        open_workspace(folder, JOB, is_there(folder)),
    ):
        pytest.fail("opened")
    assert folder.is_file()


def test_a_disk_that_is_full_from_the_start_leaves_nothing(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OutputError, match="cannot write"), open_workspace(folder, JOB, is_there(folder)):
            pytest.fail("opened")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder.parent) == []


def test_a_source_that_fails_is_not_taken_for_a_failure_to_write(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_workspace(folder, JOB, is_there(folder)):
        (tmp_path / "images.npy").read_bytes()
    with pytest.raises(OutputError, match="cannot write"), open_workspace(folder, JOB, is_there(folder)) as space:
        shutil.rmtree(space.folder)
        with atomic_file(space.parts / "part") as beside:
            beside.rename(space.parts.parent / "nowhere" / "part")
