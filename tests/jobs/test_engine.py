"""Jobs on real models and real files: the order of rows, the parts, what a second run takes over."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, FormatError, OutputError
from pipeline.inference import Decoder, Encoder
from pipeline.jobs import engine, local
from pipeline.jobs.encode import EncodeJob, encode
from pipeline.jobs.generate import generate
from pipeline.jobs.job import Cluster, Node, Options, Plan, Summary
from pipeline.jobs.latent_rows import LatentSource, Loaded
from pipeline.jobs.latents import choose_latents
from pipeline.jobs.ledger import Part
from pipeline.jobs.parts import ROWS_PER_PART
from pipeline.jobs.target import open_target
from pipeline.jobs.workspace import Shelf
from pipeline.sources.arrays import Arrays
from pipeline.sources.images import open_images
from pipeline.sources.rows import ImageSource, Pixels, Rows
from tests import onnx_models
from tests.page_cache import is_cached
from tests.small_parts import SmallParts
from tests.sources import piles

ROWS = 2 * ROWS_PER_PART + 5000  # 3 parts


class Watched(ImageSource):
    """A pile whose reading is seen, and during whose reading something happens at a row."""

    def __init__(self, source: ImageSource, at: int = -1, happens: Callable[[], None] = lambda: None) -> None:
        self.name, self.count, self.labelled = source.name, source.count, source.labelled
        self._source, self._at, self._happens = source, at, happens
        self.starts: list[int] = []
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def state(self) -> str:
        return self._source.state()

    def read(self, start: int, stop: int) -> Callable[[], Rows]:
        self.starts.append(start)
        if start <= self._at < stop:
            self._happens()
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        if self._source.count is not None and self.count is None:  # only reading tells
            stop = max(start, min(stop, self._source.count))
        rest = self._source.read(start, stop)

        def decode() -> Rows:
            rows = rest()
            with self._lock:
                self.under_way -= 1
            return rows

        return decode


class UnpluggedError(Exception):
    """Something that no one has foreseen."""


def unplug() -> None:
    raise UnpluggedError


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of which every 64th takes room on the disk."""
    path = tmp_path_factory.mktemp("pile") / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (ROWS, 28, 28))
    images[::64] = np.random.default_rng(0).integers(0, 256, (len(images[::64]), 28, 28), np.uint8)
    return path


@pytest.fixture(scope="module")
def whole(pile: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a job leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(encoder, open_images(pile), folder)
    return content(folder)


def run(encoder: Encoder, source: ImageSource, folder: Path, **options: object) -> Summary:
    with source:
        summary = encode(encoder, source, open_target(folder), Options(**{"quiet": True, **options}))
    assert isinstance(summary, Summary)
    return summary


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupted(encoder: Encoder, pile: Path, folder: Path, row: int = 2 * ROWS_PER_PART + 10) -> None:
    with pytest.raises(UnpluggedError):
        run(encoder, Watched(open_images(pile), row, unplug), folder)


def test_rows_stand_in_the_order_of_the_source(whole: dict[str, bytes], pile: Path, encoder: Encoder) -> None:
    images = np.load(pile, mmap_mode="r")
    start = 0
    assert sorted(whole) == ["_manifest.json", *(f"part-{number:05d}.parquet" for number in range(3))]
    for number, rows in enumerate((ROWS_PER_PART, ROWS_PER_PART, 5000)):
        table = pq.read_table(pa.BufferReader(whole[f"part-{number:05d}.parquet"]))
        assert table["index"].to_pylist() == list(range(start, start + rows))
        z_mean = table["z_mean"].combine_chunks().flatten().to_numpy().reshape(rows, 2)
        np.testing.assert_array_equal(z_mean[::64], encoder(images[start : start + rows : 64])[0])
        start += rows
    assert start == ROWS


@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_do_not_depend_on_cores_or_batch(
    workers: int, whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    run(Encoder(encoder.path, workers=workers, batch_size=77), open_images(pile), folder)
    assert content(folder) == whole


def test_finished_parts_do_not_fill_the_memory(pile: Path, encoder: Encoder, folder: Path) -> None:
    run(encoder, open_images(pile), folder)
    assert [is_cached(part) for part in folder.glob("part-*")] == [False] * 3


def test_few_stretches_are_under_way_whatever_the_size_of_the_pile(pile: Path, encoder: Encoder, folder: Path) -> None:
    watched = Watched(open_images(pile))
    run(Encoder(encoder.path, workers=2), watched, folder)
    assert watched.starts == list(range(0, ROWS, 4096))
    assert 1 <= watched.most <= 2 * 2 + 2


def test_a_second_run_reads_only_what_is_not_finished(
    whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(encoder, pile, folder)
    assert not folder.exists()
    assert caplog.messages == [
        f"{folder.parent}/.out.partial holds 2 finished part(s); run the same command again to resume"
    ]
    caplog.clear()
    caplog.set_level(logging.INFO)
    watched = Watched(open_images(pile))
    summary = run(encoder, watched, folder)
    assert caplog.messages == ["resuming after 2 finished part(s), 131,072 rows"]
    assert (summary.resumed_parts, summary.parts, summary.rows) == (2, 3, ROWS)
    assert watched.starts == [2 * ROWS_PER_PART, 2 * ROWS_PER_PART + 4096]
    assert content(folder) == whole
    assert os.listdir(folder.parent) == ["out"]  # noqa: PTH208


@pytest.mark.parametrize("known", [True, False], ids=["a known number of rows", "an unknown one"])
@pytest.mark.parametrize("missing", [(1,), (0,), (0, 2), (2,), (0, 1)])
def test_a_second_run_makes_the_parts_that_are_missing_wherever_they_are(
    missing: tuple[int, ...], known: bool, whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    """Those that make parts side by side finish them in any order."""

    def watch() -> Watched:
        watched = Watched(open_images(pile))
        watched.count = ROWS if known else None
        return watched

    broken = watch()
    states = [broken.state()]
    broken.state = states.pop  # there is one, for the beginning
    with pytest.raises(IndexError):
        run(encoder, broken, folder)
    for number in missing:
        (folder.parent / f".out.partial/records/part-{number:05d}.json").unlink()
    watched = watch()
    summary = run(encoder, watched, folder)
    assert (summary.resumed_parts, summary.parts, summary.rows) == (3 - len(missing), 3, ROWS)
    read = [start for start in watched.starts if start < ROWS]
    assert read == [start for start in range(0, ROWS, 4096) if start // ROWS_PER_PART in missing]
    assert content(folder) == whole


@dataclass(frozen=True)
class Elsewhere(EncodeJob):
    """As on another kind of processor, as far as one can tell from what is computed there."""

    def arithmetic(self) -> str:
        return "another"


def run_elsewhere(encoder: Encoder, pile: Path, folder: Path, *, allow_mixed: bool = False) -> Summary:
    target, options = open_target(folder), Options(quiet=True, allow_mixed=allow_mixed)
    return engine.run(Elsewhere("parquet", encoder), open_images(pile), target, options)


def test_parts_from_another_kind_of_processor_are_not_mixed_with_others_unless_that_is_allowed(
    whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    interrupted(encoder, pile, folder)
    before = content(folder.parent)
    with pytest.raises(OutputError, match=r"\.out\.partial holds parts from another kind of processor") as refused:
        run_elsewhere(encoder, pile, folder)
    assert "\n" not in str(refused.value)
    assert content(folder.parent) == before
    assert run_elsewhere(encoder, pile, folder, allow_mixed=True).resumed_parts == 2
    manifest = json.loads((folder / "_manifest.json").read_text())
    assert manifest.pop("mixed_arithmetic") == 2
    assert manifest == json.loads(whole["_manifest.json"])  # which says nothing of it


def test_parts_from_one_other_kind_of_processor_are_not_mixed(
    whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    run_elsewhere(encoder, pile, folder, allow_mixed=True)
    assert content(folder) == whole


def test_names_of_parts_are_as_long_as_the_number_of_the_last_one(decoder: Decoder, folder: Path) -> None:
    """Readers go by their order; 100,000 parts and more have longer ones."""
    for count, name in ((ROWS_PER_PART * 100_000, "part-00000"), (ROWS_PER_PART * 100_000 + 1, "part-000000")):
        source = Stopped(choose_latents(2, count=count), ROWS_PER_PART + 1)
        with pytest.raises(UnpluggedError):
            generate(decoder, source, open_target(folder), Options(quiet=True))
        space = folder.parent / ".out.partial"
        assert [path.name for path in space.glob("p*/part-*")] == [f"{name}.parquet"]
        assert [path.name for path in space.glob("records/*")] == [f"{name}.json"]


def test_a_failure_in_the_first_part_leaves_nothing(pile: Path, encoder: Encoder, folder: Path) -> None:
    interrupted(encoder, pile, folder, row=ROWS_PER_PART - 1)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("end", [None, ROWS, 2 * ROWS_PER_PART, ROWS_PER_PART + 1, 10])
def test_a_pile_whose_length_only_reading_tells_ends_where_its_rows_end(
    end: int | None, whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    watched = Watched(open_images(pile))
    watched.count = None
    summary = run(encoder, watched, folder, limit=end)
    assert summary.rows == (end or ROWS)
    assert summary.parts == -(-(end or ROWS) // ROWS_PER_PART)
    full = (end or ROWS) // ROWS_PER_PART
    for number in range(full):
        name = f"part-{number:05d}.parquet"
        assert (folder / name).read_bytes() == whole[name]


@pytest.mark.parametrize("known", [True, False])
def test_all_parts_may_be_finished_already(
    known: bool, whole: dict[str, bytes], pile: Path, encoder: Encoder, folder: Path
) -> None:
    """The job ended after its last part, before anything was published."""

    def watch() -> Watched:
        watched = Watched(open_images(pile))
        watched.count = ROWS if known else None
        return watched

    broken = watch()
    states = [broken.state()]
    broken.state = states.pop  # there is one, for the beginning
    with pytest.raises(IndexError):
        run(encoder, broken, folder)
    assert not folder.exists()
    watched = watch()
    assert run(encoder, watched, folder).resumed_parts == 3
    assert all(start >= ROWS for start in watched.starts)
    assert content(folder) == whole


@pytest.mark.parametrize(
    "other",
    [{"limit": 100}, {"limit": ROWS}, {"on_error": "quarantine"}],
    ids=["a limit", "a limit that changes nothing", "how errors are met"],
)
def test_parts_of_other_options_are_not_taken_over(
    other: dict[str, object], pile: Path, encoder: Encoder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(encoder, pile, folder)
    caplog.clear()
    caplog.set_level(logging.INFO)
    assert run(encoder, open_images(pile), folder, **other).resumed_parts == 0
    assert caplog.messages == [f"{folder.parent}/.out.partial was left by another job; starting over"]


def test_parts_of_another_model_or_another_source_are_not_taken_over(
    pile: Path, encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    interrupted(encoder, pile, folder)
    other = Encoder(onnx_models.save(onnx_models.encoder(seed=1), tmp_path / "other"))
    assert run(other, open_images(pile), folder, limit=10).resumed_parts == 0
    interrupted(encoder, pile, folder)
    os.utime(pile)
    assert run(encoder, open_images(pile), folder).resumed_parts == 0


class Stopped(LatentSource):
    """Latents that can't be read from a row on."""

    def __init__(self, source: LatentSource, row: int) -> None:
        self.name, self.count, self._source, self._row = source.name, source.count, source, row

    def state(self) -> str:
        return self._source.state()

    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        if stop > self._row:
            raise UnpluggedError
        return self._source.load(start, stop)


@pytest.mark.parametrize("count", [100_000, 150_000])
def test_parts_of_another_count_are_not_taken_over(count: int, decoder: Decoder, folder: Path) -> None:
    source = choose_latents(2, count=140_000)
    options = Options(quiet=True)
    with pytest.raises(UnpluggedError):
        generate(decoder, Stopped(source, 2 * ROWS_PER_PART + 1), open_target(folder), options)
    summary = generate(decoder, choose_latents(2, count=count), open_target(folder), options)
    assert isinstance(summary, Summary)
    assert summary.rows == count
    assert pq.read_table(folder, columns=["index"])["index"].to_pylist() == list(range(count))


def test_the_picture_shows_the_originals_of_this_run(decoder: Decoder, folder: Path, pile: Path) -> None:
    source = choose_latents(2, count=70_000)
    options = Options(quiet=True)
    generate(decoder, source, open_target(folder.parent / "expected"), options)
    with pytest.raises(UnpluggedError), open_images(pile) as originals:
        generate(decoder, Stopped(source, ROWS_PER_PART + 1), open_target(folder), options, originals=originals)
    generate(decoder, source, open_target(folder), options)  # without originals this time
    assert (folder.parent / "out.png").read_bytes() == (folder.parent / "expected.png").read_bytes()


def test_what_was_written_of_a_part_when_the_process_ended_is_no_hindrance(
    decoder: Decoder, folder: Path, tmp_path: Path
) -> None:
    """A part of PNG files is a folder, which a kill leaves with some of them, under the one name or the other."""
    z = np.full((ROWS_PER_PART + 10, 2), np.nan, np.float32)
    z[::8192] = 1
    z[-10:] = 1
    np.save(tmp_path / "z.npy", z)
    source = choose_latents(2, path=tmp_path / "z.npy")
    options = Options(quiet=True, on_error="quarantine")
    with pytest.raises(UnpluggedError):
        generate(decoder, Stopped(source, ROWS_PER_PART + 1), open_target(folder, "png"), options)
    space = folder.parent / ".out.partial"
    for place in (space / "part-00001", space / "parts/part-00001"):
        place.mkdir()
        (place / "000065536.png").write_bytes(b"half")
    (space / "parts/._manifest.json.x1y2z3").touch()  # of a kill while the result was published
    generate(decoder, source, open_target(folder, "png"), options)
    assert sorted(path.name for path in folder.iterdir()) == [
        "_manifest.json", "_quarantine.jsonl", "part-00000", "part-00001"
    ]  # fmt: skip
    assert len(list(folder.glob("part-00000/*.png"))) == 8
    assert len(list(folder.glob("part-00001/*.png"))) == 10
    assert b"half" not in content(folder).values()


def test_a_source_that_changes_while_it_is_read_is_refused_and_nothing_stays(
    pile: Path, encoder: Encoder, folder: Path
) -> None:
    watched = Watched(open_images(pile), ROWS - 1, lambda: os.utime(pile))
    with pytest.raises(DataError, match=r"images\.npy changed while it was read; run the command again when"):
        run(encoder, watched, folder)
    assert list(folder.parent.iterdir()) == []


def test_an_earlier_result_stays_until_the_new_one_is_whole(pile: Path, encoder: Encoder, folder: Path) -> None:
    run(encoder, open_images(pile), folder, limit=10)
    earlier = content(folder)
    interrupted(encoder, pile, folder)
    assert content(folder) == earlier
    run(encoder, open_images(pile), folder)
    assert pq.read_table(folder).num_rows == ROWS


def test_a_plan_writes_nothing_and_knows_what_is_finished(pile: Path, encoder: Encoder, folder: Path) -> None:
    def plan() -> Plan:
        with open_images(pile) as source:
            plan = encode(encoder, source, open_target(folder), Options(), dry_run=True)
        assert isinstance(plan, Plan)
        return plan

    assert (plan().rows, plan().parts, plan().finished_parts) == (ROWS, 3, 0)
    assert list(folder.parent.iterdir()) == []
    interrupted(encoder, pile, folder)
    before = content(folder.parent)
    assert plan().finished_parts == 2
    assert "2 part(s) are finished already; nothing was written" in str(plan())
    assert content(folder.parent) == before


def test_a_bad_row_ends_the_job_unless_it_is_to_be_set_aside(decoder: Decoder, folder: Path, tmp_path: Path) -> None:
    z = np.zeros((10_000, 2), np.float32)
    z[[3, 4096, 9999]] = np.inf
    np.save(tmp_path / "z.npy", z)
    source = choose_latents(2, path=tmp_path / "z.npy")
    with pytest.raises(FormatError, match=r"z\.npy row 3: a latent is not finite, .*; --on-error quarantine"):
        generate(decoder, source, open_target(folder), Options())
    assert list(folder.parent.iterdir()) == []
    summary = generate(decoder, source, open_target(folder), Options(on_error="quarantine"))
    assert isinstance(summary, Summary)
    assert (summary.rows, summary.quarantined) == (9_997, 3)
    index = pq.read_table(folder)["index"].to_pylist()
    assert index == [row for row in range(10_000) if row not in (3, 4096, 9999)]
    rows = [json.loads(line) for line in (folder / "_quarantine.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == [3, 4096, 9999]


def test_an_output_that_holds_something_else_is_refused_before_a_row_is_read(
    pile: Path, encoder: Encoder, folder: Path
) -> None:
    folder.mkdir()
    (folder / "thesis.tex").touch()
    watched = Watched(open_images(pile))
    with pytest.raises(OutputError, match=r"already holds 'thesis\.tex', which this command did not write"):
        run(encoder, watched, folder)
    assert watched.starts == []
    assert [path.name for path in folder.parent.rglob("*")] == ["out", "thesis.tex"]


def test_a_job_that_is_started_while_it_runs_is_refused(pile: Path, encoder: Encoder, folder: Path) -> None:
    complaints = []

    def start_another() -> None:
        with pytest.raises(OutputError) as refused:
            run(encoder, open_images(pile), folder)
        complaints.append(str(refused.value))

    run(encoder, Watched(open_images(pile), ROWS_PER_PART, start_another), folder)
    assert complaints == [
        f"another process is writing in {folder.parent}/.out.partial; wait for it, or choose another output"
    ]
    assert pq.read_table(folder).num_rows == ROWS


# What a cluster unpacks


class Crew:
    """Like that of a cluster, but in this process."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.calls, self._meanwhile = 0, meanwhile

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.calls += 1
            yield function(item)

    def make_parts(self, *given: Any) -> tuple[Node, ...]:
        self._meanwhile()
        return local.make_parts(*given)


@pytest.fixture
def all_are_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arrays, "unpacked", partialmethod(Arrays.unpacked, least=1))
        yield


def encode_with(
    crew: Crew, encoder: Encoder, pile: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None = None
) -> Summary:
    monkeypatch.setattr("pipeline.jobs.on_ray.connected", lambda _: contextlib.nullcontext(crew))
    with open_images(pile) as source:
        job = SmallParts("parquet", encoder, classes=source.classes)
        return engine.run(job, source, open_target(folder), Options(quiet=True, cluster=Cluster(), limit=limit))


@pytest.mark.usefixtures("all_are_large")
def test_a_cluster_unpacks_a_file_once_into_the_workspace_which_goes_when_the_job_ends(
    images: Pixels, encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pile = piles.write(tmp_path / "pile.idx.gz", images[:600])
    unpacked = folder.parent / ".out.partial/unpacked"

    def stop_after_a_part() -> None:
        assert max(file.stat().st_size for file in unpacked.iterdir()) == 16 + 600 * 784
        original, calls = Shelf.put, iter(range(1))

        def put(*given: Any) -> Part:
            if next(calls, None) is None:
                raise DataError("the end")
            return original(*given)

        patch.setattr(Shelf, "put", put)

    first = Crew(stop_after_a_part)
    with monkeypatch.context() as patch, pytest.raises(DataError, match="the end"):
        encode_with(first, encoder, pile, folder, patch)
    second = Crew(lambda: None)
    summary = encode_with(second, encoder, pile, folder, monkeypatch)
    assert (first.calls, second.calls, summary.resumed_parts) == (1, 0, 1)
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@pytest.mark.usefixtures("all_are_large")
def test_of_a_file_of_which_some_rows_are_wanted_nothing_is_unpacked(
    images: Pixels, encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(lambda: None)
    pile = piles.write(tmp_path / "pile.idx.gz", images[:600])
    assert encode_with(crew, encoder, pile, folder, monkeypatch, limit=300).rows == 300
    assert not crew.calls
