"""The same model from every way to compute it: with and without XLA, on JAX, with products of 16 bits."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.data.binarise import binarise
from pipeline.params import Train
from pipeline.training.model import reconstruction_loss
from pipeline.training.weights import load_half
from tests.training.conftest import Trained
from tests.training.runs import KNOBS, TRAIN, hashes, run, run_elsewhere


def test_training_without_xla_repeats_too_and_ends_close(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    # Its own process: TensorFlow's determinism can't be switched off again.
    plain = TRAIN.model_copy(update={"jit_compile": False})
    figures = run_elsewhere(prepared_sample, plain, tmp_path / "one", tmp_path / "two")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    # Another order of summation and of the images, the same model: 3 % is several times the spread over seeds.
    assert figures["val_loss"] == pytest.approx(trained(TRAIN).figures["val_loss"], rel=0.03)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_ends_close_and_saves_float32(
    precision: str, trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    mixed = run(prepared_sample, tmp_path, TRAIN.model_copy(update={"precision": precision}))
    assert mixed["val_loss"] == pytest.approx(trained(TRAIN).figures["val_loss"], rel=0.02)
    decoder = load_half(tmp_path / "models", "decoder")
    assert {weight.dtype for weight in decoder.weights} == {"float32"}
    assert {layer.compute_dtype for layer in decoder.layers} == {"float32"}


def test_jax_trains_the_same_model_and_its_weights_load_in_tensorflow(
    trained: Callable[[Train], Trained], prepared_sample: Path, tmp_path: Path
) -> None:
    figures = run_elsewhere(prepared_sample, KNOBS, tmp_path, KERAS_BACKEND="jax")
    # Other random numbers, the same mathematics: 3 % is several times the spread over seeds.
    assert trained(KNOBS).figures["val_loss"] == pytest.approx(figures["val_loss"], rel=0.03)
    encoder, decoder = (load_half(tmp_path / "models", role) for role in ("encoder", "decoder"))
    images = binarise(np.load(prepared_sample / "validation_images.npy"), KNOBS.seed)
    latents = encoder.predict_on_batch(images)
    logits = keras.Model(decoder.input, decoder.get_layer("logits").output).predict_on_batch(latents["z_mean"])
    # The mean of the latents reconstructs better than a draw, which the logged figure uses.
    found = np.mean(reconstruction_loss(images.astype(np.float32) / 255, logits))
    assert found == pytest.approx(figures["val_reconstruction"], rel=0.05)
