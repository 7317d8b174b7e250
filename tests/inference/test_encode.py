import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.images import ImageSource, open_images
from pipeline.errors import FormatError, ModelError, OutputError
from pipeline.files import sha256
from pipeline.inference import Encoder
from pipeline.inference import encode as module
from pipeline.inference.encode import encode
from pipeline.inference.parquet import Written
from tests import onnx_models


@pytest.fixture
def pile(tmp_path: Path, images: NDArray[np.uint8]) -> ImageSource:
    """1,000 images with labels, in files."""
    np.save(tmp_path / "images.npy", images[:1000])
    np.save(tmp_path / "labels.npy", (np.arange(1000) % 10).astype(np.uint8))
    return open_images(tmp_path / "images.npy", tmp_path / "labels.npy")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_latents_of_every_image_in_order(
    encoder: Encoder, pile: ImageSource, images: NDArray[np.uint8], folder: Path
) -> None:
    written = encode(encoder, pile, folder, batch_size=300)
    table = pq.read_table(folder / "part-00000.parquet")
    z_mean, z_log_var = encoder(images[:1000])
    assert written == Written(str(folder), rows=1000, parts=1)
    assert table["index"].to_pylist() == list(range(1000))
    assert table["label"].to_pylist() == [index % 10 for index in range(1000)]
    assert table["z_mean"].to_pylist() == z_mean.tolist()
    assert table["z_log_var"].to_pylist() == z_log_var.tolist()


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_schema_and_metadata(latent_dim: int, pile: ImageSource, folder: Path, tmp_path: Path) -> None:
    encoder = Encoder(onnx_models.save(onnx_models.encoder(latent_dim), tmp_path / "encoder"))
    encode(encoder, pile, folder)
    schema = pq.read_schema(folder / "part-00000.parquet")
    latents = pa.list_(pa.float32(), latent_dim)
    assert schema.equals(
        pa.schema([("index", pa.int64()), ("label", pa.uint8()), ("z_mean", latents), ("z_log_var", latents)])
    )
    assert schema.metadata == {
        b"model_sha256": sha256(tmp_path / "encoder" / "model.onnx").encode(),
        b"source_sha256": sha256(tmp_path / "images.npy").encode(),
        b"latent_dim": str(latent_dim).encode(),
        b"schema_version": b"1",
    }


def test_without_labels_the_column_is_null_and_keeps_its_type(
    encoder: Encoder, pile: ImageSource, folder: Path
) -> None:
    encode(encoder, open_images(pile.path), folder)
    labels = pq.read_table(folder / "part-00000.parquet")["label"]
    assert labels.type == pa.uint8()
    assert labels.null_count == len(labels) == 1000


def test_equal_bytes_for_every_batch_size_and_number_of_workers(
    encoder: Encoder, pile: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for workers in (1, 2):
        monkeypatch.setattr(module, "cores", lambda workers=workers: workers)
        for batch_size in (1, 7, 512, 4096):
            encode(encoder, pile, tmp_path / "out", batch_size)
            results.append(bytes_of(tmp_path / "out"))
    assert all(result == results[0] for result in results)


def test_a_second_part_starts_after_65536_rows(encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    pile = ImageSource(folder, 65_537, lambda start, stop: images[np.arange(start, stop) % 4096], "")
    assert encode(encoder, pile, folder).parts == 2
    first, second = (pq.read_table(file) for file in sorted(folder.iterdir()))
    assert sorted(bytes_of(folder)) == ["part-00000.parquet", "part-00001.parquet"]
    assert first["index"].to_pylist() == list(range(65_536))
    assert second["index"].to_pylist() == [65_536]
    assert second["z_mean"].to_pylist() == encoder(images[:1])[0].tolist()


def test_an_earlier_result_is_replaced_whole(encoder: Encoder, pile: ImageSource, folder: Path) -> None:
    encode(encoder, pile, folder)
    shutil.copy(folder / "part-00000.parquet", folder / "part-00001.parquet")  # of a larger pile
    fresh = folder.with_name("fresh")
    encode(encoder, open_images(pile.path), folder)
    encode(encoder, open_images(pile.path), fresh)
    assert bytes_of(folder) == bytes_of(fresh)


def test_parts_of_somebody_else_are_not_replaced(encoder: Encoder, pile: ImageSource, folder: Path) -> None:
    folder.mkdir()
    pq.write_table(pa.table({"customer": [1, 2, 3]}), folder / "part-00000.parquet")
    with pytest.raises(OutputError, match=r"part-00000\.parquet is not an earlier result of this command"):
        encode(encoder, pile, folder)
    assert pq.read_table(folder).column_names == ["customer"]


def test_a_folder_with_other_files_is_refused_and_untouched(encoder: Encoder, pile: ImageSource, folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"already holds 'thesis.txt', .* choose an empty folder"):
        encode(encoder, pile, folder)
    assert bytes_of(folder) == {"thesis.txt": b"years of work"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_bad_image_in_the_middle_leaves_nothing(
    encoder: Encoder, images: NDArray[np.uint8], folder: Path, tmp_path: Path
) -> None:
    digits = tmp_path / "digits"
    digits.mkdir()
    for number, image in enumerate(images[:9]):
        Image.fromarray(image).save(digits / f"{number}.png")
    Image.new("L", (32, 32)).save(digits / "5.png")
    with pytest.raises(FormatError, match=r"5\.png is 32 x 32 pixels, expected 28 x 28"):
        encode(encoder, open_images(digits), folder, batch_size=2)
    assert list(folder.parent.iterdir()) == []


def test_a_failure_keeps_the_earlier_result(encoder: Encoder, pile: ImageSource, folder: Path, tmp_path: Path) -> None:
    encode(encoder, pile, folder)
    before = bytes_of(folder)
    model = onnx_models.set_constant(onnx_models.encoder(), "z_mean_b", np.full(2, np.inf, np.float32))
    with pytest.raises(ModelError, match="not finite"):
        encode(Encoder(onnx_models.save(model, tmp_path / "broken")), pile, folder)
    assert bytes_of(folder) == before
    assert list(folder.parent.iterdir()) == [folder]
