import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.inference import parquet
from pipeline.inference.parquet import ROWS_PER_PART, Metadata, batches, pixels, vectors, write_parts

METADATA = Metadata(model_sha256="ab" * 32, source_sha256="cd" * 32, latent_dim=2)


def table(start: int, stop: int) -> pa.Table:
    return pa.table({"index": pa.array(np.arange(start, stop))})


@given(count=st.integers(0, 300_000), size=st.integers(400, 200_000))
def test_batches_cover_every_row_in_order_and_cross_no_part(count: int, size: int) -> None:
    rows = list(batches(count, size))
    edges = [0, *(stop for _, stop in rows)]
    assert rows == list(itertools.pairwise(edges))
    assert edges[-1] == count
    assert all(0 < stop - start <= size for start, stop in rows)
    assert set(range(0, count, ROWS_PER_PART)) <= set(edges)


def test_vectors_are_fixed_size_lists_of_float32() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    array = vectors(values)
    assert array.type == pa.list_(pa.float32(), 2)
    assert array.to_pylist() == values.tolist()


@pytest.mark.parametrize("step", [1, 2])
def test_pixels_are_784_bytes_row_by_row(step: int, images: NDArray[np.uint8]) -> None:
    array = pixels(images[:6:step])  # every second image does not lie in one piece of memory
    assert array.type == pa.binary(784)
    assert array.to_pylist() == [image.tobytes() for image in images[:6:step]]


def test_a_part_ends_where_the_constant_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_PART", 4)
    told: list[int] = []
    parts = write_parts(tmp_path, (table(*rows) for rows in batches(10, 3)), METADATA, told.append)
    files = sorted(tmp_path.iterdir())
    assert parts == 3
    assert [file.name for file in files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [pq.read_table(file)["index"].to_pylist() for file in files] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert told == [3, 1, 3, 1, 2]


def test_no_part_is_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_PART", 4)
    assert write_parts(tmp_path, (table(*rows) for rows in batches(8, 4)), METADATA, lambda _: None) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_metadata_name_the_origin_and_the_schema(tmp_path: Path) -> None:
    write_parts(tmp_path, [table(0, 3)], METADATA, lambda _: None)
    metadata = pq.read_schema(tmp_path / "part-00000.parquet").metadata
    assert metadata == {
        b"model_sha256": b"ab" * 32,
        b"source_sha256": b"cd" * 32,
        b"latent_dim": b"2",
        b"schema_version": b"1",
    }


@settings(deadline=None)
@given(cuts=st.sets(st.integers(1, 2999), max_size=20))
def test_bytes_do_not_depend_on_how_the_tables_are_cut(
    cuts: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    rows = itertools.pairwise([0, *sorted(cuts), 3000])
    for name, tables in (("cut", (table(*piece) for piece in rows)), ("whole", [table(0, 3000)])):
        (folder / name).mkdir()
        write_parts(folder / name, tables, METADATA, lambda _: None)
    part = "part-00000.parquet"
    assert (folder / "cut" / part).read_bytes() == (folder / "whole" / part).read_bytes()
