"""Latents in files of several makers are read as one stream."""

import functools
import http.server
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError, OutputError
from pipeline.inference import Decoder, Encoder
from pipeline.jobs.draws import prior
from pipeline.jobs.encode import encode
from pipeline.jobs.engine import Options
from pipeline.jobs.generate import generate
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LIMIT, LatentSource
from pipeline.jobs.target import open_target
from pipeline.sources.images import open_images
from tests.jobs.test_latents import read_all

Z = np.random.default_rng(3).integers(-1024, 1024, (10, 2)).astype(np.float32) / 512  # float16 holds them all
INDEX = pa.array(range(10), pa.int64())

Write = Callable[[Path], object]


def save_npy(values: object) -> Write:
    return lambda path: np.save(path, np.asarray(values))


def save_npz(*, compressed: bool = False, **arrays: NDArray[np.generic]) -> Write:
    return lambda path: (np.savez_compressed if compressed else np.savez)(path, **arrays)


def save_text(content: str) -> Write:
    return lambda path: path.write_text(content)


def save_parquet(**columns: object) -> Write:
    return lambda path: pq.write_table(pa.table(columns), path, row_group_size=4)


def save_feather(**columns: object) -> Write:
    return lambda path: pa.feather.write_feather(pa.table(columns), path)


def save_stream(**columns: object) -> Write:
    """As the library `datasets` keeps tables."""

    def save(path: Path) -> None:
        table = pa.table(columns)
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)

    return save


def save_parts(*names: str) -> Write:
    """Parquet files below a folder that hold the rows of Z between them."""

    def save(path: Path) -> None:
        for name, rows in zip(names, np.array_split(Z, len(names)), strict=True):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            save_parquet(z=lists(rows))(path / name)

    return save


def save_hive(path: Path) -> None:
    save_parts("part=0/a.parquet", "part=0/b.parquet", "part=1/a.parquet")(path)
    for name in ("_temporary/0.parquet", "part=0/_c.parquet", ".hidden.parquet"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("half")
    (path / "_SUCCESS").touch()


def save_some(suffix: str, save: Callable[[NDArray[np.float32]], Write]) -> Write:
    """A folder of three files."""

    def make(path: Path) -> None:
        path.mkdir()
        for part, rows in enumerate(np.array_split(Z, 3)):
            save(rows)(path / f"{part}{suffix}")

    return make


def lists(rows: object, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(rows if isinstance(rows, list) else np.asarray(rows).tolist(), kind or pa.list_(pa.float32()))


def text(z: NDArray[np.float32], delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in z.tolist())


FILES: dict[str, tuple[str, Write]] = {
    "npy": ("z.npy", save_npy(Z)),
    "npy float16": ("z.npy", save_npy(Z.astype(np.float16))),
    "npy float64": ("z.npy", save_npy(Z.astype(np.float64))),
    "npy big-endian": ("z.npy", save_npy(Z.astype(">f8"))),
    "npy longdouble": ("z.npy", save_npy(Z.astype(np.longdouble))),
    "npy Fortran": ("z.npy", save_npy(np.asfortranarray(Z))),
    "npy Fortran big-endian": ("z.npy", save_npy(np.asfortranarray(Z.astype(">f4")))),
    "npy without suffix": ("z", lambda path: path.write_bytes(_bytes(save_npy(Z), path.with_name("x.npy")))),
    "npy upper case": ("Z.NPY", lambda path: path.write_bytes(_bytes(save_npy(Z), path.with_name("x.npy")))),
    "npz": ("z.npz", save_npz(z=Z)),
    "npz compressed": ("z.npz", save_npz(compressed=True, latents=Z)),
    "npz Fortran": ("z.npz", save_npz(z=np.asfortranarray(Z))),
    "npz of encode": ("z.npz", save_npz(z_log_var=Z * 0, z_mean=Z, index=np.arange(10))),
    "npz, the only one": ("z.npz", save_npz(codes=Z, index=np.arange(10), image=np.zeros((10, 28, 28), np.uint8))),
    "Parquet z": ("z.parquet", save_parquet(z=lists(Z), image=["x"] * 10)),
    "Parquet z_mean": ("z.parquet", save_parquet(z_log_var=lists(Z * 0), z_mean=lists(Z), z=lists(Z * 0))),
    "Parquet float16": ("z.parquet", save_parquet(z=lists(Z.astype(np.float16), pa.list_(pa.float16())))),
    "Parquet float64": ("z.parquet", save_parquet(z=lists(Z, pa.list_(pa.float64())))),
    "Parquet large lists": ("z.parquet", save_parquet(z=lists(Z, pa.large_list(pa.float64())))),
    "Parquet fixed lists": ("z.parquet", save_parquet(z=lists(Z, pa.list_(pa.float32(), 2)))),
    "Parquet decimals": (
        "z.parquet",
        save_parquet(z=lists(Z, pa.list_(pa.float64())).cast(pa.list_(pa.decimal128(20, 9)))),
    ),
    "Parquet tensors": ("z.parquet", save_parquet(z=pa.FixedShapeTensorArray.from_numpy_ndarray(Z))),
    "Parquet columns": ("z.parquet", save_parquet(index=INDEX, z1=Z[:, 1], z0=Z[:, 0])),
    "Parquet columns from 1": ("z.parquet", save_parquet(z_mean_2=Z[:, 1], z_mean_1=Z[:, 0], z_log_var_1=Z[:, 0])),
    "Parquet columns of any name": ("z.parquet", save_parquet(index=INDEX, label=INDEX, x=Z[:, 0], y=Z[:, 1])),
    "Feather": ("z.feather", save_feather(z=lists(Z, pa.list_(pa.float64())))),
    "Arrow stream": ("z.arrow", save_stream(z=lists(Z))),
    "CSV": ("z.csv", save_text(text(Z))),
    "CSV with a header": ("z.csv", save_text("x,y\n" + text(Z))),
    "CSV of pandas": (
        "z.csv",
        save_text(",z0,z1\n" + "".join(f"{n},{x},{y}\n" for n, (x, y) in enumerate(Z.tolist()))),
    ),
    "CSV of Excel": ("z.csv", save_text("\ufeffz0;z1\r\n" + text(Z, ";").replace("\n", "\r\n"))),
    "CSV with blanks": ("z.csv", save_text("\n" + text(Z, ", ") + "\n")),
    "CSV of numpy.savetxt": ("z.csv", lambda path: np.savetxt(path, Z)),
    "TSV": ("z.tsv", save_text(text(Z, "\t"))),
    "folder": ("z", save_parts("a.parquet", "b.parquet", "c.parquet")),
    "folder called like a file": ("z.parquet", save_parts("part-0.parquet", "part-1.parquet")),
    "hive folder": ("z", save_hive),
    "folder of npy": ("z", save_some(".npy", save_npy)),
    "folder of npz": ("z", save_some(".npz", lambda z: save_npz(z=z))),
    "folder of CSV": ("z", save_some(".csv", lambda z: save_text(text(z)))),
}


def _bytes(save: Write, path: Path) -> bytes:
    save(path)
    return path.read_bytes()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The address of a place in memory."""
    yield f"memory://{tmp_path.name}"
    if fsspec.filesystem("memory").exists(f"/{tmp_path.name}"):
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("kind", FILES)
def test_every_file_is_read_from_the_disk_and_from_behind_an_address(kind: str, tmp_path: Path, memory: str) -> None:
    name, make = FILES[kind]
    make(tmp_path / name)
    fsspec.filesystem("memory").put(str(tmp_path / name), f"{memory}/{name}", recursive=True)
    for path in (tmp_path / name, f"{memory}/{name}", f"file://{tmp_path}/{name}"):
        source = open_latents(path, 2)
        assert (source.name, source.count) == (str(path), 10)
        assert read_all(source, 3).tobytes() == Z.tobytes()
        assert read_all(source, 7).tobytes() == Z.tobytes()  # once more
        assert source.read(4, 9)().z.tobytes() == Z[4:9].tobytes()
        assert source.read(4, 9)().z.dtype == np.float32


@pytest.mark.parametrize("kind", FILES)
def test_another_process_reads_on_and_takes_no_more_than_it_was_told(kind: str, tmp_path: Path) -> None:
    name, make = FILES[kind]
    make(tmp_path / name)
    source = open_latents(tmp_path / name, 2, 8)
    source.read(0, 3)()
    again: LatentSource = pickle.loads(pickle.dumps(source))
    assert (again.count, again.state()) == (8, source.state())
    assert again.read(5, 8)().z.tobytes() == Z[5:8].tobytes()


def test_patterns_choose_files(tmp_path: Path, memory: str) -> None:
    make = save_parts("a/0.parquet", "a/1.parquet", "b/0.parquet")
    make(tmp_path / "z")
    fsspec.filesystem("memory").put(str(tmp_path / "z"), f"{memory}/z", recursive=True)
    (tmp_path / "z/note.csv").touch()
    for place in (str(tmp_path), memory):
        assert read_all(open_latents(f"{place}/z/**/0.parquet", 2)).tolist() == [*Z[:4].tolist(), *Z[7:].tolist()]
        assert read_all(open_latents(f"{place}/z/a/*", 2)).tolist() == Z[:7].tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_integers_are_numbers(dtype: type[np.integer], tmp_path: Path) -> None:
    z = np.array([[0, 1], [2, 100]], dtype)
    np.save(tmp_path / "z.npy", z)
    save_parquet(z=lists(z, pa.list_(pa.from_numpy_dtype(dtype))))(tmp_path / "z.parquet")
    for name in ("z.npy", "z.parquet"):
        assert read_all(open_latents(tmp_path / name, 2)).tolist() == z.tolist()


def test_a_single_row_needs_no_axis_of_rows_and_a_single_latent_none_of_latents(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", Z[0])
    assert read_all(open_latents(tmp_path / "z.npy", 2)).tolist() == [Z[0].tolist()]
    np.save(tmp_path / "z.npy", Z[:, 0])
    assert read_all(open_latents(tmp_path / "z.npy", 1)).tolist() == Z[:, :1].tolist()


@settings(deadline=None)
@given(rows=st.tuples(st.integers(0, 9), st.integers(0, 9)), group=st.integers(1, 10))
def test_any_piece_of_any_parts(rows: tuple[int, int], group: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("parts")
    pq.write_table(pa.table({"z": lists(Z[:7])}), folder / "part-00000.parquet", row_group_size=group)
    pq.write_table(pa.table({"z": lists(Z[7:])}), folder / "part-00001.parquet", row_group_size=group)
    start, stop = min(rows), max(rows) + 1
    source = open_latents(folder, 2)
    for _ in range(2):
        assert source.read(start, stop)().z.tobytes() == Z[start:stop].tobytes()


@pytest.mark.parametrize("name", ["z.npy", "z.npz", "z.parquet"])
def test_more_rows_than_are_read_at_once(name: str, tmp_path: Path) -> None:
    z = np.random.default_rng(0).standard_normal((10_000, 2), np.float32)
    save = {".npy": save_npy(z), ".npz": save_npz(compressed=True, z=z), ".parquet": save_parquet(z=list(z))}
    save[Path(name).suffix](tmp_path / name)
    assert read_all(open_latents(tmp_path / name, 2)).tobytes() == z.tobytes()
    assert open_latents(tmp_path / name, 2).read(4999, 9001)().z.tobytes() == z[4999:9001].tobytes()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("kind", ["npy", "npy Fortran", "CSV", "Feather"])
def test_a_server_without_ranges_is_enough(kind: str, tmp_path: Path) -> None:
    name, make = FILES[kind]
    make(tmp_path / name)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_latents(f"http://127.0.0.1:{server.server_port}/{name}?token=a/b", 2)
        assert read_all(source, 3).tobytes() == Z.tobytes()
        assert source.read(6, 9)().z.tobytes() == Z[6:9].tobytes()
        server.shutdown()


def test_what_the_jobs_write_is_read_without_pandas(tmp_path: Path) -> None:
    """Which pyarrow would import where it is installed, as it is here, and takes 0.3 s."""
    for name, kind in (("z.parquet", "Parquet fixed lists"), ("z.npz", "npz")):
        FILES[kind][1](tmp_path / name)
        script = (
            "import sys; from pipeline.jobs.latent_files import open_latents\n"
            f"open_latents('{tmp_path / name}', 2).read(0, 10)()\n"
            "assert 'pandas' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


def test_the_state_of_a_file_changes_with_it_and_not_with_its_place(tmp_path: Path) -> None:
    for name in ("z.npy", "folder/z.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, Z)
        os.utime(tmp_path / name, ns=(0, 0))
    source = open_latents(tmp_path / "z.npy", 2)
    before = source.state()
    assert open_latents(tmp_path / "folder/z.npy", 2).state() == before
    os.utime(tmp_path / "z.npy", ns=(1, 1))
    assert source.state() != before


def test_what_encode_and_generate_wrote(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", images[:600])
    for name in ("encoded", "encoded.npy", "encoded.npz"):
        encode(encoder, open_images(tmp_path / "images.npy"), open_target(tmp_path / name), Options())
        assert read_all(open_latents(tmp_path / name, 2)).tobytes() == encoder(images[:600])[0].tobytes()
    for name in ("generated", "generated.npz"):
        generate(decoder, prior(600, 0, 2), open_target(tmp_path / name), Options())
        assert read_all(open_latents(tmp_path / name, 2)).tobytes() == read_all(prior(600, 0, 2)).tobytes()


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_part_that_is_missing_is_noticed(
    where: str, decoder: Decoder, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {"local": str(tmp_path), "remote": memory}[where]
    for name in ("out", "out.npz"):
        generate(decoder, prior(600, 0, 2), open_target(f"{place}/{name}"), Options())
    system, root = fsspec.url_to_fs(place)
    save_parquet(z=lists(Z))(tmp_path / "few.parquet")
    system.put_file(str(tmp_path / "few.parquet"), f"{root}/out/part-00000.parquet")
    save_npz(z=Z)(tmp_path / "few.npz")
    system.put_file(str(tmp_path / "few.npz"), f"{root}/out.npz")
    for name, about in (("out", "out/_manifest.json"), ("out.npz", "out.npz.manifest.json")):
        with pytest.raises(FormatError, match=f"{name} holds 10 rows, its manifest lists 600; run the job that wrote"):
            open_latents(f"{place}/{name}", 2)
        system.pipe_file(f"{root}/{about}", b"{")
        with pytest.raises(FormatError, match=r"manifest\.json is damaged; run the job that wrote it again"):
            open_latents(f"{place}/{name}", 2)


NOT_FINITE = "a latent is not finite, expected numbers"
BEYOND = "expected -10,000 to 10,000"


@pytest.mark.parametrize(
    ("name", "make", "bad"),
    [
        *(
            (name, lambda path, value=value, save=save: save(path, [[1, 2], [3, value], [5, 6]]), {1: reason})
            for name, save in (
                ("z.npy", lambda path, rows: np.save(path, np.array(rows))),
                ("z.parquet", lambda path, rows: save_parquet(z=lists(rows, pa.list_(pa.float64())))(path)),
                ("z.csv", lambda path, rows: path.write_text(text(np.array(rows)))),
            )
            for value, reason in (
                (np.nan, NOT_FINITE),
                (-np.inf, NOT_FINITE),
                (3e38, f"a latent is 3e+38, {BEYOND}"),
                (-1e300, f"a latent is -1e+300, {BEYOND}"),
            )
        ),
        ("z.npy", save_npy(np.array([[0, -(2**63)]])), {0: f"a latent is -9.22e+18, {BEYOND}"}),
        ("z.npy", save_npy(np.array([[0, 65504]], np.float16)), {0: f"a latent is 6.55e+04, {BEYOND}"}),
        ("z.parquet", save_parquet(z=lists([[1, 2], [3, None]])), {1: NOT_FINITE}),
        ("z.parquet", save_parquet(z=lists([[1, 2], [3, None]], pa.list_(pa.int64(), 2))), {1: NOT_FINITE}),
        ("z.parquet", save_parquet(x=[1, None], y=[3.5, 4.5]), {1: NOT_FINITE}),
        *(
            ("z.parquet", save_parquet(z=lists([[1, 2], None, [4, 5]], kind)), {1: "is null, expected 2 latent(s)"})
            for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.int8()))
        ),
        (
            "z.parquet",  # six numbers, but not two in each row
            save_parquet(z=lists([[1, 2], [3], [4, 5, 6], [], None, [1, 2]])),
            {
                1: "holds 1 latent(s), expected 2",
                2: "holds 3 latent(s), expected 2",
                3: "holds 0 latent(s), expected 2",
                4: "is null, expected 2 latent(s)",
            },
        ),
        ("z.arrow", save_stream(z=lists([[1, 2], None])), {1: "is null, expected 2 latent(s)"}),
        ("z.csv", save_text("1,2\n3,abc\n"), {1: NOT_FINITE}),
        ("z.csv", save_text("z0,z1\n1,2\n3,\n"), {1: NOT_FINITE}),
        (
            "z.csv",
            save_text("1,2\n3\n\n4,5\n6,7,8\n"),
            {1: "holds 1 value(s), expected 2", 3: "holds 3 value(s), expected 2"},
        ),
        ("z.csv", save_text("z0,z1\n1,2\n3\n"), {1: "holds 1 value(s), expected 2"}),
    ],
)
def test_rows_without_latents_are_bad_and_the_others_stay(
    name: str, make: Write, bad: dict[int, str], tmp_path: Path
) -> None:
    make(tmp_path / name)
    source = open_latents(tmp_path / name, 2)
    rows = source.read(0, source.count)()
    assert {one.index: one.reason for one in rows.bad} == bad
    assert [one.name for one in rows.bad] == [f"{tmp_path / name} row {row}" for row in bad]
    assert len(rows.z) == source.count - len(bad)
    assert np.isfinite(rows.z).all()
    assert [one.index for row in bad for one in source.read(row, row + 1)().bad] == list(bad)


def test_a_bad_row_of_a_folder_is_named_by_its_file(tmp_path: Path) -> None:
    save_parts("a.parquet", "b.parquet")(tmp_path / "z")
    save_parquet(z=lists([[0, 0], [1]]))(tmp_path / "z/b.parquet")
    (bad,) = open_latents(tmp_path / "z", 2).read(3, 7)().bad
    assert (bad.index, bad.name) == (6, f"{tmp_path}/z/b.parquet row 1")


def test_the_largest_latents_are_decoded_by_every_precision(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.array([[LIMIT, -LIMIT], [0, LIMIT]]))
    z = read_all(open_latents(tmp_path / "z.npy", 2))
    for precision in ("float32", "int8", "fp16"):
        assert Decoder(bundle / "decoder", precision=precision).pixels(z).shape == (2, 28, 28)


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((10_000, 2), np.float32))
    source = open_latents(tmp_path / "z.npy", 2)
    os.truncate(tmp_path / "z.npy", 80_000)
    assert source.read(0, 4096)().z.shape == (4096, 2)
    with pytest.raises(DataError, match=r"z\.npy ends in row 9,984 of 10,000"):
        source.read(9000, 10_000)


def test_a_file_with_other_rows_than_at_the_start_is_noticed(tmp_path: Path) -> None:
    save_parts("a.parquet", "b.parquet")(tmp_path / "z")
    source = open_latents(tmp_path / "z", 2)
    save_parquet(z=lists(Z))(tmp_path / "z/a.parquet")
    with pytest.raises(FormatError, match=r"a\.parquet holds another number of rows than at the start"):
        source.read(0, 5)
    source = open_latents(tmp_path / "z", 2)
    (tmp_path / "z/a.parquet").unlink()
    with pytest.raises(DataError, match=r"a\.parquet can't be read: it was not found"):
        source.read(0, 5)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)


def test_damage_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "z.parquet"
    save_parquet(z=lists(Z))(path)
    content = bytearray(path.read_bytes())
    content[4:36] = b"x" * 32  # the page's header
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"z\.parquet \(at row 0\) can't be read: .*; mend it or fetch it again"):
        read_all(open_latents(path, 2))
    path = tmp_path / "z.npz"
    save_npz(z=np.zeros((10_000, 2)))(path)
    flip(path, 100_000)
    with pytest.raises(DataError, match=r"z\.npz \(at row 8,192 of 10,000\) can't be read: Bad CRC-32"):
        read_all(open_latents(path, 2))


def leave_out(path: Path) -> None:
    """No file at all."""


def save_bytes(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def save_two_kinds(path: Path) -> None:
    save_parts("a.parquet")(path)
    np.save(path / "b.npy", Z)


ARRAYS = r"expected numbers as \[n, 2\] named z_mean, z or latents, or one such array"
COLUMNS = r"expected z_mean, z or latents as lists of 2 numbers, or 2 column\(s\) of numbers"


@pytest.mark.parametrize(
    ("name", "make", "error", "message"),
    [
        ("z.npy", leave_out, DataError, "was not found; expected latents as"),
        ("*.npy", leave_out, DataError, "holds no latents; expected latents as"),
        ("z.npy", save_npy(Z[:, :1]), FormatError, r"holds float32\[10, 1\], expected numbers as \[n, 2\]"),
        ("z.npy", save_npy(Z[:5, 0]), FormatError, r"holds float32\[5\], expected numbers as \[n, 2\]"),
        ("z.npy", save_npy(Z[None]), FormatError, r"holds float32\[1, 10, 2\], expected numbers"),
        ("z.npy", save_npy(1.0), FormatError, r"holds float64\[\], expected numbers"),
        ("z.npy", save_npy(Z > 0), FormatError, r"holds bool\[10, 2\], expected numbers"),
        ("z.npy", save_npy(Z * 1j), FormatError, r"holds complex64\[10, 2\], expected numbers"),
        ("z.npy", save_npy(Z.astype(str)), FormatError, r"holds text\[10, 2\], expected numbers"),
        ("z.npy", save_npy(Z[:0]), DataError, "holds no latents"),
        ("z.npy", save_npy([[None, None]]), FormatError, r"of plain arrays .pickled objects"),
        ("z.npy", save_bytes(b""), DataError, "of plain arrays .EOF: reading magic string"),
        (
            "z.npy",
            save_bytes(b"PK\x03\x04 an .npz file"),
            DataError,
            "of plain arrays .the magic string is not correct",
        ),
        ("z.npz", save_bytes(b"PK\x03\x04"), DataError, "of plain arrays .File is not a zip file"),
        ("z.npz", save_npz(image=np.zeros((9, 28, 28), np.uint8)), FormatError, rf"holds the arrays image.*; {ARRAYS}"),
        ("z.npz", save_npz(a=Z, b=Z), FormatError, rf"arrays a float32\[10, 2\], b float32\[10, 2\]; {ARRAYS}"),
        ("z.npz", save_npz(z=Z[:, :1], b=Z), FormatError, rf"arrays z float32\[10, 1\], b float32\[10, 2\]; {ARRAYS}"),
        ("z.npz", save_npz(z_log_var=Z), FormatError, rf"arrays z_log_var float32\[10, 2\]; {ARRAYS}"),
        ("z.npz", save_npz(), FormatError, f"holds the arrays none; {ARRAYS}"),
        ("z.parquet", save_bytes(b""), DataError, "can't be read: "),
        ("z.parquet", save_bytes(b"1.0,2.0\n" * 9), DataError, "can't be read: Parquet magic bytes not found"),
        ("z.parquet", save_parquet(z=lists([], pa.list_(pa.float32(), 2))), DataError, "holds no latents"),
        ("z.parquet", save_parquet(z=lists([[1]], pa.list_(pa.float32(), 1))), FormatError, rf"\[1\]; {COLUMNS}"),
        ("z.parquet", save_parquet(z=[["a", "b"]]), FormatError, rf"z: list<element: string>; {COLUMNS}"),
        ("z.parquet", save_parquet(z=[[[1, 2]]]), FormatError, rf"z: list<element: list<.*; {COLUMNS}"),
        ("z.parquet", save_parquet(mu=lists([[1, 2]])), FormatError, rf"the columns mu: list<.*; {COLUMNS}"),
        ("z.parquet", save_parquet(z0=[1], z1=[1], z2=[2]), FormatError, rf"z0: int64, .*; {COLUMNS}"),
        ("z.parquet", save_parquet(x=[1], y=["a"]), FormatError, rf"x: int64, y: string; {COLUMNS}"),
        ("z.parquet", save_parquet(index=[0], excess=[1.0], percentile=[2.0]), FormatError, rf"excess: .*; {COLUMNS}"),
        ("z.parquet", save_parquet(x=[True], y=[False]), FormatError, rf"x: bool, y: bool; {COLUMNS}"),
        ("z.arrow", save_bytes(b"ARROW1"), DataError, "can't be read: "),
        ("z.csv", save_bytes(b""), DataError, "holds no latents"),
        ("z.csv", save_text("z0,z1\n"), DataError, "holds no latents"),
        ("z.csv", save_text("1,2,3\n"), FormatError, rf"f0: int64, f1: int64, f2: int64; {COLUMNS}"),
        ("z.csv", save_text("one,two\nthree,four\n"), FormatError, rf"one: string, two: string; {COLUMNS}"),
        ("z.txt", save_text("1,2\n"), FormatError, r"begins with b'1,2\\n'; expected latents as"),
        ("folder", lambda path: path.mkdir(), DataError, "holds no latents; expected latents as"),
        ("folder", save_two_kinds, DataError, r"holds .npy and Parquet files; choose with a pattern like \*\.npy"),
    ],
)
def test_other_files_are_refused_in_one_line(
    name: str, make: Write, error: type[DataError], message: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(error, match=message) as refusal:
        open_latents(tmp_path / name, 2)
    assert str(refusal.value).startswith(f"{tmp_path / name} ")
    assert "\n" not in str(refusal.value)


def test_an_array_that_is_shorter_or_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "z.npy"
    np.save(path, Z)
    content = path.read_bytes()
    for other, size in ((content[:-8], 18), (content + b"1234", 21)):
        path.write_bytes(other)
        with pytest.raises(FormatError, match=rf"declares 20 elements \(10, 2\) and holds {size}; fetch it again"):
            open_latents(path, 2)


def test_latents_in_the_way_of_the_result_are_not_replaced_though_a_pattern_names_them(
    decoder: Decoder, folder: Path
) -> None:
    generate(decoder, prior(5, 0, 2), open_target(folder), Options())
    with pytest.raises(OutputError, match="out holds what is to be read"):
        generate(decoder, open_latents(f"{folder}/*.parquet", 2), open_target(folder), Options())
