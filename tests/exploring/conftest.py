"""A bundle with the latents of test digits, and the page built from them, as the tests of this folder share them."""

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pipeline.errors import PipelineError
from pipeline.exploring.build import build
from pipeline.exploring.node import find_node, node_modules
from pipeline.inference.session import Encoder
from pipeline.jobs.encode import encode
from pipeline.jobs.job import Options
from pipeline.jobs.target import open_target
from pipeline.shared.interface import MODEL_FILE, RENDERER, TEST_DATA
from pipeline.shared.spline import PIXELS
from pipeline.sources.images import open_images
from tests import onnx_models

METADATA = {"data_source": "sample", "validation_negative_elbo": "543.2100", "package_version": "0.1.0"}


@dataclass(frozen=True)
class Material:
    """What the page is built from."""

    exports: Path
    latents: Path
    prepared: Path


def skip(reason: str) -> None:
    """Skip the tests that need Node or a browser; where they have to run (`.ci/run`), fail."""
    if os.environ.get("VAE_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def material(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Material]:
    """By latent size: a bundle of small models with random weights and what it makes of 1,000 test digits."""

    @functools.cache
    def make(latent_dim: int) -> Material:
        exports = tmp_path_factory.mktemp(f"exports{latent_dim}")
        onnx_models.save_bundle(exports, latent_dim)
        save_renderer(exports / "renderer", latent_dim)
        for role in ("encoder", "decoder", "renderer"):
            for file in (exports / role).glob("*.onnx"):
                model = onnx.load(file)
                onnx.helper.set_model_props(model, METADATA | {"role": role, "latent_dim": str(latent_dim)})
                onnx.save(model, file)
        for role in ("encoder", "decoder"):
            onnx_models.write_manifest(exports / role, [role], latent_dim)
        write_manifest(exports, latent_dim)
        encode_test_digits(exports, prepared_sample, exports / "latents/test")
        return Material(exports, exports / "latents/test", prepared_sample)

    return make


def save_renderer(folder: Path, latent_dim: int) -> None:
    """Write the renderer of `onnx_models.decoder`, with the files that a manifest has to list."""
    from pipeline.exporting.renderer import append_rendering, view_inputs  # noqa: PLC0415  (imports Keras)

    model = onnx_models.decoder(latent_dim)
    *_, sigmoid, reshape = model.graph.node
    reshape.input[0] = sigmoid.input[0]
    reshape.output[0] = model.graph.output[0].name = "logits_of_pixels"
    model.graph.node.remove(sigmoid)
    append_rendering(model, PIXELS)
    onnx.checker.check_model(model, full_check=True)
    vectors = onnx_models.save(model, folder) / TEST_DATA
    vectors.mkdir()
    inputs = [np.zeros((1, latent_dim), np.float32), *view_inputs(0)]
    feeds = {tensor.name: values for tensor, values in zip(RENDERER.inputs, inputs, strict=True)}
    (image,) = ort.InferenceSession(folder / MODEL_FILE).run(None, feeds)
    for number, (name, values) in enumerate(feeds.items()):
        onnx_models.save_vector(values, name, vectors / f"input_{number}.pb")
    onnx_models.save_vector(image, "image", vectors / "output_0.pb")


def write_manifest(exports: Path, latent_dim: int, **changes: Any) -> None:
    """Write the manifest of the whole bundle, but for the `changes`."""
    inputs, outputs = ([str(t.resolved(latent_dim)) for t in some] for some in (RENDERER.inputs, RENDERER.outputs))
    renderer = {
        "file": f"{RENDERER.folder}/{MODEL_FILE}",
        "inputs": inputs,
        "outputs": outputs,
        "test_data": f"{RENDERER.folder}/{TEST_DATA}",
    }
    validation = {"negative_elbo": float(METADATA["validation_negative_elbo"])}
    more = {"renderer": renderer, "validation": validation} | changes
    roles = [role for role in ("encoder", "decoder", "scorer") if (exports / role).is_dir()]
    onnx_models.write_manifest(exports, roles, latent_dim, **more)


def encode_test_digits(exports: Path, prepared: Path, output: Path) -> None:
    with open_images(str(prepared / "test_images.npy"), str(prepared / "test_labels.npy"), resize=False) as source:
        encode(Encoder(exports / "encoder"), source, open_target(str(output), "auto"), Options(None, "fail", True))


@pytest.fixture(scope="session")
def site(material: Callable[[int], Material], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """By latent size: the page, in a folder below that of the server."""
    need_node()

    @functools.cache
    def make(latent_dim: int) -> Path:
        folder = tmp_path_factory.mktemp("server") / "some/where/web"
        given = os.environ.get("VAE_EXPORTS")  # the pipeline's own, where it has run
        if given and latent_dim == 2:
            root = Path(given).resolve()
            build(root, root / "latents/test", root.parent / "data/prepared", folder)
        else:
            of = material(latent_dim)
            build(of.exports, of.latents, of.prepared, folder)
        return folder

    return make


def need_node() -> None:
    try:
        find_node()
        node_modules()
    except PipelineError as error:
        skip(str(error))


def need_chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        skip("Chromium is not installed (Debian's package chromium)")
    return str(found)
