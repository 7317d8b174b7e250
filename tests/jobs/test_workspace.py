"""The place where a job works: who may work there, what is found there, what stays there; on a disk and on a store."""

import io
import json
import logging
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import OutputError
from pipeline.inference import Decoder
from pipeline.jobs.compute import Made
from pipeline.jobs.generate import GenerateJob
from pipeline.jobs.job import Options
from pipeline.jobs.ledger import Part
from pipeline.jobs.parts import Columns
from pipeline.jobs.store import LocalStore, open_store
from pipeline.jobs.workspace import Shelf, count_finished, is_begun, is_of, open_workspace
from pipeline.shared.files import atomic_file
from pipeline.sources.rows import BadRow, Pixels
from tests.test_house import ROOT

JOB = {"job": "generate", "limit": None, "decoder": {"sha256": "1234", "latent_dim": 2}}
BAD = ((3, "pile/3.png", "is damaged: ein Bild fürs Auge, \u2028 \x85"), (4, "pile/\udcff.png", "is empty"))
NAMES = "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"
HERE = "the arithmetic of this machine"


@pytest.fixture
def job(decoder: Decoder) -> GenerateJob:
    return GenerateJob("parquet", decoder, None, None)


@pytest.fixture
def disk(tmp_path: Path) -> Shelf:
    """On a disk the parts lie in the workspace."""
    folder = tmp_path / "job" / ".out.partial"
    return Shelf(LocalStore(folder), LocalStore(folder / "parts"))


@pytest.fixture
def store(tmp_path: Path) -> Shelf:
    """On a store they lie in the result, beside the workspace."""
    address = f"memory://{tmp_path.name}/job"
    return Shelf(open_store(f"{address}/.out.partial"), open_store(f"{address}/out"))


@pytest.fixture(params=["disk", "store"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """Either."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def made(number: int, value: float = 0.5, format_: str = "parquet") -> Made:
    """A part of five rows, two of which are bad if it is part 1."""
    index = np.arange(5 * number, 5 * number + 5)
    columns: dict[str, Any] = {"index": index, "z": np.full((5, 2), value, np.float32)}
    if format_ == "png":
        columns = {"index": index, "png": np.array([bytes([number, int(value)])] * 5, object)}
    bad = [BadRow(*row) for row in BAD] if number == 1 else []
    return Made([columns], bad, source_rows=5 + len(bad))


def put(shelf: Shelf, job: GenerateJob, *numbers: int) -> list[Part]:
    return [shelf.put(job, number, made(number), HERE) for number in numbers]


def leave(shelf: Shelf, job: GenerateJob, *numbers: int) -> list[Part]:
    """What a job leaves that ends after some parts; returns them in the order of their numbers."""
    with pytest.raises(KeyboardInterrupt), open_workspace(shelf, JOB):
        parts = put(shelf, job, *numbers)
        raise KeyboardInterrupt
    return sorted(parts, key=lambda part: part.file)


def found(shelf: Shelf, job: dict[str, Any] = JOB) -> list[Part]:
    """What the next run finds finished; it ends at once."""
    with pytest.raises(SystemExit), open_workspace(shelf, job) as space:
        parts = list(space.finished)
        assert len(space.finished) == len(parts) == count_finished(shelf.work)
        raise SystemExit
    return parts


def record(number: int) -> str:
    return f"records/part-{number:05d}.json"


def names(shelf: Shelf) -> list[str]:
    """Everything of a job: on a disk folders too."""
    if isinstance(shelf.work, LocalStore):
        above = shelf.work.folder.parent
        return sorted(path.relative_to(above).as_posix() for path in above.rglob("*"))
    above_store = open_store(str(shelf.work).rpartition("/")[0])
    return list(above_store.names())


def test_a_new_workspace_is_empty_and_says_what_it_is_for(shelf: Shelf, disk: Shelf) -> None:
    assert (is_of(shelf.work, JOB), is_begun(shelf.work)) == (False, False)
    with open_workspace(shelf, JOB) as space:
        assert (list(space.finished), len(space.finished)) == ([], 0)
        more = ["", "/lock", "/parts"] if shelf is disk else []
        assert names(shelf) == sorted(f".out.partial{name}" for name in ["/job.json", *more])
        assert json.loads(shelf.work.read("job.json") or b"") == JOB
        assert (is_of(shelf.work, JOB), is_begun(shelf.work)) == (True, True)
        assert not is_of(shelf.work, {**JOB, "limit": 5})


@pytest.mark.parametrize("numbers", [(0, 1, 2), (2, 0), (1,), (3, 1, 4), (4,)])
def test_any_finished_parts_are_found_again_whatever_their_order_with_all_that_was_noted(
    numbers: tuple[int, ...], shelf: Shelf, job: GenerateJob
) -> None:
    parts = leave(shelf, job, *numbers)
    with open_workspace(shelf, JOB) as space:
        assert list(space.finished) == parts
        assert [part.bad for part in parts] == [BAD if "00001" in part.file else () for part in parts]
        others = sorted({0, 1, 2, 3, 4} - {*numbers})
        assert list(space.todo(21, 5)) == others
        assert next(space.todo(None, 5)) == others[0]
        put(shelf, job, *others)
    assert [part.file for part in found(shelf)] == [f"part-{number:05d}.parquet" for number in range(5)]


def test_the_rest_is_done_without_end_where_the_number_of_rows_is_not_known(shelf: Shelf, job: GenerateJob) -> None:
    leave(shelf, job, 0, 2)
    with open_workspace(shelf, JOB) as space:
        todo = space.todo(None, 5)
        assert [next(todo) for _ in range(3)] == [1, 3, 4]


def test_a_manifest_lists_a_part_without_the_rows_that_were_set_aside(shelf: Shelf, job: GenerateJob) -> None:
    (part,) = leave(shelf, job, 1)
    size = len(shelf.parts.read("part-00001.parquet") or b"")
    assert part.listed() == {
        "file": "part-00001.parquet",
        "rows": 5,
        "bytes": size,
        "xxh3_128": part.xxh3_128,
        "source_xxh3_128": "99aa06d3014798d86001c324468d497f",  # of nothing
        "source_rows": 7,
    }


# Records


def spoil(place: Shelf, job: GenerateJob, content: Callable[[bytes], bytes]) -> list[Part]:
    """Change the record of the middle one of three finished parts; returns all three."""
    parts = leave(place, job, 0, 1, 2)
    place.work.replace(record(1), content(place.work.read(record(1)) or b""))
    return parts


def changed(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda whole: json.dumps({**json.loads(whole), **fields}).encode()


def lacking(name: str) -> Callable[[bytes], bytes]:
    return lambda whole: json.dumps(
        {field: value for field, value in json.loads(whole).items() if field != name}
    ).encode()


RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "zeroes": lambda _: b"\0" * 512,
    "no JSON": lambda _: b"{",
    "no UTF-8": lambda _: b'"\xff"',
    "null": lambda _: b"null",
    "a number": lambda _: b"3",
    "a list": lambda _: b"[]",
    "a text": lambda _: b'"file"',
    "an empty object": lambda _: b"{}",
    "bad rows alone": lambda _: b'{"bad": []}',
    "half of it": lambda whole: whole[: len(whole) // 2],
    "twice itself": lambda whole: whole * 2,
    "without a digest": lacking("xxh3_128"),
    "without rows": lacking("rows"),
    "without bad rows": lacking("bad"),
    "with another field": changed(more=1),
    "bad rows that are a number": changed(bad=3),
    "a bad row without a name": changed(bad=[[1]]),
    "rows as text": changed(rows="5"),
    "source rows as nothing": changed(source_rows=None),
    "labelled rows as a list": changed(labelled=[]),
    "a file without a name": changed(file=None),
    "arithmetic as a list": changed(arithmetic=[]),
    "of another part": changed(file="part-00002.parquet"),
    "of another number": changed(file="part-0001.parquet"),
}


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_none_is_deleted_and_its_part_made_again(
    content: Callable[[bytes], bytes], disk: Shelf, job: GenerateJob
) -> None:
    parts = spoil(disk, job, content)
    with open_workspace(disk, JOB) as space:
        assert list(space.finished) == [parts[0], parts[2]]
        assert list(disk.work.names("records")) == [record(0), record(2)]
        assert list(disk.parts.names()) == [NAMES[0], NAMES[2]]
        assert put(disk, job, 1) == [parts[1]]
    assert found(disk) == parts


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_on_a_store_the_part_itself_is_taken_over(
    content: Callable[[bytes], bytes], store: Shelf, job: GenerateJob
) -> None:
    """It is whole, as every object; to fetch it is less than to make it."""
    parts = spoil(store, job, content)
    before = list(store.parts.marks())
    with open_workspace(store, JOB) as space:
        assert list(space.finished) == [parts[0], parts[2]]
        assert list(store.work.names("records")) == [record(0), record(2)]
        assert put(store, job, 1) == [parts[1]]
    assert list(store.parts.marks()) == before
    assert found(store) == parts


def test_a_record_may_break_off_anywhere(shelf: Shelf, job: GenerateJob) -> None:
    leave(shelf, job, 0, 1)
    whole = shelf.work.read(record(1)) or b""
    for length in range(0, len(whole), 7):
        shelf.work.replace(record(1), whole[:length])
        assert [part.file for part in found(shelf)] == [NAMES[0]]
        put(shelf, job, 1)
    shelf.work.replace(record(1), whole.rstrip())  # the line feed says nothing
    assert [part.file for part in found(shelf)] == [*NAMES[:2]]


@pytest.mark.parametrize("name", ["records/notes.txt", "records/part-.json", "records/part-x.json", "records"])
def test_what_else_lies_among_the_records_is_deleted(name: str, disk: Shelf, job: GenerateJob) -> None:
    leave(disk, job, 0)
    kept = disk.work.read(record(0)) or b""
    if name == "records":
        disk.work.remove("records")
    disk.work.replace(name, kept)
    assert [part.file for part in found(disk)] == ([] if name == "records" else [NAMES[0]])
    assert disk.work.read(name) is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"no JSON", b"{}", json.dumps(JOB | {"limit": 5}).encode()])
def test_parts_of_a_job_that_is_not_this_one_count_for_nothing(content: bytes, disk: Shelf, job: GenerateJob) -> None:
    leave(disk, job, 0, 1)
    disk.work.replace("job.json", content)
    assert not is_of(disk.work, JOB)
    assert found(disk) == []


def test_parts_count_for_nothing_where_nothing_or_a_folder_says_what_they_are_of(disk: Shelf, job: GenerateJob) -> None:
    leave(disk, job, 0)
    disk.work.remove("job.json")
    assert (is_of(disk.work, JOB), is_begun(disk.work)) == (False, False)
    assert found(disk) == []
    leave(disk, job, 0)
    disk.work.remove("job.json")
    (Path(str(disk.work)) / "job.json").mkdir()
    assert not is_of(disk.work, JOB)
    assert found(disk) == []


def test_what_another_job_left_is_deleted_and_said_so(
    shelf: Shelf, disk: Shelf, job: GenerateJob, caplog: pytest.LogCaptureFixture
) -> None:
    leave(shelf, job, 0)
    shelf.work.replace("replaced/part-00000.parquet", b"")
    shelf.work.replace("picture.png", b"")
    caplog.set_level(logging.INFO)
    caplog.clear()
    with open_workspace(shelf, JOB | {"limit": 5}) as space:
        assert list(space.finished) == []
        assert list(shelf.work.names()) == (["job.json", "lock"] if shelf is disk else ["job.json"])
    assert caplog.messages == [f"{shelf.work} was left by another job; starting over"]


# Parts


def damage(content: bytes) -> bytes:
    return content[:-100] + b"?" + content[-99:]


@pytest.mark.parametrize("change", [damage, lambda content: content[:7], lambda _: b"", None, "a folder"],
                         ids=["a flipped byte", "its beginning", "an empty file", "no file", "a folder"])  # fmt: skip
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_is_not_what_its_record_says_is_made_again_and_the_others_stay(
    change: Any, number: int, shelf: Shelf, job: GenerateJob, caplog: pytest.LogCaptureFixture
) -> None:
    parts = leave(shelf, job, 0, 1, 2)
    whole = shelf.parts.read(NAMES[number]) or b""
    shelf.parts.remove(NAMES[number])
    if change == "a folder":
        shelf.parts.replace(f"{NAMES[number]}/000.png", whole[:7])
    elif change is not None:
        shelf.parts.replace(NAMES[number], change(whole))
    caplog.set_level(logging.INFO)
    caplog.clear()
    with open_workspace(shelf, JOB) as space:
        assert caplog.messages == ["1 finished part(s) are not what they were; making them again"]
        assert list(space.finished) == [part for part in parts if part is not parts[number]]
        assert list(space.todo(15, 5)) == [number]
        assert list(shelf.parts.names()) == [name for name in NAMES if name != NAMES[number]]
        (again,) = put(shelf, job, number)
    assert replace(again, stored="") == replace(parts[number], stored="")
    assert shelf.parts.read(NAMES[number]) == whole


def test_a_part_without_a_record_is_made_again_on_a_disk(disk: Shelf, job: GenerateJob) -> None:
    """The machine may have stopped while its bytes were written."""
    leave(disk, job, 0, 2)
    disk.work.remove(record(0))
    disk.parts.replace(NAMES[0], b"half")
    with open_workspace(disk, JOB) as space:
        assert list(disk.parts.names()) == [NAMES[2]]
        (part,) = put(disk, job, 0)
    assert part.bytes == len(disk.parts.read(NAMES[0]) or b"") > 4
    assert [part.file for part in space.finished] == [NAMES[2]]


def test_a_part_without_a_record_is_taken_over_on_a_store(store: Shelf, job: GenerateJob) -> None:
    first, _ = leave(store, job, 0, 2)
    store.work.remove(record(0))
    before = list(store.parts.marks())
    with open_workspace(store, JOB) as space:
        assert [part.file for part in space.finished] == [NAMES[2]]
        assert put(store, job, 0) == [first]
    assert list(store.parts.marks()) == before


@pytest.mark.parametrize("there", [b"", b"half"])
def test_half_a_part_without_a_record_is_made_again_on_a_store(there: bytes, store: Shelf, job: GenerateJob) -> None:
    """As files grow under their names behind sftp://."""
    first, _ = leave(store, job, 0, 2)
    whole = store.parts.read(NAMES[0])
    store.work.remove(record(0))
    store.parts.replace(NAMES[0], there)
    with open_workspace(store, JOB):
        (again,) = put(store, job, 0)
    assert replace(again, stored="") == replace(first, stored="")
    assert store.parts.read(NAMES[0]) == whole
    assert [part.file for part in found(store)] == [NAMES[0], NAMES[2]]


def test_what_is_taken_over_and_has_other_digits_is_not_said_to_come_from_this_machine(
    store: Shelf, job: GenerateJob
) -> None:
    """A machine of another kind was lost after it had put its part there."""
    with open_workspace(store, JOB):
        theirs = store.put(job, 0, made(0, 0.25), "another arithmetic")
        store.work.remove(record(0))
        ours = store.put(job, 0, made(0, 0.5), HERE)
    assert ours == replace(theirs, arithmetic="")
    with open_workspace(store, JOB) as space, pytest.raises(OutputError, match="another kind of processor"):
        space.refuse_other(HERE, Options())


@pytest.mark.parametrize("format_", ["parquet", "png"])
def test_of_two_who_finish_a_part_the_first_stays_and_both_get_its_record(
    format_: str, shelf: Shelf, disk: Shelf, decoder: Decoder
) -> None:
    job = GenerateJob(format_, decoder, None, None)
    with open_workspace(shelf, JOB):
        first = shelf.put(job, 0, made(0, 2, format_), HERE)
        before = [(name, shelf.parts.read(name)) for name in shelf.parts.names()]
        # A part of several files is put file by file on a store: who makes it must make the same.
        value = 2 if format_ == "png" and shelf is not disk else 3
        second = shelf.put(job, 0, made(0, value, format_), "another arithmetic")
        assert second == first
        assert [(name, shelf.parts.read(name)) for name in shelf.parts.names()] == before


def test_of_many_who_finish_a_part_at_once_one_stays_and_all_get_the_same_record(disk: Shelf, job: GenerateJob) -> None:
    with open_workspace(disk, JOB), ThreadPoolExecutor(8) as pool:
        for number in range(20):
            tried = [pool.submit(disk.put, job, number, made(number, value), HERE) for value in range(8)]
            results = {one.result() for one in tried}
            assert len(results) == 1
    assert [part.file for part in found(disk)] == [f"part-{number:05d}.parquet" for number in range(20)]
    assert not [name for name in names(disk) if ".attempt-" in name]


def test_a_shelf_that_is_sent_is_the_same_one_where_it_arrives(shelf: Shelf, job: GenerateJob) -> None:
    with open_workspace(shelf, JOB):
        arrived = pickle.loads(pickle.dumps(shelf))
        put(arrived, job, 3)
    assert [part.file for part in found(shelf)] == ["part-00003.parquet"]


def test_the_numbers_of_parts_are_as_long_as_the_last_one_needs(shelf: Shelf, job: GenerateJob) -> None:
    shelf = replace(shelf, digits=7)
    parts = leave(shelf, job, 99_999, 100_000, 2)
    assert [part.file for part in parts] == [f"part-{name}.parquet" for name in ("0000002", "0099999", "0100000")]
    assert list(shelf.work.names("records")) == [
        f"records/part-{name}.json" for name in ("0000002", "0099999", "0100000")
    ]
    assert found(shelf) == parts


def test_the_picture_of_the_first_rows_is_kept_with_the_finished_parts_alone(disk: Shelf, job: GenerateJob) -> None:
    with pytest.raises(SystemExit), open_workspace(disk, JOB):
        disk.put(job, 0, replace(made(0), sheet=np.zeros((28, 28), np.uint8)), HERE)
        raise SystemExit
    found(disk)
    assert (disk.work.read("picture.png") or b"").startswith(b"\x89PNG")
    disk.parts.remove()
    with open_workspace(disk, JOB):
        assert disk.work.read("picture.png") is None


# What the picture may need of each part


@dataclass(frozen=True)
class KeepsLargest(GenerateJob):
    """Keeps the largest value of a part, and draws the largest of all."""

    def best(self, kept: Sequence[Columns]) -> Columns:
        return {"value": np.max([some["value"] for some in kept], axis=0)}

    def sheet_of(self, kept: Columns) -> Pixels:
        return np.full((1, 1), kept["value"][0], np.uint8)


@pytest.fixture
def keeping(decoder: Decoder) -> KeepsLargest:
    return KeepsLargest("parquet", decoder, None, None)


def keep(shelf: Shelf, job: KeepsLargest, *numbers: int) -> None:
    """Put parts that have kept two values each, the larger of which is ten times their number and one."""
    for number in numbers:
        kept: list[Columns] = [{"value": np.array([10 * number + more])} for more in (1, 0)]
        shelf.put(job, number, replace(made(number), kept=kept), HERE)


def drawn(shelf: Shelf, job: KeepsLargest) -> int:
    shelf.draw_kept(job)
    with Image.open(io.BytesIO(shelf.work.read("picture.png") or b"")) as image:
        return int(np.asarray(image)[0, 0])


def kept(shelf: Shelf) -> list[str]:
    return list(shelf.work.names("kept"))


def test_what_parts_have_kept_is_found_again_and_drawn_in_the_end(shelf: Shelf, keeping: KeepsLargest) -> None:
    with pytest.raises(KeyboardInterrupt), open_workspace(shelf, JOB):
        keep(shelf, keeping, 2, 0)
        raise KeyboardInterrupt
    with open_workspace(shelf, JOB) as space:
        assert kept(shelf) == ["kept/part-00000.npz", "kept/part-00002.npz"]
        keep(shelf, keeping, *space.todo(15, 5))
        assert kept(shelf) == [f"kept/part-0000{number}.npz" for number in range(3)]
        assert drawn(shelf, keeping) == 21
        space.remove()
        assert list(shelf.work.names()) == []


def test_where_nothing_is_kept_nothing_is_drawn(shelf: Shelf, job: GenerateJob) -> None:
    with open_workspace(shelf, JOB):
        put(shelf, job, 0)
        shelf.draw_kept(job)
        assert (kept(shelf), shelf.work.read("picture.png")) == ([], None)


@pytest.mark.parametrize("content", [b"", b"half"])
def test_what_a_part_has_kept_is_kept_again_with_it(content: bytes, shelf: Shelf, keeping: KeepsLargest) -> None:
    """Whatever lies there of a part that is not finished."""
    with pytest.raises(KeyboardInterrupt), open_workspace(shelf, JOB):
        keep(shelf, keeping, 0, 1)
        raise KeyboardInterrupt
    shelf.parts.replace(NAMES[1], b"another")
    shelf.work.replace("kept/part-00001.npz", content)
    with open_workspace(shelf, JOB) as space:
        assert list(space.todo(10, 5)) == [1]
        keep(shelf, keeping, 1)
        assert drawn(shelf, keeping) == 11


def test_what_a_part_has_kept_is_there_before_its_record(
    shelf: Shelf, keeping: KeepsLargest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that counts as finished has kept what it should, whenever a process ended."""

    def ended(*_: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_workspace(shelf, JOB), monkeypatch.context() as patch:
        keep(shelf, keeping, 0)
        patch.setattr(Part, "record", ended)
        keep(shelf, keeping, 1)
    assert kept(shelf) == ["kept/part-00000.npz", "kept/part-00001.npz"]
    assert [part.file for part in found(shelf)] == [NAMES[0]]


def test_a_part_whose_kept_rows_do_not_fit_is_not_finished(shelf: Shelf, keeping: KeepsLargest) -> None:
    large = {"value": np.arange(1000)}
    with pytest.raises(OutputError, match="File too large"), open_workspace(shelf, JOB), files_of_at_most(2000):
        shelf.put(keeping, 0, replace(made(0), kept=[large]), HERE)
    assert names(shelf) == []


def test_what_is_kept_without_a_finished_part_is_deleted_with_all_else(disk: Shelf, keeping: KeepsLargest) -> None:
    with pytest.raises(KeyboardInterrupt), open_workspace(disk, JOB):
        keep(disk, keeping, 0)
        raise KeyboardInterrupt
    disk.work.remove(record(0))
    with open_workspace(disk, JOB):
        assert kept(disk) == []


@pytest.mark.parametrize(
    ("elsewhere", "allow_mixed", "refused"),
    [((), False, False), ((HERE,), False, False), (("other",), False, True), ((HERE, "other"), False, True),
     ((HERE, "other"), True, False)],
)  # fmt: skip
def test_parts_of_another_arithmetic_are_refused_unless_that_is_allowed(
    elsewhere: tuple[str, ...], allow_mixed: bool, refused: bool, shelf: Shelf, job: GenerateJob
) -> None:
    with open_workspace(shelf, JOB):
        for number, arithmetic in enumerate(elsewhere):
            shelf.put(job, number, made(number), arithmetic)
    with pytest.raises(SystemExit), open_workspace(shelf, JOB) as space:
        assert space.finished.arithmetics == {*elsewhere}
        options = Options(allow_mixed=allow_mixed)
        if refused:
            with pytest.raises(OutputError, match=r"from another kind of processor.*or with --allow-mixed, or delete"):
                space.refuse_other(HERE, options)
        else:
            space.refuse_other(HERE, options)
        raise SystemExit


# The end


ENDS = [RuntimeError, OutputError, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("kind", ENDS)
def test_a_failure_without_a_finished_part_leaves_nothing(
    kind: type[BaseException], shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(kind), open_workspace(shelf, JOB):
        shelf.parts.replace("part-00000.parquet", b"half of one, or one without a record")
        shelf.work.replace("picture.png", b"")
        raise kind
    assert (names(shelf), caplog.messages) == ([], [])


@pytest.mark.parametrize("length", [0, 5])
def test_a_job_that_ends_while_it_says_what_it_is_leaves_nothing_on_a_store(length: int, store: Shelf) -> None:
    with pytest.raises(KeyboardInterrupt), open_workspace(store, JOB):
        store.work.replace("job.json", (store.work.read("job.json") or b"")[:length])
        raise KeyboardInterrupt
    assert names(store) == []


def test_a_failure_leaves_what_another_job_has_begun_on_the_same_store(store: Shelf) -> None:
    with pytest.raises(KeyboardInterrupt), open_workspace(store, JOB):
        store.work.replace("job.json", json.dumps(JOB | {"limit": 5}).encode())
        store.parts.replace(NAMES[0], b"theirs")
        raise KeyboardInterrupt
    assert names(store) == [".out.partial/job.json", f"out/{NAMES[0]}"]


@pytest.mark.parametrize("kind", ENDS)
def test_a_failure_keeps_finished_parts_and_says_how_to_go_on(
    kind: type[BaseException], shelf: Shelf, disk: Shelf, job: GenerateJob, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(kind), open_workspace(shelf, JOB):
        put(shelf, job, 1)
        raise kind
    kept = [".out.partial/job.json", ".out.partial/records/part-00001.json"]
    if shelf is disk:
        assert names(shelf) == sorted(
            [*kept, *(f".out.partial{name}" for name in ("", "/lock", "/parts", f"/parts/{NAMES[1]}", "/records"))]
        )
    else:
        assert names(shelf) == [*kept, f"out/{NAMES[1]}"]
    assert caplog.messages == [f"{shelf.work} holds 1 finished part(s); run the same command again to resume"]


def test_a_failure_counts_what_is_there_and_not_what_was_looked_at(
    shelf: Shelf, job: GenerateJob, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the parts of an earlier run are compared with their records."""
    leave(shelf, job, 0, 1, 2)
    caplog.clear()

    def interrupted(_: Shelf) -> Iterator[Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "finished", interrupted)
        with pytest.raises(KeyboardInterrupt), open_workspace(shelf, JOB):
            pytest.fail("opened")
    assert caplog.messages == [f"{shelf.work} holds 3 finished part(s); run the same command again to resume"]
    assert len(found(shelf)) == 3


def test_a_workspace_that_has_vanished_is_not_said_to_hold_anything(
    disk: Shelf, job: GenerateJob, caplog: pytest.LogCaptureFixture
) -> None:
    above = Path(str(disk.work)).parent
    with pytest.raises(OutputError), open_workspace(disk, JOB):
        put(disk, job, 0)
        shutil.rmtree(above)
        raise OutputError
    assert (caplog.messages, above.exists()) == ([], False)


def test_finished_parts_that_are_forgotten_leave_nothing(shelf: Shelf, job: GenerateJob) -> None:
    with pytest.raises(OutputError), open_workspace(shelf, JOB) as space:
        space.finished.add(0, put(shelf, job, 0)[0])
        space.forget()
        assert len(space.finished) == 0
        raise OutputError
    assert names(shelf) == []


def test_what_is_removed_is_gone_at_once_and_can_be_begun_again(shelf: Shelf, job: GenerateJob) -> None:
    leave(shelf, job, 0)
    with open_workspace(shelf, JOB) as space:
        space.remove()
        assert list(shelf.work.names()) == []
        shelf.parts.remove()
    assert names(shelf) == []
    with open_workspace(shelf, JOB) as space:
        assert list(space.finished) == []


def test_a_failure_after_all_is_removed_does_not_touch_what_another_has_begun(
    disk: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    other = JOB | {"limit": 5}
    with ExitStack() as later:
        with pytest.raises(KeyboardInterrupt), open_workspace(disk, JOB) as space:
            space.remove()
            later.enter_context(open_workspace(disk, other))
            raise KeyboardInterrupt
        assert is_of(disk.work, other)
        assert names(disk) == sorted(f".out.partial{name}" for name in ("", "/job.json", "/lock", "/parts"))
    assert caplog.messages == []


# Others


def test_two_jobs_cannot_work_in_one_place_on_a_disk(disk: Shelf, job: GenerateJob) -> None:
    with open_workspace(disk, JOB):
        put(disk, job, 0)
        before = names(disk)
        with (
            pytest.raises(OutputError, match=r"another process is writing in .*/\.out\.partial; wait for it, or"),
            open_workspace(disk, JOB | {"limit": 5}),
        ):
            pytest.fail("both work")
        assert names(disk) == before


def test_two_who_do_the_same_on_a_store_take_over_what_the_other_has_finished(store: Shelf, job: GenerateJob) -> None:
    with open_workspace(store, JOB):
        (first,) = put(store, job, 0)
        with open_workspace(store, JOB) as other:
            assert list(other.finished) == [first]


@pytest.fixture
def other_process(disk: Shelf) -> Iterator[subprocess.Popen[str]]:
    """A process that works in the folder."""
    script = (
        "import sys; from pathlib import Path\n"
        "from pipeline.jobs.store import LocalStore; from pipeline.jobs.workspace import Shelf, open_workspace\n"
        f"with open_workspace(Shelf(*map(LocalStore, map(Path, sys.argv[1:]))), {JOB!r}):\n"
        "    print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(disk.work), str(disk.parts)], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_kept_out_only_as_long_as_it_lives(
    disk: Shelf, other_process: subprocess.Popen[str]
) -> None:
    with pytest.raises(OutputError, match="another process is writing"), open_workspace(disk, JOB):
        pytest.fail("both work")
    other_process.send_signal(signal.SIGKILL)
    other_process.communicate()
    assert Path(str(disk.work), "lock").exists()  # and holds nobody up
    with open_workspace(disk, JOB) as space:
        assert list(space.finished) == []


def test_what_others_began_and_did_not_finish_is_deleted(disk: Shelf, job: GenerateJob) -> None:
    leave(disk, job, 0)
    before = names(disk)
    for name in (".attempt-x1y2/part-00001.parquet", ".picture.png.x1y2", "parts/part-00001/000.png", "replaced/x"):
        disk.work.replace(name, b"half")
    found(disk)
    assert names(disk) == before


# The disk


def test_a_file_in_its_place_is_an_output_error(disk: Shelf) -> None:
    folder = Path(str(disk.work))
    folder.parent.mkdir()
    folder.touch()
    with (
        pytest.raises(OutputError, match=r"cannot write .*/\.out\.partial: File exists"),
        open_workspace(disk, JOB),
    ):
        pytest.fail("opened")
    assert folder.is_file()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, as far as a process can do that to itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10])
def test_a_disk_that_is_full_from_the_start_leaves_nothing(room: int, disk: Shelf) -> None:
    with (
        files_of_at_most(room),
        pytest.raises(OutputError, match=r"cannot write .*/\.out\.partial.*: File too large"),
        open_workspace(disk, JOB),
    ):
        pytest.fail("opened")
    assert names(disk) == []


@pytest.mark.parametrize("format_", ["parquet", "png", "npz"])
def test_a_part_that_does_not_fit_is_said_not_to_fit_where_the_user_may_look(
    format_: str, shelf: Shelf, disk: Shelf, decoder: Decoder
) -> None:
    """And not in a folder that is gone when the message is read."""
    job = GenerateJob(format_, decoder, None, None)
    large = made(0, 0, format_)
    if format_ == "png":
        large.columns[0] = {**large.columns[0], "png": np.array([bytes(1000)] * 5, object)}  # type: ignore[assignment]
    with pytest.raises(OutputError) as failed, open_workspace(shelf, JOB), files_of_at_most(300):
        shelf.put(job, 0, large, HERE)
    place = shelf.work if shelf is disk else tempfile.gettempdir()  # where a part for a store is written first
    assert str(failed.value) == f"cannot write {place}: File too large; free some space or choose another place"
    assert names(shelf) == []


def test_a_source_that_fails_is_not_taken_for_a_failure_to_write(disk: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_workspace(disk, JOB):
        (tmp_path / "images.npy").read_bytes()
    folder = Path(str(disk.work))
    with pytest.raises(OutputError, match="cannot write"), open_workspace(disk, JOB):
        shutil.rmtree(folder)
        with atomic_file(folder / "parts" / "part") as beside:
            beside.rename(folder / "nowhere" / "part")
