"""The test vectors that lie beside each model: what it is given, and what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from pipeline.exporting.check import BATCH_SIZES
from pipeline.exporting.mixture import GaussianMixture, draw_inputs
from pipeline.exporting.renderer import VIEWS, view_inputs
from pipeline.inference.model import OnnxModel
from pipeline.inference.session import Decoder, Encoder, Scorer
from pipeline.shared.interface import DECODER, ENCODER, MIXTURE, MODEL_FILE, RENDERER, SCORER, TEST_DATA, test_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.shared.interface import Interface

_ROWS = 64
_RENDERED = 4  # of these, by the renderer


def write_vectors(
    folders: Mapping[str, Path],
    encoder: Encoder,
    decoder: Decoder,
    mixture: GaussianMixture,
    validation: NDArray[np.uint8],
    seed: int,
) -> None:
    """Real images for encoder and scorer, seeded draws from the prior for all others.

    Args:
        folders: of the models, by role.
        encoder: of the bundle.
        decoder: of the bundle.
        mixture: of the bundle.
        validation: images, uint8 `[n, 28, 28]`.
        seed: of the draws.
    """
    images = validation[:_ROWS]
    z = np.random.default_rng(seed).standard_normal((_ROWS, decoder.latent_dim), np.float32)
    draws = [tensor[:_ROWS] for tensor in draw_inputs(mixture.latent_dim, max(BATCH_SIZES), seed)]
    for interface, inputs, outputs in (
        (ENCODER, [images], encoder(images)),
        (DECODER, [z], (decoder(z),)),
        (MIXTURE, draws, (mixture.sample(*draws),)),
    ):
        _write(folders[interface.role] / TEST_DATA, interface, inputs, outputs)
    if SCORER.role in folders:
        scores = Scorer(folders[SCORER.role] / MODEL_FILE)(images)
        _write(folders[SCORER.role] / TEST_DATA, SCORER, [images], scores)
    folder = folders[RENDERER.role]
    renderer = OnnxModel(folder, RENDERER, provider="cpu")
    for view in range(len(VIEWS)):
        inputs = [z[:_RENDERED], *view_inputs(view)]
        _write(folder / test_data(view), RENDERER, inputs, renderer.run(*inputs))


def _write(
    folder: Path, interface: Interface, inputs: Sequence[NDArray[np.generic]], outputs: Sequence[NDArray[np.generic]]
) -> None:
    """Write `input_0.pb`, `output_0.pb`, ... as the ONNX Model Zoo lays them out.

    Args:
        folder: made here.
        interface: gives the names and their order.
        inputs: in that order.
        outputs: in that order.
    """
    folder.mkdir()
    for kind, tensors, arrays in (("input", interface.inputs, inputs), ("output", interface.outputs, outputs)):
        for number, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
            serialized = numpy_helper.from_array(array, tensor.name).SerializeToString()
            (folder / f"{kind}_{number}.pb").write_bytes(serialized)
