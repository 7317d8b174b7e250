from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.inference.session import Decoder
from pipeline.reporting.sheets import interpolations, linear, manifold, spherical, traversals
from tests import onnx_models
from tests.evaluating.conftest import ABOUT

Pixels = NDArray[np.uint8]


def decoder(latent_dim: int, folder: Path) -> Decoder:
    return Decoder(onnx_models.save(onnx_models.decoder(latent_dim), folder / "decoder"))


def shows(picture: Path, digit: Pixels, scale: int) -> bool:
    """Whether a digit, each pixel `scale` times as large, stands somewhere in the picture, pixel for pixel."""
    with Image.open(picture) as png:
        page = np.asarray(png.convert("L"))
    wanted = digit.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = wanted.shape
    windows = np.lib.stride_tricks.sliding_window_view(page, wanted.shape)
    # A few rows first: the whole window costs too much where these don't fit.
    some = [0, height // 3, height // 2, height - 1]
    candidates = (windows[:, :, some, :: width // 7] == wanted[some, :: width // 7]).all(axis=(2, 3))
    return any((windows[y, x] == wanted).all() for y, x in np.argwhere(candidates))


@pytest.mark.parametrize("latent_dim", [1, 2, 20, 64])
def test_every_number_of_latents_is_drawn_with_equal_bytes(latent_dim: int, tmp_path: Path) -> None:
    model = decoder(latent_dim, tmp_path)
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (30, 28, 28), np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    z_mean = generator.standard_normal((30, latent_dim), np.float32)
    kl = generator.random(latent_dim).tolist()
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        manifold(model, kl, "sample", tmp_path / name / "manifold.png")
        traversals(model, z_mean[0], "test digit: 7", kl, "sample", tmp_path / name / "traversals.png")
        interpolations(model, images, labels, z_mean, ABOUT, "sample", tmp_path / name / "interpolations.png")
        written.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    for file in (tmp_path / "first").iterdir():
        with Image.open(file) as png:
            assert png.mode == "L"
            assert 600 < png.width < 1500
            assert png.height < 2000


def test_the_manifold_spans_the_two_most_active_latents(tmp_path: Path) -> None:
    """The upper left corner has the smallest quantile of one latent, the largest of the other, and 0 elsewhere."""
    model = decoder(5, tmp_path)
    manifold(model, [0.1, 0.2, 3.0, 0.0, 2.0], "sample", tmp_path / "manifold.png")
    edge = NormalDist().inv_cdf(1 - 0.5 / 20)
    z = np.array([[0, 0, -edge, 0, edge], [0, 0, edge, 0, -edge], [-edge, edge, 0, 0, 0]], np.float32)
    upper_left, lower_right, other = model.pixels(z)
    assert shows(tmp_path / "manifold.png", upper_left, scale=2)
    assert shows(tmp_path / "manifold.png", lower_right, scale=2)
    assert not shows(tmp_path / "manifold.png", other, scale=2)


def test_a_traversal_changes_one_latent_and_keeps_the_others(tmp_path: Path) -> None:
    model = decoder(3, tmp_path)
    start = np.array([0.5, -1, 2], np.float32)
    traversals(model, start, "test digit: 7", [0.3, 0.2, 0.1], "sample", tmp_path / "traversals.png")
    for latent in range(3):
        z = start.copy()
        z[latent] = -3
        assert shows(tmp_path / "traversals.png", model.pixels(z[None])[0], scale=3)


def test_at_most_20_latents_are_traversed_the_most_active(tmp_path: Path) -> None:
    model = decoder(30, tmp_path)
    kl = [float(latent) for latent in range(30)]
    start = np.zeros(30, np.float32)
    traversals(model, start, "test digit: 7", kl, "sample", tmp_path / "traversals.png")
    for latent, shown in ((29, True), (10, True), (9, False)):
        z = start.copy()
        z[latent] = 3
        assert shows(tmp_path / "traversals.png", model.pixels(z[None])[0], scale=3) == shown


def test_interpolations_show_originals_and_both_ways(tmp_path: Path) -> None:
    model = decoder(2, tmp_path)
    images = np.random.default_rng(2).integers(0, 256, (10, 28, 28), np.uint8)
    z_mean = np.random.default_rng(3).standard_normal((10, 2), np.float32)
    interpolations(model, images, np.arange(10, dtype=np.uint8), z_mean, ABOUT, "sample", tmp_path / "ways.png")
    assert shows(tmp_path / "ways.png", images[4], scale=3)
    assert shows(tmp_path / "ways.png", images[9], scale=3)
    for walk in (linear, spherical):
        middle = walk(z_mean[4], z_mean[9], 11)[5]
        assert shows(tmp_path / "ways.png", model.pixels(middle[None])[0], scale=3)


@pytest.mark.parametrize(
    ("numbers", "ends", "left_out"),
    [
        (None, [(0, 5), (4, 9)], 10),  # no labels: the first images
        ([3] * 30, [(0, 5), (4, 9)], 10),  # so with one class
        ([*range(26), 0, 0, 0, 0], [(0, 13), (12, 25)], 1),  # some of all pairs of 26 classes
        ([8, 8, 2, *[8] * 27], [(2, 0)], 1),
    ],
)
def test_interpolations_pair_classes_or_else_the_first_images(
    numbers: list[int] | None, ends: list[tuple[int, int]], left_out: int, tmp_path: Path
) -> None:
    model = decoder(2, tmp_path)
    images = np.random.default_rng(2).integers(0, 256, (30, 28, 28), np.uint8)
    z_mean = np.random.default_rng(3).standard_normal((30, 2), np.float32)
    labels = None if numbers is None else np.array(numbers, np.uint8)
    about = replace(ABOUT, classes=tuple(f"a class with the number {number}" for number in range(26)))
    interpolations(model, images, labels, z_mean, about, "own", tmp_path / "ways.png")
    for pair in ends:
        assert all(shows(tmp_path / "ways.png", images[row], scale=3) for row in pair)
    assert not shows(tmp_path / "ways.png", images[left_out], scale=3)


def test_a_line_has_both_ends_and_even_steps() -> None:
    line = linear(np.array([0, 1], np.float32), np.array([4, 3], np.float32), 5)
    np.testing.assert_allclose(line, [[0, 1], [1, 1.5], [2, 2], [3, 2.5], [4, 3]])


def test_an_arc_keeps_its_distance_from_the_origin_and_turns_evenly() -> None:
    arc = spherical(np.array([2, 0], np.float32), np.array([0, 2], np.float32), 5)
    angles = np.radians([0, 22.5, 45, 67.5, 90])
    np.testing.assert_allclose(arc, 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


@pytest.mark.parametrize(("start", "end"), [((1, 2), (2, 4)), ((1, 2), (-2, -4)), ((0, 0), (1, 1)), ((1, 1), (1, 1))])
def test_where_there_is_no_one_arc_the_way_is_straight(start: tuple[int, int], end: tuple[int, int]) -> None:
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    np.testing.assert_array_equal(spherical(a, b, 7), linear(a, b, 7))
