import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from numpy.typing import NDArray

from pipeline.errors import DataError, OutputError
from pipeline.inference import Decoder
from pipeline.jobs.draws import prior
from pipeline.jobs.engine import Options, Summary
from pipeline.jobs.generate import generate
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource, Loaded
from pipeline.jobs.target import LocalTarget, RemoteTarget, open_target
from pipeline.jobs.workspace import Workspace
from tests.conftest import bytes_of, names_in, pixels_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """An address in memory, of this test alone."""
    return f"memory://{tmp_path.name}"


def stored(store: str) -> dict[str, bytes]:
    """Every file below an address."""
    system, root = fsspec.url_to_fs(store)
    return {path.removeprefix(f"{root}/"): system.cat(path) for path in system.find(root)}


@pytest.mark.parametrize(
    ("path", "format_", "found"),
    [
        ("out", "auto", "parquet"),
        ("out.parquet", "auto", "parquet"),
        ("out", "png", "png"),
        ("x.png", "auto", "poster"),
        ("x.PNG", "png", "poster"),
        ("memory://b/x.png", "auto", "poster"),
        ("x.npy", "auto", "npy"),
        ("x.npz", "npz", "npz"),
        ("x.NPY", "auto", "npy"),
        ("x.Npz", "auto", "npz"),
        ("x.NPZ", "npz", "npz"),
        ("digits.v2", "auto", "parquet"),
        ("memory://bucket/x.NPZ", "auto", "npz"),
        ("memory://bucket/out/", "auto", "parquet"),
        ("memory://bucket/x.npz", "auto", "npz"),
    ],
)
def test_the_format_is_that_of_the_name_or_as_asked_for(path: str, format_: str, found: str) -> None:
    target = open_target(path, format_)
    assert (target.format, target.single, str(target)) == (found, found in ("npy", "npz", "poster"), path)


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        ("out", "npy"),
        ("out.npz", "npy"),
        ("x.npy", "parquet"),
        ("x.npz", "png"),
        ("x.png", "npy"),
        ("memory://b/x.npy", "npz"),
    ],
)
def test_a_name_that_contradicts_the_format_is_refused(path: str, format_: str) -> None:
    with pytest.raises(OutputError, match=f"{path} can't hold the format {format_}; name a file for npy and npz, a fo"):
        open_target(path, format_)


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        *((f"x.{suffix}", "auto") for suffix in ("csv", "CSV", "jpg", "tar", "zip", "json", "h5", "pkl", "idx")),
        ("x.csv", "parquet"),
        ("x.csv/", "auto"),
        ("x.tar.gz", "auto"),
        ("x.parquet.gz", "auto"),
        ("memory://bucket/x.csv", "auto"),
    ],
)
def test_the_name_of_a_file_that_is_not_written_is_refused(path: str, format_: str) -> None:
    with pytest.raises(OutputError, match=rf"{path} names a file in a format that is not written; name a folder") as no:
        open_target(path, format_)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("suffix", [".NPY", ".Npz"])
def test_a_single_file_in_capitals_is_one(suffix: str, decoder: Decoder, here: Path) -> None:
    for name in (f"x{suffix}", f"y{suffix.lower()}"):
        run(decoder, name)
    assert names_in(here) == sorted(
        f"{name}{more}" for name in (f"x{suffix}", f"y{suffix.lower()}") for more in ("", ".manifest.json", ".png")
    )
    assert (here / f"x{suffix}").read_bytes() == (here / f"y{suffix.lower()}").read_bytes()


def test_an_address_is_remote_and_a_path_is_not(store: str) -> None:
    assert isinstance(open_target(f"{store}/out"), RemoteTarget)
    assert isinstance(open_target(Path("out")), LocalTarget)


@pytest.mark.parametrize(("scheme", "reason"), [("nosuch", "Protocol not known: nosuch"), ("gs", "install gcsfs")])
def test_a_missing_driver_is_named(scheme: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"(?i){scheme}://bucket/out can't be reached: .*{reason}"):
        open_target(f"{scheme}://bucket/out")


@pytest.mark.parametrize(
    ("path", "picture"),
    [("out", "out.png"), ("digits.v2", "digits.v2.png"), ("x.npy", "x.npy.png"), ("a/b.c.npz", "a/b.c.npz.png")],
)
def test_the_picture_lies_beside_the_result(path: str, picture: str, store: str) -> None:
    assert open_target(path).picture() == picture
    assert open_target(f"{store}/{path}").picture() == f"{store}/{picture}"


def run(decoder: Decoder, target: str, latents: LatentSource | None = None, format_: str = "auto") -> Summary:
    summary = generate(decoder, latents or prior(5, 0, 2), open_target(target, format_), Options(quiet=True))
    assert isinstance(summary, Summary)
    return summary


def folder_with(name: str) -> Callable[[], object]:
    return lambda: (Path("out").mkdir(), Path("out", name).write_text("mine"))


@pytest.mark.parametrize(
    ("target", "make", "message"),
    [
        ("out", folder_with("thesis.txt"), "out already holds 'thesis.txt', .*; choose an empty folder"),
        ("out", folder_with("part-00000.parquet"), "out is there, and not an earlier result of `vae generate`"),
        ("out", folder_with("_manifest.json"), "out is there, and not an earlier result of `vae generate`"),
        ("out", lambda: Path("out").write_text("mine"), "out is a file, a folder to write to was expected"),
        ("x.npy", lambda: Path("x.npy").mkdir(), "x.npy is a folder, expected a file to write; choose another output"),
        ("x.npy", lambda: Path("x.npy").write_text("mine"), "x.npy is there, and not an earlier result of `vae gen"),
        ("x.npz", lambda: Path("x.npz.png").write_text("mine"), "x.npz.png is there, and not from an earlier run"),
        ("out", lambda: Path("out.png").write_text("mine"), "out.png is there, and not from an earlier run"),
        (".", lambda: None, "is where this command runs and can't be replaced; name a folder in it"),
        ("..", lambda: None, "is where this command runs and can't be replaced; name a folder in it"),
        ("/", lambda: None, "is where this command runs and can't be replaced; name a folder in it"),
    ],
)
def test_what_is_not_an_earlier_result_is_refused_and_untouched(
    target: str, make: Callable[[], object], message: str, decoder: Decoder, here: Path
) -> None:
    make()
    before = (names_in(here), bytes_of(here))
    with pytest.raises(OutputError, match=message) as refusal:
        run(decoder, target)
    assert "\n" not in str(refusal.value)
    assert (names_in(here), bytes_of(here)) == before


@pytest.mark.parametrize("target", ["out", "x.npy"])
def test_the_result_of_another_job_is_refused(target: str, decoder: Decoder, here: Path) -> None:
    run(decoder, target)
    before = bytes_of(here)
    with pytest.raises(OutputError, match=f"{target} is there, and not an earlier result of `vae encode`"):
        open_target(target).refuse_others("encode", picture=False, resuming=False)
    assert bytes_of(here) == before


@pytest.mark.parametrize("target", ["out", "x.npy", "x.npz"])
def test_an_earlier_result_is_replaced_whole(
    target: str, decoder: Decoder, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(decoder, target, prior(9, 1, 2))
    run(decoder, target)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run(decoder, target)
    assert bytes_of(here) == bytes_of(tmp_path / "elsewhere")


def test_an_empty_folder_is_filled_and_folders_above_are_made(decoder: Decoder, here: Path) -> None:
    Path("out").mkdir()
    run(decoder, "out")
    run(decoder, "a/b/out")
    assert bytes_of(here / "out") == bytes_of(here / "a/b/out")


@pytest.mark.parametrize("target", ["out", "x.npy"])
def test_a_link_stays_one(target: str, decoder: Decoder, here: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    Path(target).symlink_to(tmp_path / "disk" / target)
    for _ in range(2):
        run(decoder, target)
    assert Path(target).is_symlink()
    assert names_in(here) == [target]
    assert target in names_in(tmp_path / "disk")
    assert not [name for name in names_in(tmp_path / "disk") if name.endswith(".partial")]


def test_the_formats_of_one_job_replace_each_other(decoder: Decoder) -> None:
    run(decoder, "out", format_="png")
    run(decoder, "out")
    assert names_in(Path("out")) == ["_manifest.json", "part-00000.parquet"]


@pytest.mark.parametrize("format_", ["parquet", "png"])
def test_a_store_gets_what_a_folder_would(format_: str, decoder: Decoder, store: str, here: Path) -> None:
    summary = run(decoder, f"{store}/out", format_=format_)
    assert names_in(here) == []
    run(decoder, "out", format_=format_)
    assert stored(store) == bytes_of(here)
    assert summary.output == f"{store}/out"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_store_gets_a_single_file(name: str, decoder: Decoder, store: str, here: Path) -> None:
    run(decoder, f"{store}/{name}")
    assert names_in(here) == []
    run(decoder, name)
    assert stored(store) == bytes_of(here)
    assert sorted(stored(store)) == [name, f"{name}.manifest.json", f"{name}.png"]


def test_a_store_gets_the_list_of_rows_that_were_set_aside(decoder: Decoder, store: str, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.array([[0, 0], [np.nan, 0], [1, 1]], np.float32))
    latents = open_latents(tmp_path / "z.npy", 2)
    for target in ("out", "x.npy"):
        generate(decoder, latents, open_target(f"{store}/{target}"), Options(on_error="quarantine"))
    files = stored(store)
    assert json.loads(files["out/_quarantine.jsonl"]) == json.loads(files["x.npy.quarantine.jsonl"])
    assert json.loads(files["out/_quarantine.jsonl"])["index"] == 1


@pytest.mark.parametrize("there", ["out/thesis.txt", "out.png", "out"])
def test_what_lies_on_a_store_is_refused_and_untouched(there: str, decoder: Decoder, store: str, here: Path) -> None:
    system, root = fsspec.url_to_fs(store)
    system.pipe(f"{root}/{there}", b"mine")
    with pytest.raises(OutputError, match=r"out(\.png)? is there; delete it, or choose another output for `vae gen"):
        run(decoder, f"{store}/out")
    assert stored(store) == {there: b"mine"}
    assert names_in(here) == []


def test_a_store_that_cannot_be_asked_is_one_line(decoder: Decoder, here: Path) -> None:
    with pytest.raises(DataError, match=r"ftp://localhost:9/out can't be reached: Connection refused; check") as no:
        run(decoder, "ftp://localhost:9/out")  # where nobody listens
    assert "\n" not in str(no.value)
    assert names_in(here) == []


def test_a_store_that_fails_is_one_line(decoder: Decoder, here: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        OutputError, match=r"cannot write .*/file/\.out\.partial/job\.json: Not a directory; free some space"
    ) as no:
        run(decoder, f"file://{tmp_path}/file/out")
    assert "\n" not in str(no.value)
    assert names_in(here) == []


class Latents(LatentSource):
    """Latents in memory, which break off at a row."""

    def __init__(self, z: NDArray[np.float32], breaks_at: int | None = None) -> None:
        self.name, self.count, self._z, self._breaks_at = "z", len(z), z, breaks_at

    def state(self) -> str:
        return "the same latents"

    def load(self, start: int, stop: int) -> Callable[[], Loaded]:
        if start == self._breaks_at:
            raise DataError("the latents broke off")
        return lambda: Loaded(self._z[start:stop])


LONG = np.resize(np.float32([[0, 1], [2, 3], [-1, 1]]), (65_541, 2))  # two parts


@pytest.mark.parametrize("name", ["out", "x.npy"])
def test_a_job_on_a_store_resumes_with_the_parts_that_were_finished(
    name: str, decoder: Decoder, store: str, here: Path
) -> None:
    with pytest.raises(DataError, match="broke off"):
        run(decoder, f"{store}/{name}", Latents(LONG, breaks_at=65_536))
    part = "out/part-00000.parquet" if name == "out" else ".x.npy.partial/parts/part-00000.npz"
    work = f".{name}.partial"
    assert sorted(stored(store)) == sorted(
        [f"{work}/job.json", f"{work}/picture.png", f"{work}/records/part-00000.json", part]
    )
    summary = run(decoder, f"{store}/{name}", Latents(LONG))
    assert (summary.resumed_parts, summary.rows) == (1, 65_541)
    assert names_in(here) == []  # whoever goes on may be another machine
    run(decoder, name, Latents(LONG))
    assert stored(store) == bytes_of(here)
    found = pixels_of(pq.read_table("out")["image"]) if name == "out" else np.load("x.npy")
    assert np.array_equal(found, np.resize(decoder.pixels(LONG[:3]), (65_541, 28, 28)))


@pytest.mark.parametrize("name", ["out", "x.npy"])
def test_a_job_on_a_store_that_fails_before_a_part_is_finished_leaves_nothing(
    name: str, decoder: Decoder, store: str, here: Path
) -> None:
    fsspec.open(f"{store}/other/out/thesis.txt", "wb").open().close()
    with pytest.raises(DataError, match="broke off"):
        run(decoder, f"{store}/{name}", Latents(LONG, breaks_at=4096))
    assert stored(store) == {"other/out/thesis.txt": b""}
    assert names_in(here) == []


@pytest.mark.parametrize("name", ["out", "x.npy"])
def test_what_was_put_on_a_store_without_a_record_is_taken_over(name: str, decoder: Decoder, store: str) -> None:
    """As by a machine that is lost between the two."""
    with pytest.raises(DataError, match="broke off"):
        run(decoder, f"{store}/{name}", Latents(LONG, breaks_at=65_536))
    files, root = fsspec.url_to_fs(store)
    files.rm(f"{root}/.{name}.partial/records/part-00000.json")
    assert run(decoder, f"{store}/{name}", Latents(LONG)).resumed_parts == 0
    run(decoder, name, Latents(LONG))
    assert stored(store) == bytes_of(Path())


def test_a_job_that_ends_between_its_manifest_and_its_workspace_is_done_when_it_is_run_again(
    decoder: Decoder, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: Workspace) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "remove", ended)
        with pytest.raises(KeyboardInterrupt):
            run(decoder, f"{store}/out", Latents(LONG))
    assert "out/_manifest.json" in stored(store)
    assert run(decoder, f"{store}/out", Latents(LONG)).resumed_parts == 2
    run(decoder, "out", Latents(LONG))
    assert stored(store) == bytes_of(Path())


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("where", ["disk", "store"])
def test_the_files_of_a_large_result_are_listed_in_one_of_their_own(
    where: str, most: int, decoder: Decoder, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(result: str) -> dict[str, bytes]:
        return stored(f"{store}/{result}") if where == "store" else bytes_of(Path(result))

    above = f"{store}/" if where == "store" else ""
    run(decoder, f"{above}usual", Latents(LONG))
    monkeypatch.setattr("pipeline.jobs.target._MOST_LISTED", most)
    run(decoder, f"{above}out", Latents(LONG))
    usual, found = content("usual"), content("out")
    listed = json.loads(usual["_manifest.json"])["files"]
    assert [entry["file"] for entry in listed] == ["part-00000.parquet", "part-00001.parquet"]
    manifest = json.loads(found["_manifest.json"])
    if most == 2:
        assert found == usual
        return
    lines = found.pop("_files.jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == listed
    digest = xxhash.xxh3_128_hexdigest(lines)
    assert manifest["files"] == {"file": "_files.jsonl", "lines": 2, "bytes": len(lines), "xxh3_128": digest}
    assert {**manifest, "files": listed} == json.loads(usual["_manifest.json"])
    assert sorted(found) == sorted(usual)


def test_the_list_of_files_of_an_earlier_result_does_not_stay(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.jobs.target._MOST_LISTED", 1)
        run(decoder, "out", Latents(LONG))
    assert Path("out/_files.jsonl").exists()
    run(decoder, "out")
    assert names_in(Path("out")) == ["_manifest.json", "part-00000.parquet"]


def test_a_part_that_was_replaced_on_the_store_is_made_again(decoder: Decoder, store: str) -> None:
    """Even by one of the same size."""
    with pytest.raises(DataError, match="broke off"):
        run(decoder, f"{store}/out", Latents(LONG, breaks_at=65_536))
    sent = stored(store)["out/part-00000.parquet"]
    files, root = fsspec.url_to_fs(store)
    files.pipe_file(f"{root}/out/part-00000.parquet", bytes(len(sent)))
    assert run(decoder, f"{store}/out", Latents(LONG)).resumed_parts == 0
    assert stored(store)["out/part-00000.parquet"] == sent


def test_readers_of_whole_folders_take_the_result(decoder: Decoder) -> None:
    run(decoder, "out")
    assert pq.read_table("out").num_rows == 5
