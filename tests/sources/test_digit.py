"""Any picture of one digit becomes what MNIST's makers would have made of it, as on the page of `vae explore`."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.exploring.node import find_node, node_modules
from pipeline.sources.digit import to_digit
from pipeline.sources.images import open_images
from tests.drawings import photograph
from tests.exploring.conftest import need_node
from tests.sources.piles import bad_of, pixels_of, png, read_all

Pixels = NDArray[np.uint8]
SITE = Path(__file__).parents[2] / "pipeline/exploring/site/src/likeness.ts"


@pytest.fixture(scope="module")
def digits(prepared_sample: Path) -> tuple[Pixels, Pixels]:
    """Training digits of the sample, and their labels."""
    return np.load(prepared_sample / "train_images.npy"), np.load(prepared_sample / "train_labels.npy")


@pytest.fixture(scope="module")
def tests(prepared_sample: Path) -> tuple[Pixels, Pixels]:
    return np.load(prepared_sample / "test_images.npy"), np.load(prepared_sample / "test_labels.npy")


def test_a_digit_of_mnist_stays_nearly_what_it_is(tests: tuple[Pixels, Pixels]) -> None:
    """Up to a pixel aside, since its makers cut it out of a larger picture, and rounded later."""
    for image in tests[0][:100]:
        found = to_digit(image).astype(int)
        shifted = [np.roll(image, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert min(np.abs(found - other).mean() for other in shifted) < 0.08 * image.mean() + 3


@pytest.mark.parametrize("change", [lambda image: image, lambda image: 255 - image, lambda image: np.pad(image, 30)])
def test_paper_may_be_light_or_dark_and_of_any_size(
    change: Callable[[Pixels], Pixels], tests: tuple[Pixels, Pixels]
) -> None:
    for image in tests[0][:20]:
        large = np.kron(image, np.ones((3, 3), np.uint8))
        assert np.array_equal(to_digit(change(large)), to_digit(image))


def test_photographs_of_digits_land_on_their_own(
    digits: tuple[Pixels, Pixels], tests: tuple[Pixels, Pixels], tmp_path: Path
) -> None:
    """By a vote of the five nearest training digits, which classify the digits themselves as well."""
    rows = np.array([np.flatnonzero(tests[1] == digit)[:5] for digit in range(10)]).reshape(-1)
    for row in rows:
        (tmp_path / f"{row:04d}.png").write_bytes(png(photograph(tests[0][row], seed=int(row))))
    found = pixels_of(read_all(open_images(tmp_path, fit="digit")))
    order = np.sort(rows)
    known = digits[0].reshape(len(digits[0]), -1).astype(np.float32)

    def classify(images: Pixels) -> list[int]:
        flat = images.reshape(len(images), -1).astype(np.float32)
        distances = (known**2).sum(axis=1) - 2 * flat @ known.T
        votes = digits[1][np.argsort(distances, axis=1)[:, :5]]
        return [int(np.bincount(vote, minlength=10).argmax()) for vote in votes]

    right = np.array(classify(found)) == tests[1][order]
    itself = np.array(classify(tests[0][order])) == tests[1][order]
    assert right.sum() >= itself.sum() - 5
    assert right.mean() >= 0.85


BLANK = np.full((40, 50), 180, np.uint8)
GRAIN = (180 + np.random.default_rng(0).normal(0, 6, (40, 50))).astype(np.uint8)


def test_a_picture_without_ink_is_a_bad_row(tmp_path: Path) -> None:
    for name, image in (("blank", BLANK), ("grain", GRAIN)):
        (tmp_path / f"{name}.png").write_bytes(png(image))
    assert bad_of(read_all(open_images(tmp_path, fit="digit"))) == {
        row: f"{name}.png shows no digit: no ink stands out from its paper"
        for row, name in enumerate(("blank", "grain"))
    }
    np.save(tmp_path / "pile.npy", np.stack([BLANK, GRAIN]))
    assert list(bad_of(read_all(open_images(tmp_path / "pile.npy", fit="digit")))) == [0, 1]


def pictures(tests: tuple[Pixels, Pixels]) -> list[Pixels]:
    rng = np.random.default_rng(1)
    images = tests[0]
    return [
        *images[:30],
        *(255 - images[30:40]),
        *(np.kron(image, np.ones((scale, scale), np.uint8)) for image in images[:6] for scale in (2, 5, 6, 7)),
        *(photograph(image, seed) for seed, image in enumerate(images[:12])),
        *(rng.integers(0, 256, shape, np.uint8) for shape in ((1, 1), (1, 9), (9, 1), (2, 2), (40, 3), (33, 57))),
        BLANK, GRAIN, np.zeros((5, 5), np.uint8), np.full((5, 5), 255, np.uint8),
    ]  # fmt: skip


def test_the_page_makes_the_same_pixels(tests: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    need_node()
    given = pictures(tests)
    content = [{"grey": one.reshape(-1).tolist(), "width": one.shape[1], "height": one.shape[0]} for one in given]
    (tmp_path / "pictures.json").write_text(json.dumps(content))
    (tmp_path / "entry.mjs").write_text(
        f"import {{ digitOf }} from {json.dumps(str(SITE))};\nimport {{ readFileSync }} from 'node:fs';\n"
        "const pictures = JSON.parse(readFileSync(process.argv[2], 'utf8'));\n"
        "const digits = pictures.map((p) => digitOf(p.grey, p.width, p.height));\n"
        "console.log(JSON.stringify(digits.map((digit) => digit && [...digit])));\n"
    )
    modules = node_modules()
    bundle = ["--bundle", "--platform=node", "--format=esm", f"--outfile={tmp_path / 'out.mjs'}", "--log-level=warning"]
    node = find_node()[0]
    subprocess.run(
        [node, modules / "esbuild/bin/esbuild", tmp_path / "entry.mjs", *bundle],
        env={**os.environ, "NODE_PATH": str(modules)},
        check=True,
    )
    done = subprocess.run([node, tmp_path / "out.mjs", tmp_path / "pictures.json"], capture_output=True, check=True)
    for number, (picture, theirs) in enumerate(zip(given, json.loads(done.stdout), strict=True)):
        ours = to_digit(picture)
        assert (None if ours is None else ours.reshape(-1).tolist()) == theirs, number
