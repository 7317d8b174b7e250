"""What any job writes, every job reads that it fits: in each format, on the disk or behind an address."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.inference import Decoder, Encoder
from pipeline.inference.renderer import open_renderer
from tests import onnx_models, surfaces

NAMES = {"parquet": "out", "npy": "out.npy", "npz": "out.npz", "png": "out"}
LATENTS = [("encode", "parquet"), ("encode", "npy"), ("encode", "npz"), ("score", "parquet"), ("score", "npz")]
LATENTS += [(job, format_) for job in ("generate", "reconstruct") for format_ in ("parquet", "npz")]
IMAGES = [(job, format_) for job in ("generate", "reconstruct") for format_ in NAMES]
NEITHER = [("score", "npy"), ("generate", "npy"), ("generate", "png"), ("reconstruct", "npy"), ("reconstruct", "png")]
PLACES = ["local", "remote"]


class World(NamedTuple):
    """A folder with models and nine images, and what the models make of these."""

    place: Path
    images: NDArray[np.uint8]
    z: NDArray[np.float32]
    decoded: NDArray[np.uint8]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    place = tmp_path_factory.mktemp("world")
    bundle = onnx_models.add_scorer(surfaces.add(onnx_models.save_bundle(place / "exports")))
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    np.save(place / "images.npy", images)
    z = Encoder(bundle / "encoder")(images)[0]
    np.save(place / "z.npy", z)
    return World(place, images, z, Decoder(bundle / "decoder").pixels(z))


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """What --quiet sets in this process holds for no other test."""
    yield
    logging.getLogger("pipeline").setLevel(logging.NOTSET)


def vae(*arguments: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert result.exit_code == 0, f"vae {' '.join(arguments)}: {result.exception or result.output}"


@pytest.fixture
def output(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """The output of a job in a format, at a place: made by the first test that reads it."""
    job, format_, place = request.param
    monkeypatch.chdir(world.place)
    folder = f"{job}_{format_}"
    path = (
        f"{folder}/{NAMES[format_]}" if place == "local" else f"memory://{world.place.name}/{folder}/{NAMES[format_]}"
    )
    system, root = fsspec.url_to_fs(path)
    if not system.exists(root):
        source = {"generate": ["--latents", "z.npy"], "score": ["images.npy", "--latents"]}.get(job, ["images.npy"])
        vae(job, *source, "-o", path, "--format", format_)
    return path


def outputs(made: list[tuple[str, str]]) -> pytest.MarkDecorator:
    everywhere = [(*one, place) for one in made for place in PLACES]
    return pytest.mark.parametrize("output", everywhere, indirect=True, ids="-".join)


@outputs(IMAGES)
@pytest.mark.parametrize("job", ["encode", "reconstruct"])
def test_images_are_read_by_whatever_takes_images(job: str, output: str, world: World, tmp_path: Path) -> None:
    vae(job, output, "-o", f"{tmp_path}/x.npz")
    z = Encoder(world.place / "exports/encoder")(world.decoded)[0]
    with np.load(tmp_path / "x.npz") as found:
        assert found["z_mean" if job == "encode" else "z"].tobytes() == z.tobytes()


@outputs(LATENTS)
def test_latents_are_read_by_what_takes_latents(output: str, world: World, tmp_path: Path) -> None:
    vae("generate", "--latents", output, "-o", f"{tmp_path}/x.npz")
    with np.load(tmp_path / "x.npz") as found:
        assert found["z"].tobytes() == world.z.tobytes()
        assert found["image"].tobytes() == world.decoded.tobytes()


@outputs(IMAGES)
def test_images_are_originals(output: str, world: World, tmp_path: Path) -> None:
    vae("generate", "--latents", "z.npy", "--originals", output, "-o", f"{tmp_path}/x.npy")
    np.save(tmp_path / "decoded.npy", world.decoded)
    vae("generate", "--latents", "z.npy", "--originals", f"{tmp_path}/decoded.npy", "-o", f"{tmp_path}/y.npy")
    assert (tmp_path / "x.npy.png").read_bytes() == (tmp_path / "y.npy.png").read_bytes()


@outputs(NEITHER)
def test_images_are_no_latents(output: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", "--latents", output, "-o", f"{tmp_path}/x.npy"])
    assert result.exit_code == 1
    assert "expected " in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ["generate", "reconstruct"])
@pytest.mark.parametrize("format_", NAMES)
def test_images_of_another_size_are_read_where_they_are_to_be_resized(
    format_: str, job: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """56 x 56 pixels are averaged to 28 x 28; otherwise they are refused."""
    monkeypatch.chdir(world.place)
    source = ["--latents", "z.npy"] if job == "generate" else ["images.npy"]
    output = f"{tmp_path}/{NAMES[format_]}"
    vae(job, *source, "-o", output, "--format", format_, "--size", "56")
    vae("encode", output, "-o", f"{tmp_path}/z.npy", "--resize")
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), resized(world), atol=1e-6)
    refused = CliRunner().invoke(app, ["encode", output, "-o", f"{tmp_path}/y.npy"])
    assert refused.exit_code == 1
    assert "is 56 x 56 pixels, expected 28 x 28; --resize fits it" in str(refused.exception)


def resized(world: World) -> NDArray[np.float32]:
    """Latents of the images at 56 x 56, each four of their pixels averaged."""
    large = open_renderer(Decoder(world.place / "exports/decoder")).pixels(world.z, 56)
    small = np.floor(large.reshape(-1, 28, 2, 28, 2).mean(axis=(2, 4)) + 0.5).astype(np.uint8)
    return Encoder(world.place / "exports/encoder")(small)[0]
