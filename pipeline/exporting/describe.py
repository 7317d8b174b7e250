"""What each file says of itself."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import onnx

from pipeline import __version__
from pipeline.shared.interface import FLOAT32, HALVES, OPERATIONS, SCORER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.inference.manifest import Manifest
    from pipeline.measures.elbo import Elbo
    from pipeline.shared.interface import Interface


PRODUCTS = ("Conv", "Gemm", "MatMul")


def describe_files(
    files: Mapping[str, Mapping[str, Path]],
    about: Manifest,
    roles: Mapping[str, Interface],
    elbos: Mapping[str, Elbo],
    own: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> None:
    """Let every file say what it is, where it comes from, and what its inputs and outputs mean.

    Args:
        files: by variant and role.
        about: the bundle.
        roles: the interfaces of its models.
        elbos: of validation images, by variant, if the files tell of them.
        own: what else each file says, by variant and role.
    """
    assert about.data is not None  # noqa: S101
    origins = {
        "package_version": __version__,
        "latent_dim": str(about.latent_dim),
        "data_source": about.data["source"],
        "data_sha256": digest(about.data["files"]),
        "params_sha256": str(about.params_sha256),
    }
    computed = [role for role in (*HALVES, SCORER.role) if role in files[FLOAT32]]
    operations = {role: sum(count_operations(onnx.load(files[FLOAT32][role])).values()) for role in computed}
    for variant, of_variant in files.items():
        for role, file in of_variant.items():
            facts = {}
            if role in operations:
                facts = {OPERATIONS: str(operations[role]), "variant": variant}
            if role in operations and variant in elbos:
                facts["validation_negative_elbo"] = f"{elbos[variant].negative_elbo:.4f}"
            tensors = [t.resolved(about.latent_dim) for t in (*roles[role].inputs, *roles[role].outputs)]
            meanings = {f"meaning_of_{tensor.name}": f"{tensor}: {tensor.meaning}" for tensor in tensors}
            _describe(file, roles[role], {"role": role, **origins, **facts, **own[variant].get(role, {}), **meanings})


def _describe(file: Path, interface: Interface, properties: Mapping[str, str]) -> None:
    """Write `properties` into the file's metadata and the meaning of inputs and outputs into its texts."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    meanings = {tensor.name: tensor.meaning for tensor in (*interface.inputs, *interface.outputs)}
    for value in [*model.graph.input, *model.graph.output]:
        value.doc_string = meanings[value.name]
    onnx.save(model, file)


def digest(content: Any) -> str:
    """SHA-256 of whatever JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def count_operations(model: onnx.ModelProto) -> dict[str, int]:
    """Floating-point operations per image of a float32 model, by the names of its products with weights.

    Two for each weight and each place at which it is used: in a convolution all positions of the output, in a product
    all rows that an image has.
    """
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in [*single.graph.input, *single.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    sizes: dict[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    operations = {}
    for node in graph.node:
        if node.op_type in PRODUCTS:
            made = shapes[node.output[0]]
            places = math.prod(made[2:] if node.op_type == "Conv" else made[:-1])
            operations[node.name] = 2 * sizes.get(node.input[1], 0) * places
    return operations
