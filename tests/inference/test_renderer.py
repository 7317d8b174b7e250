import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FormatError, ModelError
from pipeline.inference import Decoder
from pipeline.inference.renderer import Renderer, open_renderer
from pipeline.shared.interface import RENDERER
from pipeline.shared.spline import SIDE, centres
from tests import onnx_models, surfaces


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return surfaces.add(onnx_models.save_bundle(tmp_path_factory.mktemp("sized") / "exports"))


@pytest.fixture(scope="module")
def renderer(exports: Path) -> Renderer:
    return open_renderer(Decoder(exports / "decoder"))


def latents(count: int, latent_dim: int = 2) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, latent_dim), np.float32)


@pytest.mark.parametrize(("size", "softness"), [(28, 1.0), (28, 0.1), (64, 0.3), (131, 1.0), (280, 0.1)])
def test_images_are_those_of_the_formula(renderer: Renderer, size: int, softness: float) -> None:
    z = latents(5)
    expected = surfaces.draw_in_numpy(z, centres(size), centres(size), SIDE / size, softness)
    assert np.abs(renderer.pixels(z, size, softness).astype(int) - np.rint(255 * expected)).max() <= 1


def test_at_the_size_of_the_data_they_are_those_of_the_decoder(renderer: Renderer, exports: Path) -> None:
    z = latents(300)
    decoded = Decoder(exports / "decoder").pixels(z)
    assert np.abs(renderer.pixels(z, SIDE).astype(int) - decoded).max() <= 1


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 64, 1000])
@pytest.mark.parametrize("size", [8, 9, 28, 100, 541])
def test_strips_of_any_height_are_those_of_the_whole(renderer: Renderer, size: int, rows: int) -> None:
    z = latents(3)
    strips = [renderer.pixels(z, size, 0.2, slice(top, min(top + rows, size))) for top in range(0, size, rows)]
    assert np.array_equal(np.concatenate(strips, axis=1), renderer.pixels(z, size, 0.2))


def test_wide_images_are_drawn_in_tiles_that_fit_together(renderer: Renderer) -> None:
    """2,100 columns are more than a tile has."""
    z = latents(2)
    places = centres(2100)
    image = renderer.pixels(z, 2100, 0.1, slice(1000, 1040))
    expected = surfaces.draw_in_numpy(z, places[1000:1040], places, SIDE / 2100, 0.1)
    assert np.abs(image.astype(int) - np.rint(255 * expected)).max() <= 1


@pytest.mark.parametrize("size", [28, 100])
def test_an_image_does_not_depend_on_those_drawn_with_it(renderer: Renderer, size: int) -> None:
    z = latents(40)
    together = renderer.pixels(z, size)
    assert all(np.array_equal(renderer.pixels(z[row : row + 1], size)[0], together[row]) for row in range(0, 40, 13))


def test_no_latents_are_no_images(renderer: Renderer) -> None:
    assert renderer.pixels(latents(0), 50).shape == (0, 50, 50)


@pytest.mark.parametrize("z", [latents(3).astype(np.float64), latents(3, 5), latents(3)[0]])
def test_other_latents_are_refused(renderer: Renderer, z: np.ndarray) -> None:
    with pytest.raises(FormatError, match=r"latents are .*, expected float32\[n, 2\]"):
        renderer.pixels(z, 28)


def test_it_travels_without_its_file(exports: Path, tmp_path: Path) -> None:
    renderer = Renderer(shutil.copytree(exports / RENDERER.folder, tmp_path / "copy"))
    sent = pickle.dumps(renderer)
    shutil.rmtree(tmp_path / "copy")
    arrived = pickle.loads(sent)
    assert np.array_equal(arrived.pixels(latents(2), 40), renderer.pixels(latents(2), 40))


@pytest.mark.parametrize("place", ["decoder", ".", "decoder/model.onnx"])
def test_it_lies_beside_its_decoder(exports: Path, place: str) -> None:
    assert open_renderer(Decoder(exports / place)).path == exports / RENDERER.folder / "model.onnx"


def test_a_decoder_without_one_says_where_it_was_looked_for(bundle: Path) -> None:
    with pytest.raises(
        ModelError, match=r"decoder/model.onnx has no renderer: neither .* nor .*; take the folder rend"
    ):
        open_renderer(Decoder(bundle / "decoder"))


def test_the_renderer_of_another_model_is_refused(exports: Path, bundle: Path, tmp_path: Path) -> None:
    other = surfaces.add(onnx_models.save_bundle(tmp_path / "other", latent_dim=3), latent_dim=3)
    shutil.copytree(other / RENDERER.folder, bundle / RENDERER.folder)
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* has 3"):
        open_renderer(Decoder(bundle / "decoder"))


def test_the_renderer_of_a_decoder_with_other_weights_is_refused(bundle: Path) -> None:
    onnx_models.save(surfaces.renderer(seed=1), bundle / RENDERER.folder)
    with pytest.raises(ModelError, match=r"renderer/model.onnx draws other images than .*decoder/model.onnx: \d+ of"):
        open_renderer(Decoder(bundle / "decoder/model.onnx"))
