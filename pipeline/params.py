"""params.yaml as frozen, validated types, one per stage."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML  # the parser of DVC itself, so that both read the same values
from ruamel.yaml.error import YAMLError

from pipeline.errors import ParamsError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(ge=1)]
Filters = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(strict=False)]
Units = Annotated[tuple[Annotated[int, Field(ge=1, le=16384)], ...], Field(strict=False)]  # YAML has no tuples


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)  # `epochs: true` is not 1


class Download(_Section):
    """Which images, and where they come from."""

    dataset: Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "emnist-letters", "emnist-balanced", "own"]
    source: Literal["auto", "published", "sample"]
    own: Annotated[str, Field(min_length=1)]
    labels_from: Annotated[str, Field(min_length=1)] | None
    invert: bool
    test_share: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Prepare(_Section):
    """How the training images are split."""

    validation_images: Annotated[int, Field(ge=1, le=30000)]
    seed: Seed


class Judge(_Section):
    """How the classifier is fitted that judges generated images."""

    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    seed: Seed


class Model(_Section):
    """The sizes of the network."""

    latent_dim: Annotated[int, Field(ge=1, le=512)]
    encoder_filters: Filters
    encoder_units: Units
    decoder_units: Units
    decoder_filters: Filters
    decoder_surface: Annotated[int, Field(ge=0, le=30, multiple_of=3)]
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"]


class Train(_Section):
    """How the network is fitted."""

    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["constant", "cosine"]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    clip_norm: Annotated[float, Field(ge=0)]
    kl_weight: Annotated[float, Field(ge=0, le=100)]
    kl_warmup_epochs: Annotated[int, Field(ge=0)]
    binarisation: Literal["none", "static", "dynamic"]
    importance_samples: Positive
    patience: Annotated[int, Field(ge=0)]
    precision: Literal["float32", "bfloat16", "float16"]
    seed: Seed
    jit_compile: bool
    steps_per_execution: Positive


class Sharpen(_Section):
    """How a discriminator teaches a second decoder."""

    epochs: Positive
    start: Literal["trained", "nothing"]
    encoder: Literal["frozen", "trained"]
    batch_size: Annotated[int, Field(ge=2)]
    discriminator_rate: Annotated[float, Field(gt=0, le=1)]
    decoder_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0)]
    adversarial_weight: Annotated[float, Field(ge=0, le=100)]
    feature_weight: Annotated[float, Field(ge=0, le=100)]
    cross_entropy_weight: Annotated[float, Field(ge=0, le=100)]
    kl_weight: Annotated[float, Field(ge=0, le=100)]
    gradient_penalty: Annotated[float, Field(ge=0, le=100)]
    average: Annotated[float, Field(ge=0, lt=1)]
    largest_accuracy: Annotated[float, Field(gt=0.5, le=1)]
    seed: Seed


class Export(_Section):
    """What a converted model is held to."""

    absolute_tolerance: Annotated[float, Field(ge=0, le=0.1)]
    relative_tolerance: Annotated[float, Field(ge=0, le=0.1)]
    calibration_images: Annotated[int, Field(ge=100)]
    mixture_components: Annotated[int, Field(ge=1, le=1000)]
    seed: Seed


Precision = Literal["float32", "int8", "fp16"]


class Encode(_Section):
    """How the batch job runs."""

    precision: Precision


class Generate(_Section):
    """Which images the decoder draws."""

    count: Positive
    seed: Seed
    reconstructions: Positive
    manifold: Annotated[int, Field(ge=2, le=100)]
    precision: Precision


class Score(_Section):
    """How the test images are scored."""

    most: Annotated[int, Field(ge=1, le=1000)]
    precision: Precision


class Evaluate(_Section):
    """How the figures are estimated."""

    samples: Positive
    importance_samples: Positive
    neighbours: Positive
    strangers: Annotated[str, Field(min_length=1)] | None
    seed: Seed


class Params(_Section):
    """All of params.yaml."""

    download: Download
    prepare: Prepare
    judge: Judge
    model: Model
    train: Train
    sharpen: Sharpen
    export: Export
    encode: Encode
    generate: Generate
    score: Score
    evaluate: Evaluate


def read_params(path: Path) -> Params:
    """Read and validate a params.yaml.

    Raises:
        ParamsError: the file is missing or not YAML, or a key is unknown, missing or out of range; every
            problem is named.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ParamsError(f"{path} was not found; run in the folder that holds it, or name it with --params") from None
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ParamsError(f"{path} holds {found}, sections of parameters were expected")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{path}: " + "; ".join(map(_problem, error.errors()))) from error


def _problem(error: Mapping[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "extra_forbidden" if name == "preset":
            return "unknown key preset; remove it, and apply a preset by dvc exp run $(vae preset NAME)"
        case "extra_forbidden" | "invalid_key":
            known = _names_beside(error["loc"])
            nearest = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0)
            return f"unknown key {name}, did you mean {'.'.join([*map(str, error['loc'][:-1]), *nearest])}?"
        case "missing":
            return f"key {name} is missing"
        case "model_type" | "tuple_type":
            expected = "a section of parameters" if error["type"] == "model_type" else "a list"
            return f"{name} is {error['input']!r}, expected {expected}"
        case _:
            expected = error["msg"].removeprefix("Input should be ")
            return f"{name} is {error['input']!r}, expected {expected}"


def _names_beside(location: tuple[int | str, ...]) -> list[str]:
    """The valid keys in the section that holds `location`."""
    section: type[BaseModel] = Params
    for key in location[:-1]:
        annotation = section.model_fields[str(key)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)  # noqa: S101
        section = annotation
    return list(section.model_fields)
