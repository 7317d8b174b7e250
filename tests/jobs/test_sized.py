"""Images of any size as rows, and all of them in one picture."""

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError, FormatError, ModelError, OutputError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.renderer import open_renderer
from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.generate import GenerateJob, generate
from pipeline.jobs.grid import beside_originals, tile
from pipeline.jobs.job import Options, Plan, Summary
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource
from pipeline.jobs.poster import PosterJob
from pipeline.jobs.reconstruct import reconstruct
from pipeline.jobs.sized import Sized, open_sized
from pipeline.jobs.target import open_target
from pipeline.sources.images import open_images
from tests import mixtures, onnx_models, surfaces
from tests.conftest import bytes_of, names_in
from tests.sources import piles

QUIET, ASIDE = Options(quiet=True), Options(quiet=True, on_error="quarantine")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return surfaces.add(onnx_models.save_bundle(tmp_path_factory.mktemp("sized") / "exports"))


@pytest.fixture(scope="module")
def decoder(exports: Path) -> Decoder:
    return Decoder(exports / "decoder")


@pytest.fixture(scope="module")
def encoder(exports: Path) -> Encoder:
    return Encoder(exports / "encoder")


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands and stretches of few pixels, so that small results have many parts."""
    monkeypatch.setattr("pipeline.jobs.poster._BAND", 3000)
    monkeypatch.setattr("pipeline.jobs.poster._BANDS_PER_PART", 2)
    monkeypatch.setattr("pipeline.jobs.sized._STRETCH", 7500)
    monkeypatch.setattr("pipeline.jobs.sized._PART", 15_000)


def make(decoder: Decoder, latents: LatentSource, output: object, options: Options = QUIET, **how: object) -> Summary:
    format_ = str(how.pop("format_", "auto"))
    summary = generate(decoder, latents, open_target(str(output), format_), options, **how)
    assert isinstance(summary, Summary)
    return summary


def drawn(decoder: Decoder, z: NDArray[np.float32], size: int, softness: float = 1.0) -> NDArray[np.uint8]:
    return open_renderer(decoder).pixels(z, size, softness)


def shown(png: Path) -> NDArray[np.uint8]:
    with Image.open(png) as image:
        return np.asarray(image)


class UnpluggedError(Exception):
    """Something that no one has foreseen."""


# Rows


SOURCES: dict[str, Callable[[Path], LatentSource]] = {
    "prior": lambda _: prior(20, 3, 2),
    "mixture": lambda place: mixture(mixtures.save(place / "mixture"), 20, 3, 2),
    "manifold": lambda _: QuantileGrid(4, 2),
    "latents": lambda place: (
        np.save(place / "z.npy", prior(9, 1, 2).read(0, 9)().z),
        open_latents(place / "z.npy", 2),
    )[1],
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_latents_is_drawn_at_the_size(
    source: str, decoder: Decoder, folder: Path, tmp_path: Path
) -> None:
    latents = SOURCES[source](tmp_path)
    make(decoder, latents, folder, size=50, softness=0.2)
    table = pq.read_table(folder)
    z = latents.read(0, latents.count)().z
    assert table["z"].to_pylist() == z.tolist()
    assert b"".join(table["image"].to_pylist()) == drawn(decoder, z, 50, 0.2).tobytes()
    about = {name: table.schema.metadata[name] for name in (b"size", b"softness")}
    assert about == {b"size": b"50", b"softness": b"0.2"}


def test_files_of_every_format_hold_the_same(decoder: Decoder, tmp_path: Path) -> None:
    latents = prior(10, 0, 2)
    expected = drawn(decoder, latents.read(0, 10)().z, 40)
    for name in ("x.npy", "x.npz"):
        make(decoder, latents, tmp_path / name, size=40)
    make(decoder, latents, tmp_path / "png", size=40, format_="png")
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)
    assert np.array_equal(np.load(tmp_path / "x.npz")["image"], expected)
    pictures = [shown(file) for file in sorted((tmp_path / "png/part-00000").iterdir())]
    assert np.array_equal(pictures, expected)


def test_the_sheet_beside_shows_images_of_56_pixels(decoder: Decoder, tmp_path: Path) -> None:
    """As many as without a size, though a stretch of large images holds fewer."""
    make(decoder, prior(401, 0, 2), tmp_path / "x.npy", size=200, softness=0.3)
    z = prior(400, 0, 2).read(0, 400)().z
    assert np.array_equal(shown(tmp_path / "x.npy.png"), tile(drawn(decoder, z, 56, 0.3), 20))


def test_reconstructions_are_drawn_from_the_means(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], folder: Path, tmp_path: Path
) -> None:
    """The sheet has the originals above them, with each pixel twice as large."""
    with open_images(piles.write(tmp_path / "pile.npz", images[:9], labels=list(range(9)))) as source:
        reconstruct(encoder, decoder, source, open_target(folder), QUIET, size=60)
    table = pq.read_table(folder)
    z, _ = encoder(images[:9])
    assert b"".join(table["image"].to_pylist()) == drawn(decoder, z, 60).tobytes()
    assert table["label"].to_pylist() == list(range(9))
    originals = images[:9].repeat(2, axis=1).repeat(2, axis=2)
    expected = beside_originals(originals, drawn(decoder, z, 56), 6)
    assert np.array_equal(shown(folder.with_name("out.png")), expected)


def test_rows_of_a_stretch_and_of_a_part_shrink_with_the_size(decoder: Decoder) -> None:
    """A stretch has at most 4 million pixels, a part 67 million, or one image."""
    for size in (8, 28, 29, 56, 100, 1080, 2048, 4096):
        sized = Sized(open_renderer(decoder), size, 1.0)
        stretch, part = sized.rows_per_stretch, sized.rows_per_part
        assert stretch == 1 or stretch * size**2 <= 2**22
        assert stretch <= part <= 65_536
        assert part == 1 or part * size**2 <= 2**26
        assert part % stretch == 0


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("name", ["out", "x.npz"])
def test_an_interrupted_job_goes_on_and_leaves_the_same_bytes(
    name: str, decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("whole", "resumed"):
        (tmp_path / place).mkdir()
    make(decoder, prior(40, 0, 2), tmp_path / "whole" / name, size=50)
    stop_at(monkeypatch, GenerateJob, 10)
    with pytest.raises(UnpluggedError):
        make(decoder, prior(40, 0, 2), tmp_path / "resumed" / name, size=50)
    monkeypatch.undo()
    again = Decoder(decoder.path, workers=1)
    monkeypatch.setattr("pipeline.jobs.sized._STRETCH", 7500)
    monkeypatch.setattr("pipeline.jobs.sized._PART", 15_000)
    assert make(again, prior(40, 0, 2), tmp_path / "resumed" / name, size=50).resumed_parts >= 1
    assert bytes_of(tmp_path / "resumed") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("other", [{"size": 41}, {"size": 40, "softness": 0.5}, {}])
def test_parts_of_another_size_are_not_taken_over(
    other: dict[str, float], decoder: Decoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.jobs.sized._STRETCH", 1600)
    monkeypatch.setattr("pipeline.jobs.sized._PART", 1600)
    stop_at(monkeypatch, GenerateJob, 10)
    with pytest.raises(UnpluggedError):
        make(decoder, prior(20, 0, 2), folder, size=40)
    monkeypatch.undo()
    assert make(decoder, prior(20, 0, 2), folder, **other).resumed_parts == 0


def stop_at(monkeypatch: pytest.MonkeyPatch, job: type, row: int) -> None:
    work = job.work

    def unplugged(self: object, rows: object) -> object:
        if rows.stop > row:
            raise UnpluggedError
        return work(self, rows)

    monkeypatch.setattr(job, "work", unplugged)


# Posters


@pytest.mark.parametrize("bands", ["large", "small"])
@pytest.mark.parametrize(("count", "size", "columns"), [(1, 300, 1), (7, 28, 3), (9, 50, 3), (10, 61, 4), (40, 8, 7)])
def test_a_poster_shows_all_images_row_by_row(
    count: int, size: int, columns: int, bands: str, decoder: Decoder, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if bands == "small":
        request.getfixturevalue("small_bands")
    summary = make(decoder, prior(count, 0, 2), tmp_path / "x.png", size=size, softness=0.1)
    z = prior(count, 0, 2).read(0, count)().z
    assert np.array_equal(shown(tmp_path / "x.png"), tile(drawn(decoder, z, size, 0.1), columns))
    assert (summary.rows, summary.picture) == (count, None)
    assert names_in(tmp_path) == ["x.png", "x.png.manifest.json"]
    manifest = json.loads((tmp_path / "x.png.manifest.json").read_text())
    assert (manifest["rows"], manifest["size"], manifest["columns"]) == (count, size, columns)


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_a_manifold_keeps_its_grid(latent_dim: int, tmp_path: Path) -> None:
    """A row of images where there is one latent."""
    bundle = surfaces.add(onnx_models.save_bundle(tmp_path / "exports", latent_dim), latent_dim)
    decoder, grid = Decoder(bundle / "decoder"), QuantileGrid(5, latent_dim)
    make(decoder, grid, tmp_path / "x.png", size=30)
    expected = tile(drawn(decoder, grid.read(0, grid.count)().z, 30), 5)
    assert np.array_equal(shown(tmp_path / "x.png"), expected)


def test_without_a_size_it_has_that_of_the_data(decoder: Decoder, tmp_path: Path) -> None:
    make(decoder, prior(4, 0, 2), tmp_path / "x.png")
    decoded = tile(decoder.pixels(prior(4, 0, 2).read(0, 4)().z), 2)
    assert np.abs(shown(tmp_path / "x.png").astype(int) - decoded).max() <= 1


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("kind", ["pile.npz", "pile.tar"])
def test_a_poster_of_real_images(
    kind: str, limit: int | None, encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    """How many a tar file holds is known at its end alone."""
    with open_images(piles.write(tmp_path / kind, images[:9])) as source:
        reconstruct(encoder, decoder, source, open_target(tmp_path / "x.png"), Options(limit, quiet=True), size=30)
    z, _ = encoder(images[: limit or 9])
    assert np.array_equal(shown(tmp_path / "x.png"), tile(drawn(decoder, z, 30), 3))


@pytest.mark.usefixtures("small_bands")
def test_what_is_set_aside_stays_black(decoder: Decoder, tmp_path: Path) -> None:
    z = prior(10, 0, 2).read(0, 10)().z
    z[[0, 5, 9], 1] = np.nan
    np.save(tmp_path / "z.npy", z)
    latents = open_latents(tmp_path / "z.npy", 2)
    with pytest.raises(FormatError, match=r"z.npy row 0: a latent is not finite.*--on-error quarantine"):
        make(decoder, latents, tmp_path / "x.png", size=50)
    assert names_in(tmp_path) == ["z.npy"]
    summary = make(decoder, latents, tmp_path / "x.png", ASIDE, size=50)
    good = [1, 2, 3, 4, 6, 7, 8]
    expected = np.zeros((10, 50, 50), np.uint8)
    expected[good] = drawn(decoder, z[good], 50)
    assert np.array_equal(shown(tmp_path / "x.png"), tile(expected, 4))
    assert (summary.rows, summary.quarantined) == (7, 3)
    listed = (tmp_path / "x.png.quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in listed] == [0, 5, 9]


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_poster_that_is_interrupted_goes_on_and_has_the_same_bytes(
    workers: int, decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("whole", "resumed"):
        (tmp_path / place).mkdir()
    make(decoder, QuantileGrid(3, 2), tmp_path / "whole/x.png", size=100)
    again = Decoder(decoder.path, workers=workers)
    with monkeypatch.context() as stopped:
        stop_at(stopped, PosterJob, 200)
        with pytest.raises(UnpluggedError):
            make(again, QuantileGrid(3, 2), tmp_path / "resumed/x.png", size=100)
    assert names_in(tmp_path / "resumed") == [".x.png.partial"]
    assert make(again, QuantileGrid(3, 2), tmp_path / "resumed/x.png", size=100).resumed_parts >= 1
    assert bytes_of(tmp_path / "resumed") == bytes_of(tmp_path / "whole")


def test_bands_end_with_the_images_or_divide_them_and_are_bounded(decoder: Decoder) -> None:
    from pipeline.jobs.poster import Layout  # noqa: PLC0415

    renderer = open_renderer(decoder)
    for size, columns in ((8, 1000), (28, 100), (400, 30), (1080, 1), (20_000, 1), (1000, 1000), (316_000, 1)):
        layout = Layout("generate", {}, Sized(renderer, size, 1.0))
        rows = PosterJob("poster", layout, columns**2, columns).rows_per_stretch
        assert rows * columns * size <= max(2**23, 16 * columns * size)
        assert rows % size == 0 or rows < size


def test_a_poster_at_an_address(decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(decoder, prior(4, 0, 2), "memory://posters/x.png", size=50)
    make(decoder, prior(4, 0, 2), tmp_path / "x.png", size=50)
    store = fsspec.filesystem("memory")
    assert store.cat("/posters/x.png") == (tmp_path / "x.png").read_bytes()
    assert store.exists("/posters/x.png.manifest.json")
    with pytest.raises(OutputError, match=r"posters/x.png is there; delete it"):
        make(decoder, prior(5, 0, 2), "memory://posters/x.png", size=50)
    store.rm("/posters", recursive=True)


def test_a_picture_of_someone_else_is_not_replaced(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"x.png is there, and not an earlier result of `vae generate`"):
        make(decoder, prior(4, 0, 2), tmp_path / "x.png", size=50)
    assert (tmp_path / "x.png").read_bytes() == b"mine"


def test_a_source_that_changes_meanwhile_leaves_no_poster(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "z.npy", prior(4, 0, 2).read(0, 4)().z)
    work = PosterJob.work

    def change(self: PosterJob, rows: object) -> object:
        np.save(tmp_path / "z.npy", prior(4, 1, 2).read(0, 4)().z)
        return work(self, rows)

    monkeypatch.setattr(PosterJob, "work", change)
    with pytest.raises(DataError, match=r"z.npy changed while it was read"):
        make(decoder, open_latents(tmp_path / "z.npy", 2), tmp_path / "x.png", size=50)
    assert names_in(tmp_path) == ["z.npy"]


def test_a_dry_run_writes_nothing(decoder: Decoder, tmp_path: Path) -> None:
    found = generate(decoder, prior(5, 0, 2), open_target(tmp_path / "x.png"), QUIET, size=50, dry_run=True)
    assert found == Plan(str(tmp_path / "x.png"), "N(0, I) seed=0 latent_dim=2", 5, None, parts=1, finished_parts=0)
    assert names_in(tmp_path) == []


# What is refused


def test_a_decoder_without_a_renderer_draws_no_sizes(bundle: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="has no renderer"):
        make(Decoder(bundle / "decoder"), prior(3, 0, 2), folder, size=50)
    assert names_in(folder.parent) == []


def test_a_variant_that_is_named_as_a_file_draws_no_sizes(bundle: Path) -> None:
    model = onnx_models.decoder()
    model.metadata_props.add(key="variant", value="int8")
    file = onnx_models.save(model, bundle / "small") / "model.onnx"
    with pytest.raises(ModelError, match=r"is int8, but sizes are drawn in float32; .* or name model\.onnx"):
        open_sized(Decoder(file), open_target("x.png"), 50, None)


@pytest.mark.parametrize("softness", [0.04, 10.1, float("nan")])
def test_the_softness_has_bounds(softness: float, decoder: Decoder) -> None:
    with pytest.raises(OutputError, match=r"expected 0\.05 to 10; 1 is as trained"):
        open_sized(decoder, open_target("x.png"), 50, softness)


def test_a_size_below_8_is_refused(decoder: Decoder) -> None:
    with pytest.raises(OutputError, match="the size is 7, expected at least 8 pixels a side"):
        open_sized(decoder, open_target("x.png"), 7, None)
