"""A cut of a pile, sent to another process, is read there as these rows of the whole are read."""

import csv
import io
import itertools
import pickle
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import ImageSource, open_images
from pipeline.sources.pictures import Pictures
from pipeline.sources.places import LocalPlace, Names, Place
from pipeline.sources.reading import Reading
from pipeline.sources.rows import Rows, join
from tests.sources import piles
from tests.sources.piles import FORMATS, column, png, read_all, tar
from tests.sources.test_what_people_have import stream, zipped

RNG = np.random.default_rng(5)
N = 9000
IMAGES = RNG.integers(0, 256, (N, 28, 28), np.uint8)
SMALL = 300
LABELS = (np.arange(N) % 7).astype(np.uint8)
WORDS = ["cat", "dog", "eel"]


@dataclass(frozen=True)
class Kind:
    """A pile, and how it is read."""

    make: Callable[[Path], Any]
    name: str
    choices: dict[str, Any] = field(default_factory=dict)
    labels: bool = False
    """Whether its labels are in a file of their own."""
    most: int = 2000
    """Bytes of a cut, pickled."""


def formatted(name: str, labels: list[int] | None = None) -> Callable[[Path], Any]:
    return lambda path: piles.write(path, IMAGES[:SMALL], labels)


def files(*arrays: np.ndarray) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        path.mkdir()
        for number, array in enumerate(arrays):
            np.save(path / f"{number}.npy", array)

    return write


def shards(path: Path, suffix: str = ".tar") -> None:
    """Of different lengths, one of more than 4,096 rows and one of none; labels are words, and some are wrong."""
    path.mkdir()
    edges = [0, 4100, 4100, 4107, N]
    pictures = [png(image) for image in IMAGES[:9]]
    for shard, (start, stop) in enumerate(itertools.pairwise(edges)):
        members = {f"{shard}.md": b"a note"}
        for row in range(start, stop):
            name = f"{'x' * 120 if row % 1000 == 96 else ''}{row:05d}"
            members |= {f"{name}.png": pictures[row % 9], f"{name}.cls": WORDS[row % 3].encode()}
        members |= {f"{start:05d}z.png": b"no picture", f"{start:05d}z.txt": b"a caption"}
        content = tar(members, gz=suffix == ".tar.gz")
        (path / f"{shard}{suffix}").write_bytes(content)


def lines(path: Path) -> None:
    path.mkdir()
    head = ["label", *(f"pixel{place}" for place in range(784))]
    for part, (start, stop) in enumerate(((0, 100), (100, 100), (100, 4500))):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        for row in range(start, stop):
            writer.writerow([WORDS[row % 3], *IMAGES[row % 50].reshape(-1).tolist()][: 400 if row == 4200 else None])
            if row % 700 == 0:
                text.write("\n")
        (path / f"{part}.csv").write_text("\ufeff" * (part == 0) + text.getvalue())


def arrow(path: Path, kind: str) -> None:
    rows = pa.table({"image": column("binary", IMAGES), "label": [WORDS[row % 3] for row in range(N)]})
    if kind == "file":
        pa.feather.write_feather(rows, str(path), chunksize=500)
    else:
        stream(path, rows.slice(0, 2000))


def folders(path: Path) -> None:
    for row in range(SMALL):
        folder = path / WORDS[row * 3 // SMALL]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:04d}.png").write_bytes(png(IMAGES[row]) if row % 50 else b"no picture")
    (path / "notes.txt").touch()


def zips(path: Path) -> None:
    path.mkdir()
    for part in range(3):
        rows = range(part * 100, part * 100 + 100)
        contents = {f"mnist/{WORDS[row % 3]}/{row:04d}.png": png(IMAGES[row]) for row in rows}
        zipped(path / f"{part}.zip", contents | {f"mnist/cat/{part}.png": b"no picture"})


PICTURE = png(IMAGES[0])
LATE = np.where(np.arange(SMALL)[:, None, None] == SMALL - 1, 255, IMAGES[:SMALL] // 4).astype(np.float32)
KINDS = {
    **{name: Kind(formatted(name), name, most=20_000) for name in FORMATS},
    **{f"{name}, labelled": Kind(formatted(name), name, {}, True, most=20_000) for name in FORMATS},
    "labels of the .npz": Kind(lambda p: np.savez(p, x=IMAGES, y=np.array(WORDS)[LABELS % 3]), "pile.npz"),
    "labels of the compressed .npz": Kind(lambda p: np.savez_compressed(p, x=IMAGES[:900], y=LABELS[:900]), "pile.npz"),
    "in Fortran order": Kind(lambda p: np.save(p, np.asfortranarray(IMAGES)), "pile.npy"),
    "arrays, late range": Kind(files(LATE[:100], LATE[:0], LATE[100:]), "pile"),
    "values outside": Kind(lambda p: np.save(p, LATE), "pile.npy", {"value_range": (0, 100)}),
    "row groups": Kind(
        lambda p: pq.write_table(
            pa.table({"image": column("variable", IMAGES), "label": [WORDS[row % 3] for row in range(N)]}),
            p,
            row_group_size=1000,
        ),
        "pile.parquet",
    ),
    "numbers in lists": Kind(
        lambda p: pq.write_table(pa.table({"image": LATE.reshape(SMALL, -1).tolist()}), p, row_group_size=40),
        "pile.parquet",
    ),
    "Arrow's file": Kind(lambda p: arrow(p, "file"), "pile.arrow"),
    "Arrow's stream": Kind(lambda p: arrow(p, "stream"), "pile.arrow"),
    "shards": Kind(shards, "pile", {"labels_from": "cls"}),
    "shards of gzip": Kind(lambda p: shards(p, ".tar.gz"), "pile"),
    "CSV": Kind(lines, "pile", most=20_000),
    "folders": Kind(folders, "pile", {"labels_from": "folder"}, most=20_000),
    "zips": Kind(zips, "pile", {"labels_from": "folder"}, most=20_000),
}


@pytest.fixture(scope="module")
def pile_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ImageSource]:
    """Opens a pile by the name of its kind."""
    found: dict[str, Path] = {}

    def open_pile(name: str) -> ImageSource:
        kind = KINDS[name]
        if name not in found:
            found[name] = tmp_path_factory.mktemp("cut") / kind.name
            kind.make(found[name])
        labels = None
        if kind.labels:
            labels = found[name].parent / "labels.npy"
            np.save(labels, np.where(np.arange(SMALL) == 7, 300, np.arange(SMALL) % 5))
        return open_images(found[name], labels, **kind.choices)

    return open_pile


def same(one: Rows, other: Rows) -> bool:
    return (
        (one.start, one.stop, one.bad, one.names) == (other.start, other.stop, other.bad, other.names)
        and np.array_equal(one.images, other.images)
        and (one.labels is None) == (other.labels is None)
        and (one.labels is None or np.array_equal(one.labels, other.labels))
    )


def whole(source: ImageSource) -> Rows:
    """All rows of a pile, read as those of a pile that was never measured."""
    with source.reopen() as again:
        return join(0, read_all(again, 1000))


def part(rows: Rows, start: int, stop: int) -> Rows:
    kept = np.ones(rows.stop, bool)
    kept[[bad.index for bad in rows.bad]] = False
    first, last = kept[:start].sum(), kept[:stop].sum()
    return Rows(
        start,
        stop,
        rows.images[first:last],
        None if rows.labels is None else rows.labels[first:last],
        tuple(bad for bad in rows.bad if start <= bad.index < stop),
        None if rows.names is None else rows.names[first:last],
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_rows_of_a_cut_are_those_of_the_whole(name: str, pile_of: Callable[[str], ImageSource]) -> None:
    with pile_of(name) as source:
        rows = whole(source)
        assert source.measured().count == rows.stop
        about = source.labels_from, source.classes, source.passed_over
        edges = sorted({0, 1, *RNG.integers(0, rows.stop, 4).tolist(), rows.stop})
        for start, stop in itertools.pairwise(edges):
            content = pickle.dumps(source.cut(start, stop))
            assert len(content) < KINDS[name].most + 3 * (stop - start) * KINDS[name].labels
            cut = pickle.loads(content)
            assert (cut.labels_from, cut.classes, cut.passed_over) == about
            step = max(1, (stop - start) // 3)
            reading = [cut.read(at, min(at + step, stop)) for at in range(start, stop, step)]
            assert same(join(start, [read() for read in reading]), part(rows, start, stop))


SEVERAL = ["folder_of_parquet", "folder_of_png", "folder_of_tar", "arrays, late range", "shards", "CSV", "zips"]


@pytest.mark.parametrize("name", SEVERAL)
def test_a_cut_opens_its_own_files_alone(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.make(tmp_path / "pile")
    with open_images(tmp_path / "pile", **kind.choices) as source:
        stop = min(100, source.measured().count // 4)
        rows = part(whole(source), 0, stop)
        cut = pickle.loads(pickle.dumps(source.cut(0, stop)))
    every = sorted(path for path in (tmp_path / "pile").rglob("*") if path.is_file())
    for path in every[-(-len(every) // 2) :]:
        path.unlink()
    assert same(cut.read(0, stop)(), rows)


@pytest.mark.parametrize("name", ["arrays, late range", "shards", "folders", "row groups"])
def test_what_is_made_of_all_cuts_is_the_whole(name: str, pile_of: Callable[[str], ImageSource]) -> None:
    with pile_of(name) as source:
        rows = whole(source)
        source.measured()
        for size in (rows.stop, 4096, 1001):
            cuts = [source.cut(at, min(at + size, rows.stop)) for at in range(0, rows.stop, size)]
            parts = [
                cut.read(at, min(at + size, rows.stop)) for cut, at in zip(cuts, range(0, rows.stop, size), strict=True)
            ]
            assert same(join(0, [read() for read in reversed(parts)][::-1]), rows)


@pytest.mark.parametrize("name", ["shards", "shards of gzip", "CSV", "pile.tar, labelled"])
def test_files_are_measured_by_a_call_for_each_wherever_that_runs(
    name: str, pile_of: Callable[[str], ImageSource]
) -> None:
    calls = []

    def elsewhere(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            calls.append(item)
            called, one = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(called(one)))

    with pile_of(name) as source, pile_of(name) as other:
        assert source.count is None
        source.measured(elsewhere)
        assert len(calls) == {"shards": 4, "shards of gzip": 4, "CSV": 3}.get(name, 1)
        assert source.measured(elsewhere).count == other.measured().count == whole(other).stop
        assert len(calls) == {"shards": 4, "shards of gzip": 4, "CSV": 3}.get(name, 1)
        assert same(source.read(0, 200)(), other.read(0, 200)())
        assert source.passed_over == other.passed_over


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("length", [0.3, 0.9])
def test_a_damaged_archive_is_named_when_it_is_measured(length: float, suffix: str, tmp_path: Path) -> None:
    content = piles.write(tmp_path / f"pile{suffix}", IMAGES[:4000]).read_bytes()
    (tmp_path / f"pile{suffix}").write_bytes(content[: int(length * len(content))])
    with open_images(tmp_path / f"pile{suffix}") as source, pytest.raises(FormatError, match="truncated or damaged"):
        source.measured()


def test_a_strict_reader_refuses_when_it_measures(tmp_path: Path) -> None:
    members = {f"{row:04d}.png": png(IMAGES[row % 9]) for row in range(300)}
    (tmp_path / "pile.tar").write_bytes(tar({**members, "notes.md": b"a note"}))
    with (
        open_images(tmp_path / "pile.tar", strict=True) as source,
        pytest.raises(FormatError, match=r"pile\.tar holds notes\.md, no picture or label"),
    ):
        source.measured()


@pytest.mark.parametrize("number", [8, 10])
def test_labels_are_compared_when_a_pile_is_measured(number: int, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", LABELS[:number])
    pile = piles.write(tmp_path / "pile.tar", IMAGES[:9])
    with (
        open_images(pile, tmp_path / "labels.npy") as source,
        pytest.raises(FormatError, match=rf"pile\.tar holds 9 images, \S+ {number} labels"),
    ):
        source.measured()


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_of_what_lies_behind_an_address_is_sent(name: str, tmp_path: Path) -> None:
    path = piles.write(tmp_path / name, IMAGES[:90])
    memory = fsspec.filesystem("memory")
    memory.put(str(path), f"{tmp_path.name}/{name}", recursive=True)
    try:
        with open_images(f"memory://{tmp_path.name}/{name}") as source:
            cut = pickle.loads(pickle.dumps(source.measured().cut(20, 80)))
            assert np.array_equal(cut.read(30, 70)().images, IMAGES[30:70])
    finally:
        memory.rm(f"/{tmp_path.name}", recursive=True)


def test_a_cut_reads_no_more_of_an_array_than_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    span = Place.span

    def watched(place: Place, name: str, start: int, stop: int) -> BinaryIO:
        asked.append((name, stop - start))
        return span(place, name, start, stop)

    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "b.npz", x=IMAGES, y=LABELS)
    monkeypatch.setattr(Place, "span", watched)
    for name in ("a.npy", "b.npz"):
        with open_images(tmp_path / name) as source:
            cut = source.cut(4000, 9000)
        cut.read(4000, 8096), cut.read(8096, 9000)
    assert sorted(asked) == [("a.npy", 5000 * 784), ("b.npz", 5000), ("b.npz", 5000 * 784)]


KEYS = ["a", "b", "c", "a/1", "b.v2", "./d", ".e", "__MACOSX/f", "x" * 97, "\u96f6", "folder"]
SUFFIXES = [".png", ".png", ".png", ".cls", ".cls", ".txt", ".jpeg", ".PNG", ".seg.png", ".md", "", "/"]


ANY = st.lists(st.tuples(st.sampled_from(KEYS) | st.integers(0, 40).map(str), st.sampled_from(SUFFIXES)))
PLAIN = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([[".png"], [".png", ".cls"]])), min_size=6).map(
    lambda rows: [(key, suffix) for key, suffixes in rows for suffix in suffixes]
)


@given(names=ANY | PLAIN)
@settings(deadline=None, max_examples=200)
def test_an_index_counts_and_finds_the_rows_that_a_reader_gives(
    names: list[tuple[str, str]], folder_of_examples: Path
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for key, suffix in [*names, ("end", ".png"), ("end", ".cls")]:
            about, content = tarfile.TarInfo(key + suffix), b"7" if suffix == ".cls" else PICTURE
            about.size = 0 if suffix == "/" else len(content)
            about.type = tarfile.DIRTYPE if suffix == "/" else tarfile.REGTYPE
            archive.addfile(about, io.BytesIO(content))
    (folder_of_examples / "pile.tar").write_bytes(file.getvalue())
    with pytest.MonkeyPatch.context() as patch, open_images(folder_of_examples / "pile.tar") as source:
        for module in ("marks", "shards"):
            patch.setattr(f"pipeline.sources.{module}.MAX_ROWS", 3)
        again = source.reopen()
        rows = join(0, read_all(again, 2))
        assert source.measured().count == rows.stop
        assert (source.passed_over, source.labels_from) == (again.passed_over, again.labels_from)
        for start in range(rows.stop):
            stop = min(start + 2, rows.stop)
            assert same(source.cut(start, stop).read(start, stop)(), part(rows, start, stop))


@pytest.fixture(scope="module")
def folder_of_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the examples of a property."""
    return tmp_path_factory.mktemp("examples")


def test_a_cut_of_many_pictures_takes_little_more_than_their_names(tmp_path: Path) -> None:
    names = Names(f"digits/{row % 10}/{row:07d}.png" for row in range(200_000))
    source = Pictures(LocalPlace("digits", "digits/", "folder"), names, Reading())
    sizes = [len(pickle.dumps(source.cut(start, start + 65_536))) for start in (0, 100_000)]
    assert max(sizes) < 65_536 * (len("digits/7/0000000.png") + 1) + 1000


def test_a_stored_member_that_is_damaged_is_told_before_it_is_cut(tmp_path: Path) -> None:
    """Its parts read it by their place in the file, and would see no checksum."""
    np.savez(tmp_path / "pile.npz", images=np.zeros((500, 28, 28), np.uint8))
    content = bytearray((tmp_path / "pile.npz").read_bytes())
    content[200_000] ^= 1
    (tmp_path / "pile.npz").write_bytes(content)
    with open_images(tmp_path / "pile.npz") as source, pytest.raises(DataError, match=r"pile\.npz .*Bad CRC-32"):
        source.measured()
