import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.weights import latent_dim_of, load_half, save_half


@pytest.mark.parametrize("half", [build_encoder(3, [8]), build_decoder(3, [8])], ids=lambda half: str(half.name))
def test_a_half_comes_back_as_it_was(half: object, tmp_path: Path) -> None:
    save_half(half, tmp_path)
    back = load_half(tmp_path, half.name)
    assert latent_dim_of(back) == 3
    for old, new in zip(half.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_encoder_that_comes_back_encodes_the_same(tmp_path: Path) -> None:
    encoder = build_encoder(3, [8])
    save_half(encoder, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (5, *IMAGE_SHAPE), np.uint8)
    before, after = encoder.predict_on_batch(images), load_half(tmp_path, "encoder").predict_on_batch(images)
    np.testing.assert_array_equal(before["z_mean"], after["z_mean"])


def test_missing_weights_say_which_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"encoder\.json was not found; run `vae train`"):
        load_half(tmp_path, "encoder")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_half(build_encoder(3, [8]), tmp_path)
    (tmp_path / "encoder.json").write_text(build_encoder(4, [8]).to_json())
    with pytest.raises(ModelError, match="no usable encoder"):
        load_half(tmp_path, "encoder")


def test_an_architecture_with_code_in_it_is_refused(tmp_path: Path) -> None:
    unsafe = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x)])
    save_half(build_encoder(3, [8]), tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps(json.loads(unsafe.to_json())))
    with pytest.raises(ModelError, match="no usable encoder"):
        load_half(tmp_path, "encoder")
