import hashlib
import io
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.jobs.parts import (
    NPY,
    NPZ,
    PARQUET,
    PNG,
    Columns,
    measure_part,
    part_name,
    read_part,
    write_npy,
    write_npz,
    write_part,
)
from tests.conftest import bytes_of, names_in


def rows(start: int = 0, stop: int = 6) -> Columns:
    """Every column but pictures; row i depends on i alone."""
    index = np.arange(start, stop, dtype=np.int64)
    return {
        "index": index,
        "label": (index % 11 - 1).astype(np.int16),
        "z": np.stack([index, -index], axis=1).astype(np.float32),
        "image": (index[:, None] + np.arange(784)).astype(np.uint8).reshape(-1, 28, 28),
    }


def written(folder: Path, pieces: list[Columns], format_: str = PARQUET, number: int = 0) -> Path:
    path = folder / part_name(number, format_)
    write_part(path, format_, pieces, {"model_sha256": "ab" * 32})
    return path


@pytest.mark.parametrize(
    ("format_", "name"),
    [(PARQUET, "part-00012.parquet"), (PNG, "part-00012"), (NPY, "part-00012.npz"), (NPZ, "part-00012.npz")],
)
def test_part_name(format_: str, name: str) -> None:
    assert part_name(12, format_) == name


@given(st.lists(st.integers(0, 99_999), unique=True))
def test_parts_sort_by_name_as_by_number(numbers: list[int]) -> None:
    assert sorted(part_name(n, PARQUET) for n in numbers) == [part_name(n, PARQUET) for n in sorted(numbers)]


def test_a_parquet_part_has_exact_types_one_row_group_and_its_metadata(tmp_path: Path) -> None:
    file = pq.ParquetFile(written(tmp_path, [rows(0, 4), rows(4, 6)]))
    assert file.schema_arrow.equals(
        pa.schema(
            [
                ("index", pa.int64()),
                ("label", pa.uint8()),
                ("z", pa.list_(pa.float32(), 2)),
                ("image", pa.binary(784)),
            ]
        )
    )
    assert file.num_row_groups == 1
    assert file.schema_arrow.metadata == {b"model_sha256": b"ab" * 32}


def test_a_parquet_part_holds_the_rows_and_no_label_is_null(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path, [rows(0, 4), rows(4, 13)]))
    assert table["index"].to_pylist() == list(range(13))
    assert table["label"].to_pylist() == [None, *range(10), None, 0]
    assert table["z"].to_pylist() == [[i, -i] for i in range(13)]
    assert table["image"].to_pylist() == [image.tobytes() for image in rows(0, 13)["image"]]


def test_a_parquet_reader_finds_rows_by_their_index_without_reading_all(tmp_path: Path) -> None:
    metadata = pq.ParquetFile(written(tmp_path, [rows(40, 60)])).metadata.row_group(0)
    about = metadata.column(0).statistics
    assert (about.min, about.max) == (40, 59)


@settings(deadline=None)
@given(labels=st.lists(st.integers(-1, 255), max_size=40))
def test_any_labels_come_back(labels: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    columns = {"index": np.arange(len(labels)), "label": np.array(labels, np.int16)}
    read = pq.read_table(written(tmp_path_factory.mktemp("parts"), [columns]))["label"].to_pylist()
    assert read == [None if label < 0 else label for label in labels]


def test_arrays_that_are_not_contiguous_are_written_as_they_read(tmp_path: Path) -> None:
    z, image = np.arange(12, dtype=np.float32).reshape(6, 2), rows()["image"]
    view = {"index": np.arange(3), "z": z[::2, ::-1], "image": image[::2].swapaxes(1, 2)}
    table = pq.read_table(written(tmp_path, [view]))
    assert table["z"].to_pylist() == [[1, 0], [5, 4], [9, 8]]
    assert table["image"].to_pylist() == [one.T.tobytes() for one in image[::2]]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, [rows(0, 4096), rows(4096, 6000)])
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")


def test_pictures_are_files_named_by_the_row(tmp_path: Path) -> None:
    def picture(level: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (28, 28), level).save(file, "PNG")
        return file.getvalue()

    columns = {"index": np.array([7, 65_536]), "png": np.array([picture(1), picture(2)], object)}
    folder = written(tmp_path, [columns], PNG)
    assert names_in(folder) == ["000000007.png", "000065536.png"]
    assert np.unique(np.asarray(Image.open(folder / "000065536.png"))).tolist() == [2]


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 29), max_size=4))
def test_single_files_are_those_that_numpy_reads_and_do_not_depend_on_the_parts(
    cuts: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An .npy file is what `np.save` would write, to the byte."""
    folder = tmp_path_factory.mktemp("parts")
    edges = [0, *sorted(cuts), 30]
    parts = [written(folder, [rows(*edge)], NPZ, number) for number, edge in enumerate(itertools.pairwise(edges))]
    write_npy(folder / "x.npy", parts, "image")
    write_npz(folder / "x.npz", parts)
    np.save(folder / "whole.npy", rows(0, 30)["image"])
    assert (folder / "x.npy").read_bytes() == (folder / "whole.npy").read_bytes()
    with np.load(folder / "x.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {n: c.tolist() for n, c in rows(0, 30).items()}
    whole = written(folder, [rows(0, 30)], NPZ, 99)
    write_npz(folder / "of_one.npz", [whole])
    assert (folder / "of_one.npz").read_bytes() == (folder / "x.npz").read_bytes()


def test_a_part_gives_back_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    part = written(tmp_path, [rows(0, 3), rows(3, 5)], NPY)
    read = read_part(part, ["z", "label"])
    assert list(read) == ["z", "label"]
    assert read["z"].tolist() == rows(0, 5)["z"].tolist()


@settings(deadline=None)
@given(content=st.binary(), times=st.sampled_from([1, 1000, 100_000]))
def test_a_part_is_measured_by_its_size_and_xxh3(
    content: bytes, times: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("parts") / "part"
    path.write_bytes(content * times)
    assert measure_part(path) == (len(content) * times, xxhash.xxh3_128_hexdigest(content * times))


def test_a_folder_is_measured_as_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(hashlib.sha256(name.encode()).digest())
    content = b"".join((tmp_path / name).read_bytes() for name in "abc")
    assert measure_part(tmp_path) == (96, xxhash.xxh3_128_hexdigest(content))
