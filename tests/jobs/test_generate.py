import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError, FormatError, ModelError, OutputError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.session import to_bytes
from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.encode import encode
from pipeline.jobs.engine import Options, Plan, Summary
from pipeline.jobs.generate import generate
from pipeline.jobs.grid import beside_originals, tile
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource
from pipeline.jobs.latents import choose_latents
from pipeline.jobs.reconstruct import reconstruct
from pipeline.jobs.target import open_target
from pipeline.sources.images import open_images
from tests import mixtures, onnx_models
from tests.conftest import bytes_of, names_in, pixels_of
from tests.sources import piles

PLAIN, QUARANTINE = Options(), Options(on_error="quarantine")


def make(
    decoder: Decoder,
    latents: LatentSource,
    output: Path,
    options: Options = PLAIN,
    *,
    originals: Path | None = None,
    format_: str = "auto",
) -> Summary:
    pile = open_images(originals) if originals else None
    summary = generate(decoder, latents, open_target(output, format_), options, originals=pile)
    assert isinstance(summary, Summary)
    return summary


def rebuild(
    encoder: Encoder, decoder: Decoder, pile: Path, output: Path, options: Options = PLAIN, format_: str = "auto"
) -> Summary:
    with open_images(pile) as source:
        summary = reconstruct(encoder, decoder, source, open_target(output, format_), options)
    assert isinstance(summary, Summary)
    return summary


def made(folder: Path) -> NDArray[np.uint8]:
    return pixels_of(pq.read_table(folder)["image"])


def picture_of(folder: Path) -> NDArray[np.uint8]:
    """The sheet, whose pixels the PNG shows twice as large."""
    with Image.open(folder.with_name(f"{folder.name}.png")) as png:
        return np.asarray(png)[::2, ::2]


def write_latents(path: Path, *not_finite: int, rows: int = 10) -> NDArray[np.float32]:
    z = np.random.default_rng(4).standard_normal((rows, 2), np.float32)
    z[list(not_finite), 1] = np.nan
    np.save(path, z)
    return z


def test_images_and_their_latents_in_order_are_those_of_the_network(decoder: Decoder, folder: Path) -> None:
    summary = make(decoder, prior(1000, 0, 2), folder)
    table = pq.read_table(folder)
    z = prior(1000, 0, 2).read(0, 1000)().z
    assert (summary.rows, summary.parts, summary.quarantined) == (1000, 1, 0)
    assert table["index"].to_pylist() == list(range(1000))
    assert table["z"].to_pylist() == z.tolist()
    assert made(folder).tolist() == to_bytes(decoder(z)).tolist()
    grey = 255 * onnx_models.decode_in_numpy(onnx_models.decoder(), z)
    assert np.abs(made(folder) - grey).max() < 0.501


@pytest.mark.parametrize("latent_dim", [1, 20])
def test_schema_and_metadata(latent_dim: int, folder: Path, tmp_path: Path) -> None:
    decoder = Decoder(onnx_models.save(onnx_models.decoder(latent_dim), tmp_path / "decoder"))
    make(decoder, prior(3, 0, latent_dim), folder)
    schema = pq.read_schema(folder / "part-00000.parquet")
    assert schema.equals(
        pa.schema([("index", pa.int64()), ("z", pa.list_(pa.float32(), latent_dim)), ("image", pa.binary(784))])
    )
    assert schema.metadata[b"model_sha256"] == decoder.sha256.encode()
    assert schema.metadata[b"latent_dim"] == str(latent_dim).encode()


def test_the_manifest_names_job_and_model(encoder: Encoder, decoder: Decoder, folder: Path, digits: Path) -> None:
    make(decoder, prior(3, 0, 2), folder)
    manifest = json.loads((folder / "_manifest.json").read_text())
    assert (manifest["job"], manifest["decoder"], manifest["rows"]) == ("generate", decoder.about(), 3)
    rebuild(encoder, decoder, digits, folder.with_name("x.npz"))
    manifest = json.loads(folder.with_name("x.npz.manifest.json").read_text())
    assert (manifest["job"], manifest["format"], manifest["rows"]) == ("reconstruct", "npz", 9)
    assert (manifest["encoder"], manifest["decoder"]) == (encoder.about(), decoder.about())
    assert [file["file"] for file in manifest["files"]] == ["x.npz"]


@pytest.fixture
def digits(folder: Path, images: NDArray[np.uint8]) -> Path:
    """Nine pictures."""
    return piles.write(folder.with_name("folder_of_png"), images[:9])


def test_every_format_holds_the_same_images(decoder: Decoder, folder: Path) -> None:
    for name in ("out", "x.npy", "y.npz"):
        make(decoder, prior(9, 0, 2), folder.with_name(name))
    make(decoder, prior(9, 0, 2), folder.with_name("pictures"), format_="png")
    files = sorted((folder.with_name("pictures") / "part-00000").iterdir())
    assert [file.name for file in files] == [f"{row:09d}.png" for row in range(9)]
    expected = made(folder).tolist()
    assert [np.asarray(Image.open(file)).tolist() for file in files] == expected
    assert np.load(folder.with_name("x.npy")).tolist() == expected
    with np.load(folder.with_name("y.npz")) as found:
        assert sorted(found.files) == ["image", "index", "z"]
        assert found["image"].tolist() == expected
        assert found["z"].tolist() == prior(9, 0, 2).read(0, 9)().z.tolist()


@pytest.mark.parametrize("format_", ["parquet", "png"])
def test_equal_bytes_for_every_batch_size_and_number_of_workers(format_: str, decoder: Decoder, tmp_path: Path) -> None:
    count, results = {"parquet": 5000, "png": 50}[format_], []
    for workers, batch_size in ((1, 1), (2, 7), (1, 512), (2, 4096)):
        place = tmp_path / f"{workers}-{batch_size}"
        one = Decoder(decoder.path, workers=workers, batch_size=batch_size)
        make(one, prior(count, 0, 2), place / "out", Options(), format_=format_)
        results.append(bytes_of(place))
    assert "out.png" in results[0]
    assert all(result == results[0] for result in results)


def test_a_second_part_starts_after_65536_rows(decoder: Decoder, folder: Path) -> None:
    latents = prior(65_541, 0, 2)
    assert make(decoder, latents, folder).parts == 2
    second = pq.read_table(folder / "part-00001.parquet")
    assert second["index"].to_pylist() == list(range(65_536, 65_541))
    assert second["z"].to_pylist() == latents.read(65_536, 65_541)().z.tolist()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (10, 4, 3), (400, 20, 20), (700, 20, 20)])
def test_the_picture_shows_the_first_400(count: int, columns: int, rows: int, decoder: Decoder, folder: Path) -> None:
    summary = make(decoder, prior(count, 0, 2), folder)
    assert Path(summary.picture or "") == folder.with_name("out.png")
    assert picture_of(folder).shape == (rows * 28, columns * 28)
    assert np.array_equal(picture_of(folder), tile(made(folder)[:400], columns))


def test_the_picture_of_a_manifold_has_its_corners_in_place(decoder: Decoder, folder: Path) -> None:
    make(decoder, QuantileGrid(2, 2), folder)
    q = 0.6744898  # the third quartile of N(0, 1)
    corners = to_bytes(decoder(np.array([[-q, q], [q, q], [-q, -q], [q, -q]], np.float32)))
    expected = np.block([[corners[0], corners[1]], [corners[2], corners[3]]])
    assert np.abs(picture_of(folder).astype(int) - expected).max() <= 1  # q is rounded


def test_originals_stand_above_what_was_made_of_them(
    decoder: Decoder, images: NDArray[np.uint8], folder: Path, digits: Path
) -> None:
    make(decoder, prior(5, 0, 2), folder, originals=digits)
    assert picture_of(folder).shape == (2 * 28, 6 * 28)
    assert np.array_equal(picture_of(folder)[:28, : 5 * 28], np.hstack(list(images[:5])))
    assert np.array_equal(picture_of(folder)[28:, : 5 * 28], np.hstack(list(made(folder))))


def test_fewer_originals_than_latents_are_refused(decoder: Decoder, folder: Path, digits: Path) -> None:
    with pytest.raises(DataError, match=r"_png holds 9 images for 10 latents; one for each is needed"):
        make(decoder, prior(10, 0, 2), folder, originals=digits)
    assert names_in(folder.parent) == ["folder_of_png"]


def test_originals_of_latents_that_lack_some_are_refused(
    encoder: Encoder, decoder: Decoder, folder: Path, digits: Path
) -> None:
    (digits / "0003.png").write_bytes(b"not a picture")
    with open_images(digits) as source:
        encode(encoder, source, open_target(folder.with_name("z")), QUARANTINE)
    latents = open_latents(folder.with_name("z"), 2)
    with pytest.raises(DataError, match="z lacks 1 of the images, so that rows don't pair"):
        make(decoder, latents, folder, originals=digits)


def test_draws_of_a_mixture_are_decoded_to_equal_bytes_for_every_batch_size(decoder: Decoder, tmp_path: Path) -> None:
    source = mixture(mixtures.save(tmp_path / "mixture"), 5000, seed=0, latent_dim=2)
    for workers, batch_size in ((1, 7), (2, 512)):
        one = Decoder(decoder.path, workers=workers, batch_size=batch_size)
        make(one, source, tmp_path / str(workers) / "out")
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")
    assert made(tmp_path / "1" / "out").tolist() == decoder.pixels(source.read(0, 5000)().z).tolist()


def test_a_count_takes_the_first_latents_of_a_file(decoder: Decoder, folder: Path) -> None:
    z = write_latents(folder.with_name("z.npy"))
    assert make(decoder, choose_latents(2, path=folder.with_name("z.npy"), count=4), folder).rows == 4
    assert pq.read_table(folder)["z"].to_pylist() == z[:4].tolist()


def test_a_latent_that_is_not_finite_is_named_and_leaves_nothing(decoder: Decoder, folder: Path) -> None:
    write_latents(folder.with_name("z.npy"), 7)
    with pytest.raises(FormatError, match=r"z\.npy row 7: a latent is not finite, .*; --on-error quarantine sets"):
        make(decoder, open_latents(folder.with_name("z.npy"), 2), folder)
    assert names_in(folder.parent) == ["z.npy"]


@pytest.mark.parametrize("name", ["latents", "latents.npy"])
def test_latents_of_which_rows_were_set_aside_do_not_pair_with_their_images(
    name: str, encoder: Encoder, decoder: Decoder, digits: Path, folder: Path
) -> None:
    (digits / "0004.png").write_bytes(b"not a picture")
    with open_images(digits) as source:
        encode(encoder, source, open_target(folder.with_name(name)), QUARANTINE)
    with pytest.raises(DataError, match=f"{name} lacks 1 of the images, so that rows don't pair"):
        make(decoder, open_latents(folder.with_name(name), 2), folder, originals=digits)


def test_each_original_stands_above_its_own_image_though_rows_are_set_aside(
    decoder: Decoder, images: NDArray[np.uint8], folder: Path
) -> None:
    z = write_latents(folder.with_name("z.npy"), 0, 3)
    np.save(folder.with_name("images.npy"), images[:10])
    latents = open_latents(folder.with_name("z.npy"), 2)
    make(decoder, latents, folder, QUARANTINE, originals=folder.with_name("images.npy"))
    good = [1, 2, 4, 5, 6, 7, 8, 9]
    assert np.array_equal(picture_of(folder), beside_originals(images[good], decoder.pixels(z[good]), columns=6))


@pytest.mark.parametrize("format_", ["parquet", "png"])
def test_nothing_but_bad_rows_is_an_empty_result(format_: str, decoder: Decoder, folder: Path) -> None:
    write_latents(folder.with_name("z.npy"), *range(10))
    summary = make(decoder, open_latents(folder.with_name("z.npy"), 2), folder, QUARANTINE, format_=format_)
    assert (summary.rows, summary.quarantined) == (0, 10)
    assert picture_of(folder).max() == 0


@pytest.mark.parametrize("format_", ["parquet", "png"])
@settings(deadline=None, max_examples=6)
@given(bad=st.sets(st.integers(0, 9), min_size=1, max_size=9))
def test_quarantine_sets_latents_aside_and_keeps_the_rows_of_the_source(
    format_: str, bad: set[int], decoder: Decoder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("job")
    z = write_latents(place / "z.npy", *bad)
    summary = make(decoder, open_latents(place / "z.npy", 2), place / "out", QUARANTINE, format_=format_)
    good = [row for row in range(10) if row not in bad]
    assert (summary.rows, summary.quarantined) == (len(good), len(bad))
    listed = (place / "out" / "_quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in listed] == sorted(bad)
    if format_ == "png":
        files = (place / "out" / "part-00000").iterdir()
        images = {int(file.stem): np.asarray(Image.open(file)).tolist() for file in files}
    else:
        images = dict(zip(pq.read_table(place / "out")["index"].to_pylist(), made(place / "out").tolist(), strict=True))
    assert images == dict(zip(good, decoder.pixels(z[good]).tolist(), strict=True))


def test_a_dry_run_writes_nothing(encoder: Encoder, decoder: Decoder, folder: Path, digits: Path) -> None:
    found = generate(decoder, prior(70_000, 5, 2), open_target(folder), Options(), dry_run=True)
    assert found == Plan(str(folder), "N(0, I) seed=5 latent_dim=2", 70_000, None, parts=2, finished_parts=0)
    with open_images(digits) as source:
        found = reconstruct(encoder, decoder, source, open_target(folder), Options(limit=4), dry_run=True)
    assert found == Plan(str(folder), str(digits), 4, limit=4, parts=1, finished_parts=0)
    assert names_in(folder.parent) == ["folder_of_png"]


@pytest.mark.parametrize("source", [".", "part-00000.parquet"])
def test_the_latents_are_not_replaced_by_their_images(source: str, decoder: Decoder, folder: Path) -> None:
    make(decoder, prior(5, 0, 2), folder)
    before = bytes_of(folder)
    with pytest.raises(OutputError, match="out holds what is to be read; choose another output"):
        make(decoder, open_latents(folder / source, 2), folder)
    assert bytes_of(folder) == before


def test_reconstructions_are_images_of_the_means(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], folder: Path
) -> None:
    pile = piles.write(folder.with_name("pile.npz"), images[:50], labels=[row % 7 for row in range(50)])
    rebuild(encoder, decoder, pile, folder)
    table = pq.read_table(folder)
    z_mean, _ = encoder(images[:50])
    assert table.column_names == ["index", "label", "z", "image"]
    assert table["label"].to_pylist() == [row % 7 for row in range(50)]
    assert table["z"].to_pylist() == z_mean.tolist()
    assert made(folder).tolist() == decoder.pixels(z_mean).tolist()


def test_the_picture_of_reconstructions_shows_originals_above(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], folder: Path, digits: Path
) -> None:
    """Those that are no images are left out of both rows."""
    (digits / "0001.png").write_bytes(b"not a picture")
    assert rebuild(encoder, decoder, digits, folder, QUARANTINE).quarantined == 1
    assert pq.read_table(folder)["index"].to_pylist() == [0, *range(2, 9)]
    assert np.array_equal(picture_of(folder)[:28], np.hstack([*images[[0, 2, 3, 4, 5, 6]]]))
    assert np.array_equal(picture_of(folder)[28:56], np.hstack([*made(folder)[:6]]))


def test_reconstructions_of_every_batch_size_format_and_number_of_workers_are_equal(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    results = []
    for number, name in enumerate(["pile.idx.gz", "pile.npy", "binary.parquet", "pile.npz", "list.parquet"]):
        how = {"workers": number % 2 + 1, "batch_size": (1, 7, 64, 512, 4096)[number]}
        halves = Encoder(encoder.path, **how), Decoder(decoder.path, **how)
        place = tmp_path / str(number)
        rebuild(*halves, piles.write(tmp_path / name, images[:150]), place / "out", Options())
        results.append(bytes_of(place))
    assert all(result == results[0] for result in results)


def test_halves_of_different_models_are_refused(encoder: Encoder, digits: Path, folder: Path) -> None:
    decoder = Decoder(onnx_models.save(onnx_models.decoder(3), folder.with_name("decoder")))
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* has 3; give encoder and decoder of one export"):
        rebuild(encoder, decoder, digits, folder)
