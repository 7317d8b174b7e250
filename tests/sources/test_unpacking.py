"""Large compressed files are unpacked once, and cuts read on from there as if it were the file."""

import csv
import gzip
import io
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DataError, OutputError
from pipeline.jobs.store import LocalStore, Store, open_store
from pipeline.sources.idx import encode_idx
from pipeline.sources.images import ImageSource, open_images
from pipeline.sources.unpacking import FOLDER
from tests.sources import piles
from tests.sources.piles import png, tar
from tests.sources.test_cut import part, same, whole

N = 5000  # more than one stretch, and mark
RNG = np.random.default_rng(6)
IMAGES = RNG.integers(0, 256, (N, 28, 28), np.uint8) * (RNG.random((N, 1, 1)) < 0.1).astype(np.uint8)
WORDS = np.array(["cat", "dog", "eel"])[np.arange(N) % 3]


def packed(write: Callable[[io.BytesIO], Any]) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        content = io.BytesIO()
        write(content)
        path.write_bytes(gzip.compress(content.getvalue(), 1))

    return make


def lines(file: io.BytesIO) -> None:
    text = io.TextIOWrapper(file, write_through=True)
    csv.writer(text).writerows([WORDS[row], *IMAGES[row].reshape(-1).tolist()] for row in range(N))
    text.write("\n")
    text.detach()


def members(file: io.BytesIO) -> None:
    pictures = [png(image) for image in IMAGES[:9]]
    contents = {"0.md": b"a note", "4999a.png": b"no picture"}
    for row in range(N):
        contents |= {f"{row:04d}.png": pictures[row % 9], f"{row:04d}.cls": str(row % 10).encode()}
    file.write(tar(dict(sorted(contents.items()))))


def several(path: Path) -> None:
    path.mkdir()
    packed(lambda file: file.write(encode_idx(IMAGES[:3000])))(path / "0.idx.gz")
    (path / "1.idx").write_bytes(encode_idx(IMAGES[3000:]))


@dataclass(frozen=True)
class Kind:
    """A pile, and how much of it is unpacked."""

    make: Callable[[Path], Any]
    name: str
    files: int = 1
    labels: bool = False
    """Whether they lie in a file of their own, compressed, too."""
    left: tuple[str, ...] = ()
    """Files that are not compressed."""


KINDS = {
    "idx.gz": Kind(packed(lambda file: file.write(encode_idx(IMAGES))), "pile.idx.gz"),
    "npy.gz": Kind(packed(lambda file: np.save(file, IMAGES)), "pile.npy.gz"),
    "Fortran order": Kind(packed(lambda file: np.save(file, np.asfortranarray(IMAGES))), "pile.npy.gz"),
    "one image": Kind(packed(lambda file: np.save(file, IMAGES[0])), "pile.npy.gz"),
    "csv.gz": Kind(packed(lines), "pile.csv.gz"),
    "tar.gz": Kind(packed(members), "pile.tar.gz"),
    "npz": Kind(lambda path: np.savez_compressed(path, x=IMAGES, y=WORDS), "pile.npz", 2),
    "labels": Kind(packed(lambda file: file.write(encode_idx(IMAGES))), "pile.idx.gz", 2, labels=True),
    "folder": Kind(several, "pile", left=("1.idx",)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "work")


class Elsewhere:
    """Calls in other processes, counted."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.calls += 1
            called, one = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(called(one)))


def open_pile(kind: Kind, folder: Path) -> ImageSource:
    path = folder / kind.name
    if not path.exists():
        kind.make(path)
        packed(lambda file: file.write(encode_idx((np.arange(N) % 7).astype(np.uint8))))(folder / "labels.gz")
    return open_images(path, folder / "labels.gz" if kind.labels else None)


def rows_of(source: ImageSource, start: int, stop: int) -> Any:
    """Those of a cut that was sent."""
    with pickle.loads(pickle.dumps(source.cut(start, stop))) as cut:
        return cut.read(start, stop)()


def test_a_cut_of_what_is_unpacked_is_that_of_the_whole_and_does_not_touch_the_file(
    kind: Kind, store: Store, tmp_path: Path
) -> None:
    with open_pile(kind, tmp_path) as source:
        rows, state, about = whole(source), source.state(), (source.name, source.labels_from, source.classes)
        each = Elsewhere()
        assert source.measured().unpacked(store, each, least=1) is source
        assert each.calls == kind.files
        assert (source.state(), (source.name, source.labels_from, source.classes)) == (state, about)
        for path in [path for path in (tmp_path / kind.name, *(tmp_path / kind.name).rglob("*")) if path.is_file()]:
            if path.name not in kind.left:
                path.unlink()
        edges = sorted({0, *RNG.integers(0, rows.stop, 3).tolist(), rows.stop // 2, rows.stop})
        for start, stop in itertools.pairwise(edges):
            assert same(rows_of(source, start, stop), part(rows, start, stop))
        assert same(source.read(0, rows.stop)(), rows)


def test_what_lies_there_whole_is_not_unpacked_again(kind: Kind, store: Store, tmp_path: Path) -> None:
    for calls, damage in ((kind.files, False), (0, False), (1, True)):
        if damage:  # as a store might leave it that does not put a file at once
            file = max((tmp_path / "work" / FOLDER).iterdir(), key=lambda file: file.stat().st_size)
            file.write_bytes(file.read_bytes()[:-1])
        each = Elsewhere()
        with open_pile(kind, tmp_path) as source:
            source.measured().unpacked(store, each, least=1)
        assert each.calls == calls


def test_small_files_stay_as_they_are(kind: Kind, store: Store, tmp_path: Path) -> None:
    with open_pile(kind, tmp_path) as source:
        each = Elsewhere()
        source.measured().unpacked(store, each)
        assert not each.calls
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("address", ["memory", "s3"])
@pytest.mark.parametrize("name", ["idx.gz", "tar.gz", "npz"])
def test_stores_behind_an_address(name: str, address: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = open_store(request.getfixturevalue("s3") if address == "s3" else f"memory://{tmp_path.name}")
    with open_pile(KINDS[name], tmp_path) as source:
        rows = whole(source)
        source.measured().unpacked(store, Elsewhere(), least=1)
        (tmp_path / KINDS[name].name).unlink()
        assert same(rows_of(source, 4200, 4900), part(rows, 4200, 4900))
    store.remove()


def damaged(content: bytes, where: str) -> bytes:
    """Ends too early, says another checksum, or goes on."""
    match where:
        case "cut short":
            return content[: len(content) // 2]
        case "checksum":
            return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
        case "bytes":
            return content[:-5000] + bytes(300) + content[-4700:]
        case _:
            return content + gzip.compress(b"more")


@pytest.mark.parametrize("where", ["cut short", "checksum", "bytes", "more"])
@pytest.mark.parametrize("name", ["idx.gz", "npy.gz"])
def test_damage_is_told_as_without(name: str, where: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / KINDS[name].name
    KINDS[name].make(path)
    path.write_bytes(damaged(path.read_bytes(), where))
    said = []
    for least in (1 << 40, 1):
        with open_images(path) as source, pytest.raises(DataError) as raised:
            rows_of(source.measured().unpacked(store, Elsewhere(), least), 4096, N)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert [file.name for file in (tmp_path / "work" / FOLDER).iterdir()] == ["seen"]


def test_a_damaged_member_is_told_as_without(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "pile.npz"
    np.savez_compressed(path, x=IMAGES)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    said = []
    for least in (1 << 40, 1):
        with open_images(path) as source, pytest.raises(DataError) as raised:
            rows_of(source.unpacked(store, Elsewhere(), least), 4096, N)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_a_file_that_is_gone_is_told(store: Store, tmp_path: Path) -> None:
    with open_pile(KINDS["idx.gz"], tmp_path) as source:
        (tmp_path / "pile.idx.gz").unlink()
        with pytest.raises(DataError, match=r"pile\.idx\.gz can't be read"):
            source.unpacked(store, Elsewhere(), least=1)


def test_a_full_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(b"no folder")
    with open_pile(KINDS["idx.gz"], tmp_path) as source, pytest.raises(OutputError, match="cannot write"):
        source.unpacked(LocalStore(tmp_path / "work"), Elsewhere(), least=1)


def test_who_does_not_see_the_store_unpacks_nothing(store: Store, tmp_path: Path) -> None:
    """A machine of a cluster whose disk is not the shared one."""
    other = LocalStore(tmp_path / "other")

    def there(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield type(function)(function.func, other)(item)  # type: ignore[attr-defined]

    with open_pile(KINDS["idx.gz"], tmp_path) as source:
        rows = whole(source)
        source.unpacked(store, there, least=1)
        assert not other.folder.exists()
        assert same(rows_of(source, 4000, N), part(rows, 4000, N))


def test_a_cut_stays_small(store: Store, tmp_path: Path) -> None:
    piles.write(tmp_path / "pile.idx.gz", IMAGES)
    with open_images(tmp_path / "pile.idx.gz") as source:
        assert len(pickle.dumps(source.unpacked(store, map, least=1).cut(4000, N))) < 2000
