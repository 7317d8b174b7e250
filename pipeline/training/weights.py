"""The two trained halves as files whose bytes depend on the weights alone.

A `.keras` file contains the date on which it was saved; a JSON architecture and a `.weights.h5` file do not.
"""

import json
from pathlib import Path
from typing import Any, cast

import keras

from pipeline.errors import ModelError
from pipeline.shared.interface import DECODER, ENCODER
from pipeline.shared.spline import PIXELS, Knots, over_picture
from pipeline.shared.text import one_line
from pipeline.training.surface import COEFFICIENTS, SurfaceLogits

ORIGIN_FILE = "training.json"  # parameters and data that the weights come from


def read_origin(folder: Path) -> dict[str, Any]:
    """What `train` wrote beside the weights: parameters of `model` and `train`, and the `data`.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        origin: dict[str, Any] = json.loads((folder / ORIGIN_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / ORIGIN_FILE} is missing or no JSON; run `vae train` (or `dvc repro`)") from error
    return origin


def save_half(model: keras.Model, folder: Path) -> None:
    """Write `<name>.json` and `<name>.weights.h5` into `folder`."""
    architecture = json.dumps(json.loads(model.to_json()), indent=2)
    (folder / f"{model.name}.json").write_text(architecture + "\n")
    model.save_weights(folder / f"{model.name}.weights.h5")


def load_half(folder: Path, role: str) -> keras.Model:
    """Read the encoder or the decoder back, in Keras' safe mode.

    Raises:
        ModelError: a file is missing, damaged, or belongs to another architecture.
    """
    architecture, weights = folder / f"{role}.json", folder / f"{role}.weights.h5"
    try:
        config = json.loads(architecture.read_text())
        model = cast("keras.Model", keras.saving.deserialize_keras_object(config, safe_mode=True))
        model.load_weights(weights)
    except FileNotFoundError as error:
        raise ModelError(f"{error.filename or weights} was not found; run `vae train` (or `dvc repro`) first") from None
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(f"{folder} holds no usable {role}: {one_line(error)}") from error
    return model


def load_surface(folder: Path) -> tuple[keras.Model, Knots]:
    """The decoder in a folder, up to what its surface is made of, and where that lies.

    Input `z`: float32 `[batch, latent_dim]`. Output `coefficients`: float32 `[batch, n, n]`, at as many knots; of a
    decoder without a surface the logits of its pixels.

    Raises:
        ModelError: a file is missing, damaged, or belongs to another architecture.
    """
    decoder = load_half(folder, DECODER.role)
    logits = decoder.get_layer("logits")
    found = isinstance(logits, SurfaceLogits)
    made = decoder.get_layer(COEFFICIENTS).output if found else logits.output
    return keras.Model(decoder.input, {COEFFICIENTS: made}), over_picture(logits.knots) if found else PIXELS


def latent_dim_of(half: keras.Model) -> int:
    """The number of latents of an encoder or a decoder."""
    tensor = half.get_layer("z_mean").output if half.name == ENCODER.role else half.input
    return int(tensor.shape[-1])
