"""Small real models with the pipeline's interface and seeded random weights, and what NumPy makes of them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.inference.manifest import DIGEST, manifest_digest
from pipeline.inference.usual import Usual
from pipeline.shared.files import sha256
from pipeline.shared.interface import (
    HALVES,
    IMAGE_SHAPE,
    IR_VERSION,
    MANIFEST_FILE,
    MODEL_FILE,
    OPERATIONS,
    OPSET,
    PIXELS,
    ROLES,
    SCHEMA_VERSION,
    SCORER,
    TEST_DATA,
    VARIANT_FILES,
)

UNITS = 48

Floats = NDArray[np.float32]


def encoder(latent_dim: int = 2, seed: int = 0) -> onnx.ModelProto:
    """`image` uint8 `[batch, 28, 28]` to `z_mean` and `z_log_var` through one hidden layer."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["pixels"]),
        _dense("pixels", "hidden"),
        helper.make_node("Relu", ["hidden"], ["features"]),
        _dense("features", "z_mean"),
        _dense("features", "z_log_var"),
    ]
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "flat": np.array([-1, PIXELS]),
        **_weights({"hidden": (PIXELS, UNITS), "z_mean": (UNITS, latent_dim), "z_log_var": (UNITS, latent_dim)}, seed),
    }
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *IMAGE_SHAPE])
    return _model(nodes, constants, image, {name: ["batch", latent_dim] for name in ("z_mean", "z_log_var")})


def decoder(latent_dim: int = 2, seed: int = 0) -> onnx.ModelProto:
    """`z` float32 `[batch, latent_dim]` to `image` `[batch, 28, 28]` in [0, 1] through one hidden layer."""
    nodes = [
        _dense("z", "hidden"),
        helper.make_node("Relu", ["hidden"], ["features"]),
        _dense("features", "logits"),
        helper.make_node("Sigmoid", ["logits"], ["pixels"]),
        helper.make_node("Reshape", ["pixels", "square"], ["image"]),
    ]
    constants = {
        "square": np.array([-1, *IMAGE_SHAPE]),
        **_weights({"hidden": (latent_dim, UNITS), "logits": (UNITS, PIXELS)}, seed),
    }
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", latent_dim])
    return _model(nodes, constants, z, {"image": ["batch", *IMAGE_SHAPE]})


def judge(classes: int = 10, seed: int = 0) -> onnx.ModelProto:
    """`image` uint8 `[batch, 28, 28]` to `features` and `probabilities`, without a hidden layer."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["pixels"]),
        _dense("pixels", "features"),
        _dense("features", "logits"),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "flat": np.array([-1, PIXELS]),
        **_weights({"features": (PIXELS, 64), "logits": (64, classes)}, seed),
    }
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *IMAGE_SHAPE])
    return _model(nodes, constants, image, {"features": ["batch", 64], "probabilities": ["batch", classes]})


def scorer(latent_dim: int = 2, seed: int = 0, usual: NDArray[np.floating] | None = None) -> onnx.ModelProto:
    """The scores of `encoder` and `decoder` of the same seed, which knows the excess of `usual` images."""
    halves = [encoder(latent_dim, seed), decoder(latent_dim, seed)]
    first, second = (onnx.compose.add_prefix(half, f"{name}_") for name, half in zip("ed", halves, strict=True))
    nodes = [*first.graph.node, *second.graph.node[:-2]]  # but for the sigmoid, and what makes a square of it
    names = {"e_image": "image", "e_scaled": "scaled", "e_pixels": "x", "d_z": "e_z_mean", "d_logits": "logits"}
    for node in nodes:
        for some in (node.input, node.output):
            some[:] = [names.get(name, name) for name in some]
    nodes += [
        helper.make_node("Softplus", ["logits"], ["softplus"]),
        helper.make_node("Mul", ["x", "logits"], ["product"]),
        helper.make_node("Sub", ["softplus", "product"], ["cross_entropies"]),
        helper.make_node("Sub", ["one", "x"], ["paper"]),
        *(helper.make_node("Max", [name, "tiny"], [f"{name}_above_0"]) for name in ("x", "paper")),
        *(helper.make_node("Log", [f"{name}_above_0"], [f"log_{name}"]) for name in ("x", "paper")),
        *(helper.make_node("Mul", [name, f"log_{name}"], [f"{name}_information"]) for name in ("x", "paper")),
        helper.make_node("Sum", ["cross_entropies", "x_information", "paper_information"], ["divergences"]),
        helper.make_node("ReduceSum", ["divergences", "last"], ["divergence"], keepdims=0),
        helper.make_node("Relu", ["divergence"], ["reconstruction"]),
        helper.make_node("Mul", ["e_z_mean", "e_z_mean"], ["square"]),
        helper.make_node("Exp", ["e_z_log_var"], ["variance"]),
        helper.make_node("Sum", ["square", "variance"], ["with_variance"]),
        helper.make_node("Sub", ["with_variance", "e_z_log_var"], ["with_logarithm"]),
        helper.make_node("Sub", ["with_logarithm", "one"], ["doubled"]),
        helper.make_node("Mul", ["doubled", "half"], ["of_each"]),
        helper.make_node("ReduceSum", ["of_each", "last"], ["signed_kl"], keepdims=0),
        helper.make_node("Relu", ["signed_kl"], ["kl"]),
        helper.make_node("Add", ["reconstruction", "kl"], ["excess"]),
        helper.make_node("ReduceSum", ["x", "last"], ["ink"], keepdims=0),
        helper.make_node("Add", ["ink", "one"], ["more_ink"]),
        helper.make_node("Pow", ["more_ink", "half"], ["root"]),
        helper.make_node("Div", ["excess", "root"], ["score"]),
    ]
    weights = {
        tensor.name: numpy_helper.to_array(tensor) for half in (first, second) for tensor in half.graph.initializer
    }
    numbers = {"one": 1, "half": 0.5, "tiny": 1e-30}
    weights |= {name: np.array(value, np.float32) for name, value in numbers.items()} | {"last": np.array([1])}
    used = {name for node in nodes for name in node.input}
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *IMAGE_SHAPE])
    outputs = {name: ["batch"] for name in ("excess", "reconstruction", "kl", "score")}
    model = _model(nodes, {name: value for name, value in weights.items() if name in used}, image, outputs)
    facts = Usual.of(np.linspace(0, 1000, 1001) if usual is None else usual).facts()
    operations = sum(2 * math.prod(one.dims) for one in model.graph.initializer if len(one.dims) == 2)
    for key, value in {"role": SCORER.role, OPERATIONS: str(operations), **facts}.items():
        model.metadata_props.add(key=key, value=value)
    return model


def save(model: onnx.ModelProto, folder: Path) -> Path:
    """Write `folder/model.onnx`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL_FILE)
    return folder


def save_bundle(folder: Path, latent_dim: int = 2, seed: int = 0) -> Path:
    """Write a bundle as `vae export` does, `int8` and `fp16` with rounded weights; returns the folder."""
    models = {"encoder": encoder(latent_dim, seed), "decoder": decoder(latent_dim, seed)}
    for role, model in models.items():
        operations = sum(2 * math.prod(weight.dims) for weight in model.graph.initializer if len(weight.dims) == 2)
        model.metadata_props.add(key="role", value=role)
        model.metadata_props.add(key=OPERATIONS, value=str(operations))
        vectors = save(model, folder / role) / TEST_DATA
        onnx.save(_rounded(model, lambda weight: np.rint(weight * 1024) / 1024), folder / role / VARIANT_FILES["int8"])
        onnx.save(_rounded(model, lambda weight: weight.astype(np.float16)), folder / role / VARIANT_FILES["fp16"])
        vectors.mkdir(exist_ok=True)
        save_vectors(model, vectors, latent_dim)
        write_manifest(folder / role, [role], latent_dim)
    (folder / "README.md").write_text("A card, which no manifest lists.\n")
    return write_manifest(folder, list(HALVES), latent_dim)


def add_scorer(bundle: Path, latent_dim: int = 2, seed: int = 0) -> Path:
    """Put the scorer of its two halves into a bundle, in three precisions and with test vectors; returns the bundle."""
    model, folder = scorer(latent_dim, seed), bundle / SCORER.folder
    vectors = save(model, folder) / TEST_DATA
    roundings: dict[str, Callable[[Floats], NDArray[np.floating]]] = {
        "int8": lambda weight: np.rint(weight * 1024) / 1024,
        "fp16": lambda weight: weight.astype(np.float16),
    }
    for name, rounding in roundings.items():  # of matrices alone
        rounded = _rounded(model, lambda weight, rounding=rounding: rounding(weight) if weight.ndim == 2 else weight)
        onnx.save(rounded, folder / VARIANT_FILES[name])
    vectors.mkdir(exist_ok=True)
    images = np.random.default_rng(3).integers(0, 256, (32, *IMAGE_SHAPE), np.uint8)
    save_vector(images, SCORER.input.name, vectors / "input_0.pb")
    for number, (tensor, values) in enumerate(
        zip(SCORER.outputs, score_in_numpy(images, latent_dim, seed), strict=True)
    ):
        save_vector(values.astype(np.float32), tensor.name, vectors / f"output_{number}.pb")
    write_manifest(folder, [SCORER.role], latent_dim)
    return write_manifest(bundle, [*HALVES, SCORER.role], latent_dim)


def put_scorer(bundle: Path, latent_dim: int = 2, seed: int = 0, usual: NDArray[np.floating] | None = None) -> Path:
    """Put the scorer of the bundle's halves beside them, which no manifest lists; returns the bundle."""
    save(scorer(latent_dim, seed, usual), bundle / SCORER.folder)
    return bundle


def save_vectors(model: onnx.ModelProto, folder: Path, latent_dim: int = 2) -> None:
    """Write input and outputs of a model, 32 rows, as NumPy has them."""
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, (32, *IMAGE_SHAPE), np.uint8)
    z = generator.standard_normal((32, latent_dim), np.float32)
    is_encoder = model.graph.input[0].name == "image"
    outputs = encode_in_numpy(model, images) if is_encoder else (decode_in_numpy(model, z),)
    save_vector(images if is_encoder else z, model.graph.input[0].name, folder / "input_0.pb")
    for number, output in enumerate(outputs):
        save_vector(output, model.graph.output[number].name, folder / f"output_{number}.pb")


def save_vector(values: NDArray[np.generic], name: str, path: Path) -> None:
    """Write a serialized TensorProto."""
    path.write_bytes(numpy_helper.from_array(values, name).SerializeToString())


def write_manifest(folder: Path, roles: list[str], latent_dim: int = 2, **changes: Any) -> Path:
    """Write the manifest that fits the files as they are, but for the `changes`; returns the folder."""
    models = {}
    for role in roles:
        place = "" if (folder / MODEL_FILE).exists() else f"{role}/"
        interface = ROLES[role]
        models[role] = {
            "input": str(interface.input.resolved(latent_dim)),
            "outputs": [str(output.resolved(latent_dim)) for output in interface.outputs],
            "test_data": f"{place}{TEST_DATA}",
            "variants": {
                name: {"file": f"{place}{file}", **_listed_variant(role, name)} for name, file in VARIANT_FILES.items()
            },
        }
        if role == SCORER.role:
            usual = Usual.read({one.key: one.value for one in onnx.load(folder / place / MODEL_FILE).metadata_props})
            models[role] |= {} if usual is None else {"images": usual.images, "quantiles": usual.lists()}
    content = {
        "schema_version": SCHEMA_VERSION,
        "latent_dim": latent_dim,
        "tolerance": {"absolute": 1e-4, "relative": 1e-4, "batch_sizes": [1, 3, 257]},
        "models": models,
        "files": [
            {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path not in (folder / MANIFEST_FILE, folder / "README.md")
        ],
        **changes,
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(content | {DIGEST: manifest_digest(content)}, indent=2))
    return folder


def _listed_variant(role: str, name: str) -> dict[str, Any]:
    """What a manifest says of a variant beside its file."""
    budget = {"int8": 0.01, "fp16": 0.001}
    about: dict[str, Any] = {"budget": {"mean_difference": budget[name]}} if name in budget else {}
    if role == SCORER.role:
        about["area_under_curve"] = 0.8
        if name in budget:  # of the mean difference, in nats
            about["budget"] = {"mean_difference": 200 * budget[name], "area_under_curve": budget[name]}
    return about


def encode_in_numpy(model: onnx.ModelProto, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """`z_mean` and `z_log_var` of the model that `encoder` builds."""
    of = constants(model)
    x = images.reshape(-1, PIXELS).astype(np.float32) / 255
    features = np.maximum(x @ of["hidden_w"] + of["hidden_b"], 0)
    return features @ of["z_mean_w"] + of["z_mean_b"], features @ of["z_log_var_w"] + of["z_log_var_b"]


def decode_in_numpy(model: onnx.ModelProto, z: Floats) -> Floats:
    """`image` of the model that `decoder` builds."""
    of = constants(model)
    features = np.maximum(z @ of["hidden_w"] + of["hidden_b"], 0)
    image: Floats = 1 / (1 + np.exp(-(features @ of["logits_w"] + of["logits_b"])))
    return image.reshape(-1, *IMAGE_SHAPE)


def score_in_numpy(images: NDArray[np.uint8], latent_dim: int = 2, seed: int = 0) -> tuple[Floats, ...]:
    """The outputs of the model that `scorer` builds, in order, from probabilities in float64."""
    z_mean, z_log_var = encode_in_numpy(encoder(latent_dim, seed), images)
    p = decode_in_numpy(decoder(latent_dim, seed), z_mean).astype(np.float64)
    x = images / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        ink, paper = x * np.log(x / p), (1 - x) * np.log((1 - x) / (1 - p))
    reconstruction = (np.nan_to_num(ink) + np.nan_to_num(paper)).sum(axis=(1, 2))
    kl = 0.5 * (np.exp(z_log_var) + z_mean**2 - 1 - z_log_var).sum(axis=1)
    excess = reconstruction + kl
    return excess, reconstruction, kl, excess / np.sqrt(1 + x.sum(axis=(1, 2)))


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """The model's weights by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def set_constant(model: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> onnx.ModelProto:
    """Replace one of the weights in place; returns the model."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))
    return model


def _rounded(model: onnx.ModelProto, rounding: Callable[[Floats], NDArray[np.floating]]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, weight in constants(model).items():
        if weight.dtype == np.float32:
            set_constant(copy, name, rounding(weight).astype(np.float32))
    return copy


def _dense(source: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Gemm", [source, f"{name}_w", f"{name}_b"], [name])


def _weights(shapes: dict[str, tuple[int, int]], seed: int) -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.generic]] = {}
    for name, (inputs, outputs) in shapes.items():
        weights[f"{name}_w"] = generator.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        weights[f"{name}_b"] = generator.normal(0, 0.5, outputs).astype(np.float32)
    return weights


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    source: onnx.ValueInfoProto,
    outputs: dict[str, list[int | str]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "half",
        [source],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model
