"""What every store does, on a disk, in the memory of fsspec, and on a real object store."""

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import DataError, OutputError
from pipeline.jobs.store import LocalStore, Store, open_store
from pipeline.sources import s3 as client
from tests import proxies, stores


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    match request.param:
        case "folder":
            yield open_store(tmp_path / "made" / "later")
        case "memory":
            yield open_store(f"memory://{tmp_path.name}/out/")
        case _:
            yield open_store(request.getfixturevalue("s3"))


@pytest.fixture(params=["bytes", "file"])
def content(request: pytest.FixtureRequest, tmp_path: Path) -> bytes | Path:
    if request.param == "file":
        (tmp_path / "content").write_bytes(b"content")
    return b"content" if request.param == "bytes" else tmp_path / "content"


def filled(store: Store, *names: str) -> Store:
    for name in names:
        assert store.create(name, name.encode())
    return store


def folder_of_files(folder: Path) -> Path:
    for name in ("0.png", "below/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_file_is_created_once(store: Store, content: bytes | Path) -> None:
    assert store.create("a/b/file", content)
    assert store.read("a/b/file") == b"content"
    assert not isinstance(content, Path) or not content.exists()
    assert not store.create("a/b/file", b"other")
    assert store.read("a/b/file") == b"content"


def test_what_was_not_created_is_left_where_it_is(store: Store, tmp_path: Path) -> None:
    store.create("file", b"first")
    (tmp_path / "content").write_bytes(b"second")
    assert not store.create("file", tmp_path / "content")
    assert (tmp_path / "content").read_bytes() == b"second"


def test_a_file_is_replaced(store: Store, content: bytes | Path) -> None:
    store.create("file", b"longer than what comes")
    store.replace("file", content)
    assert store.read("file") == b"content"
    assert list(store.names()) == ["file"]


@pytest.mark.parametrize("size", [0, 1, 20 << 20])  # the last is sent in pieces
def test_files_of_all_sizes_come_back(size: int, store: Store, tmp_path: Path) -> None:
    content = os.urandom(1024) * (size >> 10) if size > 1 else bytes(size)
    for put in (store.create, store.replace):
        (tmp_path / "file").write_bytes(content)
        put(put.__name__, tmp_path / "file")
        store.fetch(put.__name__, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == content
        assert store.read(put.__name__) == content


def test_a_folder_is_put_with_all_that_is_in_it(store: Store, tmp_path: Path) -> None:
    assert store.create("parts/part-00000", folder_of_files(tmp_path / "part"))
    assert list(store.names()) == ["parts/part-00000/0.png", "parts/part-00000/below/1.png"]
    assert store.read("parts/part-00000/below/1.png") == b"below/1.png"
    assert not (tmp_path / "part").exists()
    (tmp_path / "part").mkdir()
    (tmp_path / "part/2.png").write_bytes(b"two")
    store.replace("parts/part-00000", tmp_path / "part")
    assert list(store.read_all("parts")) == [("parts/part-00000/2.png", b"two")]


def test_a_folder_on_a_disk_appears_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    assert store.create("part", folder_of_files(tmp_path / "one"))
    assert not store.create("part", folder_of_files(tmp_path / "two"))
    assert (tmp_path / "two").exists()


def test_what_is_not_there_is_none_and_no_error(store: Store, tmp_path: Path) -> None:
    filled(store, "a/file")
    assert store.read("b") is store.read("a/other") is store.read("a/file/below") is None
    assert list(store.names("b")) == list(store.marks("b")) == list(store.read_all("b")) == []
    store.remove("b")
    with pytest.raises(DataError, match=r"/b (can't be read: it )?was not found; check its name"):
        store.fetch("b", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_names_are_sorted_as_text_whatever_is_a_folder(store: Store) -> None:
    names = ["a-b", "a.b", "a/c", "a/c.d/e", "a/é ?#%41", "a0", "b"]
    filled(store, *reversed(names))
    assert list(store.names()) == names
    assert list(store.names("a")) == list(store.names("a/")) == names[2:5]
    assert list(store.names("a/c.d/e")) == ["a/c.d/e"]
    assert list(store.read_all("a")) == [(name, name.encode()) for name in names[2:5]]


def test_many_small_files_are_read_in_order(store: Store) -> None:
    names = [f"records/{number:05}" for number in range(300)]
    filled(store, *names)
    assert [name for name, _ in store.read_all("records")] == names


def test_a_mark_changes_with_the_content(store: Store) -> None:
    filled(store, "one", "two")
    before = dict(store.marks())
    assert list(before) == ["one", "two"]
    assert dict(store.marks()) == before
    store.replace("one", b"eno")
    after = dict(store.marks())
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]


def test_a_file_a_folder_or_all_is_removed(store: Store) -> None:
    filled(store, "a", "b/c", "b/d", "bb")
    store.remove("a")
    assert list(store.names()) == ["b/c", "b/d", "bb"]
    store.remove("b")
    assert list(store.names()) == ["bb"]
    store.remove()
    assert list(store.names()) == []
    store.remove()


def test_scratch_is_no_part_of_the_store_and_ends(store: Store) -> None:
    with pytest.raises(KeyError), store.scratch() as folder:
        (folder / "file").write_bytes(b"made")
        assert list(store.names()) == []
        assert store.create("file", folder / "file")
        raise KeyError
    assert not folder.exists()
    assert list(store.names()) == ["file"]


def test_of_many_that_create_the_same_file_one_is_told_so(store: Store) -> None:
    if "memory" in str(store):
        pytest.skip("fsspec looks, then puts")
    with ThreadPoolExecutor(4) as pool:
        for number in range(3):
            contents = [f"{number} {writer}".encode() for writer in range(4)]
            told = list(pool.map(lambda content, n=number: store.create(f"{n}", content), contents))
            assert [content for content, won in zip(contents, told, strict=True) if won] == [store.read(f"{number}")]


def test_a_store_is_picklable(store: Store) -> None:
    filled(store, "file")
    again = pickle.loads(pickle.dumps(store))
    assert again.read("file") == b"file"
    assert str(again) == str(store)


@pytest.mark.parametrize("no_links", [False, True])
def test_a_disk_is_never_seen_with_half_a_file(no_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if no_links:  # as on some network file systems
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    store = LocalStore(tmp_path / "out")
    assert store.create("a/file", b"whole")
    assert not store.create("a/file", b"other")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a", "file"]


def test_a_disk_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write .*/file: File exists; free some space or choose an"):
        LocalStore(tmp_path / "file").create("x", b"content")


def test_an_address_without_a_driver_says_what_to_install() -> None:
    with pytest.raises(DataError, match=r"nonsense://a/b can't be reached: .*; install the driver for nonsense://"):
        open_store("nonsense://a/b")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "its server does not know the access key; check AWS_ACCESS_KEY_ID and"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is not that of the access key; check AWS_ACCESS_KEY_ID"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "its server answered 403 Forbidden; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and",
        ),
    ],
)
def test_wrong_keys_are_told_at_once(
    variables: dict[str, str | None], said: str, s3: str, object_store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.use(object_store, monkeypatch, **variables)
    store = open_store(s3)
    for write in (lambda: store.create("x", b"1"), lambda: store.replace("x", b"1"), store.remove):
        with pytest.raises(OutputError) as no:
            write()
        assert str(no.value).startswith(f"cannot write {s3}")
        assert said in str(no.value)
        assert "\n" not in str(no.value)
    with pytest.raises(DataError, match=f"{s3}/x can't be read: .*{said}"):
        store.read("x")
    with pytest.raises(DataError, match=f"{s3} can't be read: .*{said}"):
        list(store.names())


def test_a_bucket_that_is_missing(s3: str) -> None:
    store = open_store("s3://nowhere/out")
    for attempt in (lambda: store.create("x", b"1"), lambda: store.read("x"), lambda: list(store.names())):
        with pytest.raises((OutputError, DataError), match=r"there is no such bucket; check its name, and AWS_EN"):
            attempt()


def test_a_store_that_is_busy_for_a_while_is_waited_for(weather: proxies.Weather, s3: str, tmp_path: Path) -> None:
    store = open_store(s3)
    for write in (store.create, store.replace):
        weather.busy = 3
        write(write.__name__, b"content")
        weather.busy = 3
        assert store.read(write.__name__) == b"content"
    weather.busy = 3
    assert list(store.names()) == ["create", "replace"]
    weather.busy = 3
    store.remove()
    assert list(store.names()) == []


def test_a_store_that_is_busy_for_ever_is_given_up(
    weather: proxies.Weather, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    store = open_store(s3)
    weather.busy = 1 << 30
    for write in (lambda: store.create("x", b"1"), lambda: store.replace("x", b"1"), store.remove):
        with pytest.raises(OutputError) as no:
            write()
        assert str(no.value).startswith(f"cannot write {s3}")
        assert str(no.value).endswith("its server answered 503 Service Unavailable; try again later")
    weather.busy = 0
    assert list(store.names()) == []


def test_an_answer_that_is_lost_is_no_other_writer(weather: proxies.Weather, s3: str) -> None:
    store = open_store(s3)
    weather.lost = 1
    assert store.create("ours", b"content")
    store.create("theirs", b"content")
    weather.busy = 1
    assert not store.create("theirs", b"other")
    assert store.read("theirs") == b"content"
