from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import Encode, keras_peer, peers, plain_script, prove_equal, runtime_peer, torch_peer
from pipeline.errors import MeasurementError
from pipeline.exporting.convert import convert
from pipeline.inference import Encoder
from pipeline.training.model import build_encoder
from pipeline.training.weights import load_half, save_half

IMAGES = np.random.default_rng(0).integers(0, 256, (600, 28, 28), np.uint8)  # more than a batch


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    half = build_encoder(2, [24, 16])
    generator = np.random.default_rng(0)
    half.set_weights([generator.normal(scale=0.1, size=weight.shape) for weight in half.get_weights()])
    save_half(half, folder)
    return folder


@pytest.fixture(scope="module")
def encoder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    convert(models, "encoder", folder / "model.onnx")
    return folder


def torch_or_skip(half: Any) -> Encode:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    return torch_peer(half)


@pytest.mark.parametrize("make", [keras_peer, torch_or_skip], ids=["Keras", "PyTorch"])
def test_a_peer_gives_our_latents(make: Callable[[Any], Encode], models: Path, encoder: Path) -> None:
    prove_equal("peer", make(load_half(models, "encoder"))(IMAGES), Encoder(encoder)(IMAGES))


def test_the_plain_loop_gives_our_latents(encoder: Path) -> None:
    prove_equal("peer", runtime_peer(encoder)(IMAGES), Encoder(encoder)(IMAGES))


def test_the_plain_script_gives_our_latents_and_takes_part(encoder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "pile.npy", IMAGES)
    contender = plain_script(encoder, tmp_path / "pile.npy", len(IMAGES))
    contender.work()
    with np.load(tmp_path / "plain.npz") as file:
        assert file["arr_0"].shape == (600, 2)


def test_peers_with_other_weights_are_not_timed(models: Path, encoder: Path, tmp_path: Path) -> None:
    assert [one.images for one in peers(encoder, models, IMAGES)][:2] == [600, 600]
    save_half(build_encoder(2, [24, 16]), tmp_path)
    with pytest.raises(MeasurementError, match=r"^Keras predict: z_mean differs from ours by .*run `dvc repro`"):
        peers(encoder, tmp_path, IMAGES)


def test_latents_of_another_shape_are_not_ours() -> None:
    pair = (np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(MeasurementError, match=r"peer: z_log_var has shape \(3, 4\), expected \(3, 2\)"):
        prove_equal("peer", (pair[0], np.zeros((3, 4), np.float32)), pair)
