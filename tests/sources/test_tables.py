"""Parquet files of several makers are read as one stream."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import ImageSource, Pixels, open_images
from tests.sources.piles import bad_of, column, labels_of, pixels_of, png, read_all, write


def opened(path: Path, **columns: pa.Array | list[object]) -> ImageSource:
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return open_images(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pile.parquet"


def test_what_this_pipeline_generates_is_read(images: Pixels, path: Path) -> None:
    latents = pa.array([[0.5, 1.5]] * 9, pa.list_(pa.float32(), 2))
    source = opened(path, index=pa.array(range(9), pa.int64()), z=latents, image=column("binary", images))
    assert not source.labelled
    assert np.array_equal(pixels_of(read_all(source, 5)), images)


def test_what_hugging_face_writes_is_read(images: Pixels, path: Path) -> None:
    pictures = [{"bytes": png(image), "path": f"{number}.png"} for number, image in enumerate(images)]
    pictures[3], pictures[5]["bytes"] = None, None
    stretches = read_all(opened(path, image=pa.array(pictures), label=list(range(9))), 5)
    assert np.array_equal(pixels_of(stretches), images[[0, 1, 2, 4, 6, 7, 8]])
    assert labels_of(stretches) == [0, 1, 2, 4, 6, 7, 8]
    assert bad_of(stretches) == {row: f"pile.parquet row {row} is null, expected an image" for row in (3, 5)}


def test_the_only_column_of_images_needs_no_name(images: Pixels, path: Path) -> None:
    stretches = read_all(opened(path, pixels=column("variable", images), text=["a"] * 9))
    assert np.array_equal(pixels_of(stretches), images)


def test_a_table_must_say_which_column_holds_the_images(images: Pixels, path: Path) -> None:
    with pytest.raises(FormatError, match=r"has the columns a: int64, b: string; expected one column `image` of 784"):
        opened(path, a=[1], b=["x"])
    with pytest.raises(FormatError, match="has the columns a: "):
        opened(path, a=column("binary", images), b=column("list", images))
    with pytest.raises(FormatError, match="image: list<element: binary>"):
        opened(path, image=[[b"x"]])
    with pytest.raises(FormatError, match="image: list<element: list<element: list<element: list<"):
        opened(path, image=[[[[[1]]]]])


@pytest.mark.parametrize("kind", ["binary", "variable", "list", "nested", "encoded", "struct"])
def test_nulls_are_bad_rows(kind: str, images: Pixels, path: Path) -> None:
    good = column(kind, images)
    holes = pa.array([row if row % 3 else None for row in range(9)], pa.int64())
    stretches = read_all(opened(path, image=good.take(holes), label=pa.array(range(9))), 4)
    assert np.array_equal(pixels_of(stretches), images[[1, 2, 4, 5, 7, 8]])
    assert labels_of(stretches) == [1, 2, 4, 5, 7, 8]
    assert list(bad_of(stretches)) == [0, 3, 6]
    assert all(len(rows.images) == rows.stop - rows.start - len(rows.bad) for rows in stretches)


@pytest.mark.parametrize("kind", ["list", "large", "fixed", "nested", "int64", "tensor"])
def test_lists_of_numbers_are_images(kind: str, images: Pixels, path: Path) -> None:
    flat = pa.array(images.reshape(-1))
    numbers = {
        "list": pa.array(images.reshape(9, -1).tolist(), pa.list_(pa.uint8())),
        "large": pa.array(images.reshape(9, -1).tolist(), pa.large_list(pa.uint16())),
        "fixed": pa.FixedSizeListArray.from_arrays(flat, 784),
        "nested": pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8()))),
        "int64": pa.array(images.reshape(9, -1).tolist()),
        "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
    }
    source = opened(path, image=numbers[kind])
    assert np.array_equal(pixels_of(read_all(source, 7)), images)


def test_wrong_lists_are_bad_rows(images: Pixels, path: Path) -> None:
    rows = [images[row].reshape(-1).tolist() for row in range(6)]
    rows[1], rows[2][7], rows[3][0], rows[4][783] = [1, 2], 256, -1, None
    with pytest.raises(
        FormatError, match=r"holds values from -1 to 256, expected 0 to 1 or 0 to 255; .* --range=-1..256"
    ):
        opened(path, image=rows)
    assert bad_of(read_all(open_images(path, value_range=(0, 255)))) == {
        1: "pile.parquet row 1 holds 2 numbers; expected 784",
        2: "pile.parquet row 2 holds a value outside 0 to 255, the range that --range sets, or none",
        3: "pile.parquet row 3 holds a value outside 0 to 255, the range that --range sets, or none",
        4: "pile.parquet row 4 holds a null, expected 784 numbers",
    }
    nested = [images[row].tolist() for row in range(6)]
    nested[1], nested[2][3], nested[4] = nested[1][1:], nested[2][3] + [1], np.zeros((14, 56), int).tolist()
    nested[5][2] = None
    assert {
        row: reason.split(" holds ")[1] for row, reason in bad_of(read_all(opened(path, image=nested))).items()
    } == {
        1: "756 numbers, or not as 28 rows of 28; expected 784",
        2: "785 numbers, or not as 28 rows of 28; expected 784",
        4: "784 numbers, or not as 28 rows of 28; expected 784",
        5: "756 numbers, or not as 28 rows of 28; expected 784",
    }


def test_bytes_may_be_pixels_or_pictures_row_by_row(images: Pixels, path: Path) -> None:
    begins_like_a_jpeg = images[0].copy()
    begins_like_a_jpeg[0, :3] = 0xFF, 0xD8, 0xFF
    contents = [begins_like_a_jpeg.tobytes(), png(images[1]), b"short", png(images[2])[:-5], b""]
    stretches = read_all(opened(path, image=pa.array(contents, pa.large_binary())))
    assert np.array_equal(pixels_of(stretches), [begins_like_a_jpeg, images[1]])
    assert bad_of(stretches) == {
        2: "pile.parquet row 2 holds 5 bytes, expected 784 or a PNG or JPEG picture",
        3: "pile.parquet row 3 is truncated, expected a whole PNG, JPEG, WebP, BMP, TIFF or GIF picture",
        4: "pile.parquet row 4 holds 0 bytes, expected 784 or a PNG or JPEG picture",
    }


@pytest.mark.parametrize("resize", [True, False])
def test_bytes_may_be_the_pixels_of_a_square_of_another_size(resize: bool, images: Pixels, path: Path) -> None:
    large = images[2].repeat(2, axis=0).repeat(2, axis=1)
    contents = [images[0].tobytes(), large.tobytes(), bytes(785), bytes(27 * 27), None]
    pq.write_table(pa.table({"image": pa.array(contents, pa.binary())}), path)
    with open_images(path, resize=resize) as source:
        stretches = read_all(source)
    assert np.array_equal(pixels_of(stretches), images[[0, 2]] if resize else images[[0]])
    refused = bad_of(stretches)
    assert refused.keys() == ({2, 3, 4} if resize else {1, 2, 3, 4})
    assert refused[2] == "pile.parquet row 2 holds 785 bytes, expected 784 or a PNG or JPEG picture"
    if not resize:
        assert (
            "holds 3,136 bytes, expected 784 or a PNG or JPEG picture; if these are its pixels, it is 56 x"
            in refused[1]
        )


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64(), pa.int64()])
def test_labels_are_integers_of_any_width(kind: pa.DataType, images: Pixels, path: Path) -> None:
    labels = pa.array([0, 1, None, 100, 4, 5, 6, 7, 8], kind)
    stretches = read_all(opened(path, image=column("binary", images), label=labels), 4)
    assert labels_of(stretches) == [0, 1, -1, 100, 4, 5, 6, 7, 8]


def test_other_labels_are_bad_rows(images: Pixels, path: Path) -> None:
    stretches = read_all(opened(path, image=column("binary", images[:3]), label=[-1, 256, -2]))
    assert labels_of(stretches) == [-1]  # Hugging Face's sign for no label
    assert bad_of(stretches) == {
        1: "pile.parquet row 1 has the label 256, expected 0 to 255",
        2: "pile.parquet row 2 has the label -2, expected 0 to 255",
    }


def test_labels_of_another_type_are_refused_unless_others_are_given(images: Pixels, path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"has labels of type list.* in column label, expected whole numbers or words"
    ):
        opened(path, image=column("binary", images), label=[["a"]] * 9)
    assert labels_of(read_all(open_images(path, labels_from="none"))) is None
    others = write(path.with_name("labels.npy"), np.arange(9, dtype=np.uint8))
    assert labels_of(read_all(open_images(path, others))) == list(range(9))


def test_row_groups_and_files_are_jumped_over(path: Path) -> None:
    images = np.zeros((20_000, 28, 28), np.uint8)
    images[:, 0, :2] = np.arange(20_000)[:, None] // (1, 256) % 256
    for part in range(2):
        table = pa.table({"image": column("binary", images[part * 10_000 :][:10_000])})
        pq.write_table(table, path.with_name(f"{part}.parquet"), row_group_size=3000)
    with open_images(path.parent) as source:
        assert source.count == 20_000
        for start, stop in ((0, 5), (5, 7), (4000, 4001), (9000, 10_100), (19_000, 20_000)):
            assert np.array_equal(source.read(start, stop)().images, images[start:stop])


@pytest.mark.parametrize("kind", [784, -1])
def test_a_large_row_group_is_never_held_whole(kind: int, path: Path) -> None:
    contents = np.random.default_rng(0).bytes(40_000 * 784)
    images = pa.array([contents[at : at + 784] for at in range(0, len(contents), 784)], pa.binary(kind))
    pq.write_table(pa.table({"image": images}), path, row_group_size=40_000)
    before, peak = pa.total_allocated_bytes(), 0
    with open_images(path) as source:
        for start in range(0, 36_000, 4000):
            assert source.read(start, start + 4000)().images.tobytes() == contents[start * 784 : (start + 4000) * 784]
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < len(contents) / 2


def test_files_of_one_folder_must_agree(images: Pixels, path: Path) -> None:
    pq.write_table(pa.table({"image": column("binary", images)}), path)
    pq.write_table(pa.table({"scan": column("binary", images)}), path.with_name("other.parquet"))
    with pytest.raises(FormatError, match=r"pile\.parquet keeps images in image .*, the file before it in scan"):
        open_images(path.parent)


def test_what_is_no_parquet_is_named(path: Path) -> None:
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"pile\.parquet can't be read: Parquet magic bytes not found"):
        open_images(path)


def test_a_file_that_changes_while_it_is_read_is_named(images: Pixels, path: Path) -> None:
    source = opened(path, image=column("binary", images))
    pq.write_table(pa.table({"image": column("binary", images[:5])}), path)
    with pytest.raises(FormatError, match=r"pile\.parquet holds another number of rows than at the start"):
        read_all(source)
