import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.images import ImageSource, open_images
from pipeline.errors import DataError, FormatError, OutputError
from pipeline.files import sha256
from pipeline.inference import Decoder, Encoder
from pipeline.inference import generate as module
from pipeline.inference.encode import encode
from pipeline.inference.generate import generate, grid_file
from pipeline.inference.grid import tile, to_bytes
from pipeline.inference.latents import LatentSource, choose_latents, manifold, open_latents, prior
from pipeline.inference.parquet import Written
from tests import onnx_models


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def pixels_of(folder: Path) -> NDArray[np.uint8]:
    """uint8 `[n, 28, 28]` from the first part."""
    column = pq.read_table(folder / "part-00000.parquet")["image"].to_pylist()
    return np.frombuffer(b"".join(column), np.uint8).reshape(-1, 28, 28)


def grid_of(folder: Path) -> NDArray[np.uint8]:
    """The sheet, whose pixels the PNG shows twice as large."""
    with Image.open(grid_file(folder)) as png:
        return np.asarray(png)[::2, ::2]


def pile(images: NDArray[np.uint8], count: int) -> ImageSource:
    return ImageSource(Path("images.npy"), count, lambda start, stop: images[start:stop], "")


def write_latents(path: Path, rows: int = 10) -> NDArray[np.float32]:
    z = np.random.default_rng(4).standard_normal((rows, 2), np.float32)
    np.save(path, z)
    return z


def test_images_and_their_latents_in_order(decoder: Decoder, folder: Path) -> None:
    written = generate(decoder, prior(1000, 0, 2), folder, batch_size=300)
    table = pq.read_table(folder / "part-00000.parquet")
    z = prior(1000, 0, 2).read(0, 1000)
    assert written == Written(str(folder), rows=1000, parts=1)
    assert sorted(bytes_of(folder)) == ["part-00000.parquet"]
    assert table["index"].to_pylist() == list(range(1000))
    assert table["z"].to_pylist() == z.tolist()
    assert np.array_equal(pixels_of(folder), to_bytes(decoder(z)))


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_schema_and_metadata(latent_dim: int, folder: Path, tmp_path: Path) -> None:
    decoder = Decoder(onnx_models.save(onnx_models.decoder(latent_dim), tmp_path / "decoder"))
    latents = prior(3, 0, latent_dim)
    generate(decoder, latents, folder)
    schema = pq.read_schema(folder / "part-00000.parquet")
    assert schema.equals(
        pa.schema([("index", pa.int64()), ("z", pa.list_(pa.float32(), latent_dim)), ("image", pa.binary(784))])
    )
    assert schema.metadata == {
        b"model_sha256": sha256(tmp_path / "decoder" / "model.onnx").encode(),
        b"source_sha256": latents.sha256.encode(),
        b"latent_dim": str(latent_dim).encode(),
        b"schema_version": b"1",
    }


def test_equal_bytes_for_every_batch_size_and_number_of_workers(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for workers in (1, 2):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        for batch_size in (1, 7, 512, 4096):
            generate(decoder, prior(1000, 0, 2), tmp_path / "out", batch_size=batch_size)
            results.append(bytes_of(tmp_path / "out"))
    assert all(result == results[0] for result in results)


def test_a_second_part_starts_after_65536_rows(decoder: Decoder, folder: Path) -> None:
    assert generate(decoder, prior(65_537, 0, 2), folder, batch_size=4096).parts == 2
    second = pq.read_table(folder / "part-00001.parquet")
    assert second["index"].to_pylist() == [65_536]
    assert second["z"].to_pylist() == prior(65_537, 0, 2).read(65_536, 65_537).tolist()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (10, 4, 3), (400, 20, 20), (700, 20, 20)])
def test_grid_shows_the_first_400_as_the_parquet_holds_them(
    count: int, columns: int, rows: int, decoder: Decoder, folder: Path
) -> None:
    generate(decoder, prior(count, 0, 2), folder, batch_size=256)
    grid = grid_of(folder)
    assert grid.shape == (rows * 28, columns * 28)
    assert np.array_equal(grid, tile(pixels_of(folder)[:400], columns))


def test_grid_of_a_manifold_has_its_corners_in_place(decoder: Decoder, folder: Path) -> None:
    generate(decoder, manifold(2, 2), folder)
    q = 0.6744898  # the third quartile of N(0, 1)
    corners = to_bytes(decoder(np.array([[-q, q], [q, q], [-q, -q], [q, -q]], np.float32)))
    expected = np.block([[corners[0], corners[1]], [corners[2], corners[3]]])
    assert np.abs(grid_of(folder).astype(int) - expected).max() <= 1  # q is rounded


def test_originals_stand_above_what_was_made_of_them(decoder: Decoder, images: NDArray[np.uint8], folder: Path) -> None:
    generate(decoder, prior(5, 0, 2), folder, originals=pile(images, 6))
    made, grid = pixels_of(folder), grid_of(folder)
    assert grid.shape == (2 * 28, 6 * 28)
    assert np.array_equal(grid[:28, : 5 * 28], np.hstack(list(images[:5])))
    assert np.array_equal(grid[28:, : 5 * 28], np.hstack(list(made)))


def test_a_count_takes_the_first_latents_of_a_file(
    decoder: Decoder, images: NDArray[np.uint8], folder: Path, tmp_path: Path
) -> None:
    z = write_latents(tmp_path / "z.npy")
    latents = choose_latents(2, path=tmp_path / "z.npy", count=4)
    assert generate(decoder, latents, folder, originals=pile(images, 4)).rows == 4
    assert pq.read_table(folder / "part-00000.parquet")["z"].to_pylist() == z[:4].tolist()


def test_fewer_originals_than_latents_are_refused(
    decoder: Decoder, images: NDArray[np.uint8], folder: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", images[:4])
    with pytest.raises(DataError, match=r"images\.npy holds 4 images for 5 latents; one for each is needed"):
        generate(decoder, prior(5, 0, 2), folder, originals=open_images(tmp_path / "images.npy"))
    assert list(folder.parent.iterdir()) == []


def test_a_latent_that_is_not_finite_leaves_nothing(decoder: Decoder, folder: Path, tmp_path: Path) -> None:
    z = write_latents(tmp_path / "z.npy")
    z[7] = np.nan
    np.save(tmp_path / "z.npy", z)
    with pytest.raises(FormatError, match="not finite in row 7"):
        generate(decoder, open_latents(tmp_path / "z.npy", 2), folder, batch_size=2)
    assert list(folder.parent.iterdir()) == []


def test_originals_that_cannot_be_read_leave_nothing(decoder: Decoder, folder: Path, tmp_path: Path) -> None:
    """They are read for the grid, when the images are already written."""
    digits = tmp_path / "digits"
    digits.mkdir()
    (digits / "0.png").write_bytes(b"not a picture")
    with pytest.raises(FormatError, match=r"0\.png is not a readable PNG"):
        generate(decoder, prior(1, 0, 2), folder, originals=open_images(digits))
    assert list(folder.parent.iterdir()) == []


def test_an_earlier_result_is_replaced_whole(decoder: Decoder, folder: Path) -> None:
    generate(decoder, prior(5, 0, 2), folder)
    shutil.copy(folder / "part-00000.parquet", folder / "part-00001.parquet")  # of a longer draw
    fresh = folder.with_name("fresh")
    generate(decoder, prior(6, 1, 2), folder)
    generate(decoder, prior(6, 1, 2), fresh)
    assert bytes_of(folder) == bytes_of(fresh)


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_the_folder_one_stands_in_is_refused(
    output: str, decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"/ already holds|can't be replaced"):
        generate(decoder, prior(5, 0, 2), Path(output))
    assert list(tmp_path.parent.glob(f"{tmp_path.name}*")) == [tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_latents_are_not_replaced_by_images(encoder: Encoder, decoder: Decoder, folder: Path) -> None:
    np.save(folder.parent / "images.npy", np.zeros((3, 28, 28), np.uint8))
    encode(encoder, open_images(folder.parent / "images.npy"), folder)
    with pytest.raises(OutputError, match=r"part-00000\.parquet is not an earlier result of this command"):
        generate(decoder, prior(5, 0, 2), folder)
    assert "z_mean" in pq.read_table(folder).column_names


def test_a_folder_with_other_files_is_refused_and_untouched(decoder: Decoder, folder: Path) -> None:
    folder.mkdir()
    (folder / "digits.png").write_text("mine")
    before = bytes_of(folder)
    with pytest.raises(OutputError, match=r"already holds 'digits.png', .* choose an empty folder"):
        generate(decoder, prior(5, 0, 2), folder)
    assert bytes_of(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_a_picture_of_somebody_else_is_not_replaced(decoder: Decoder, folder: Path) -> None:
    grid_file(folder).write_text("mine")
    with pytest.raises(OutputError, match=r"out\.png is there, and not from an earlier run"):
        generate(decoder, prior(5, 0, 2), folder)
    assert grid_file(folder).read_text() == "mine"


def test_the_result_is_a_folder_that_readers_of_whole_folders_take(decoder: Decoder, folder: Path) -> None:
    generate(decoder, prior(5, 0, 2), folder)
    assert pq.read_table(folder).num_rows == 5


@pytest.mark.parametrize("source", [".", "part-00000.parquet"])
def test_the_latents_are_not_replaced_by_their_images(source: str, decoder: Decoder, folder: Path) -> None:
    generate(decoder, prior(5, 0, 2), folder)
    before = bytes_of(folder)
    latents: LatentSource = open_latents(folder / source, 2)
    with pytest.raises(OutputError, match="out holds the latents to decode; choose another output"):
        generate(decoder, latents, folder)
    assert bytes_of(folder) == before
