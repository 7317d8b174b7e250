"""The renderer of the small decoder of `onnx_models`, a bundle that holds one, and what NumPy makes of it."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.exporting.renderer import VIEWS, append_rendering, view_inputs
from pipeline.shared.interface import BATCH, IMAGE_SHAPE, RENDERER, test_data
from pipeline.shared.spline import PIXELS, render
from tests import onnx_models

Floats = NDArray[np.float32]


def renderer(latent_dim: int = 2, seed: int = 0) -> onnx.ModelProto:
    """A renderer whose pictures at the size of the data are those of `onnx_models.decoder`."""
    model = onnx_models.decoder(latent_dim, seed)
    hidden, relu, logits, _, reshape = model.graph.node
    reshape.input[0], reshape.output[0] = "logits", "grid"
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend([hidden, relu, logits, reshape])
    model.graph.output.append(helper.make_tensor_value_info("grid", TensorProto.FLOAT, [BATCH, *IMAGE_SHAPE]))
    append_rendering(model, PIXELS)
    model.metadata_props.add(key="role", value=RENDERER.role)
    onnx.checker.check_model(model, full_check=True)
    return model


def draw_in_numpy(z: Floats, rows: Floats, columns: Floats, pixel: float, softness: float, seed: int = 0) -> Floats:
    """`image` of that renderer."""
    image = onnx_models.decode_in_numpy(onnx_models.decoder(z.shape[1], seed), z).astype(np.float64)
    drawn: Floats = render(np.log(image / (1 - image)), PIXELS, rows, columns, pixel, softness).astype(np.float32)
    return drawn


def add(bundle: Path, latent_dim: int = 2) -> Path:
    """Put the renderer with its test vectors into a bundle of `onnx_models`; returns the bundle."""
    folder = onnx_models.save(renderer(latent_dim), bundle / RENDERER.folder)
    z = np.random.default_rng(7).standard_normal((4, latent_dim), np.float32)
    for view in range(len(VIEWS)):
        inputs = [z, *view_inputs(view)]
        vectors = folder / test_data(view)
        vectors.mkdir()
        for number, (tensor, values) in enumerate(zip(RENDERER.inputs, inputs, strict=True)):
            onnx_models.save_vector(values, tensor.name, vectors / f"input_{number}.pb")
        rows, columns, pixel, softness = inputs[1:]
        image = draw_in_numpy(z, rows, columns, pixel.item(), softness.item())
        onnx_models.save_vector(image, "image", vectors / "output_0.pb")
    sign(bundle, latent_dim)
    return bundle


def sign(bundle: Path, latent_dim: int = 2) -> None:
    """Write the manifests that fit the files as they are now."""
    for folder, place in ((bundle / RENDERER.folder, ""), (bundle, f"{RENDERER.folder}/")):
        about = {
            "file": f"{place}model.onnx",
            "inputs": [str(tensor.resolved(latent_dim)) for tensor in RENDERER.inputs],
            "outputs": [str(tensor.resolved(latent_dim)) for tensor in RENDERER.outputs],
            "test_data": f"{place}{test_data(0)}",
        }
        roles = [] if folder.name == RENDERER.folder else ["encoder", "decoder"]
        onnx_models.write_manifest(folder, roles, latent_dim, renderer=about)
