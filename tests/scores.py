"""Results as `vae score` lays them out, and scorers that tell what is usual."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.inference.manifest import Budget, Entry, ListedFile, Manifest, Tolerance, Variant, write_manifest
from pipeline.inference.usual import Usual
from pipeline.shared.files import sha256
from pipeline.shared.interface import IR_VERSION, MODEL_FILE, OPSET, SCORER, TEST_DATA, VARIANT_FILES
from tests import onnx_models

Floats = NDArray[np.floating[Any]]
MODEL, ENCODER = "a" * 64, "b" * 64


def write(
    folder: Path,
    score: Floats,
    z_mean: Floats | None = None,
    *,
    job: str = "score",
    rows_per_part: int = 65_536,
    **changes: str | None,
) -> Path:
    """Write a result, `changes` in the metadata of its files; returns the folder."""
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, max(1, len(score)), rows_per_part)):
        rows = slice(start, start + rows_per_part)
        part = table(score[rows], None if z_mean is None else z_mean[rows], **changes)
        with (folder / f"part-{number:05d}.parquet").open("wb") as file:  # whose name need not be text
            pq.write_table(part, file)
    (folder / "_manifest.json").write_text(json.dumps({"job": job, "rows": len(score)}))
    return folder


def table(score: Floats, z_mean: Floats | None = None, **changes: str | None) -> pa.Table:
    """One part of a result."""
    metadata: dict[str, str | None] = {"model_sha256": MODEL, "precision": "float32"}
    columns: dict[str, Any] = {
        "index": np.arange(len(score)),
        "label": pa.nulls(len(score), pa.uint8()),
        **dict.fromkeys(("excess", "reconstruction", "kl", "score", "percentile"), pa.array(score, pa.float32())),
    }
    if z_mean is not None:
        columns["z_mean"] = latents(z_mean)
        metadata |= {"encoder_sha256": ENCODER, "latent_dim": str(z_mean.shape[1])}
    return pa.table(columns).replace_schema_metadata({k: v for k, v in (metadata | changes).items() if v is not None})


def latents(z_mean: Floats) -> pa.Array:
    """A column of fixed-size lists of float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(z_mean.ravel(), pa.float32()), z_mean.shape[1])


def scorer(facts: Mapping[str, str]) -> onnx.ModelProto:
    """The sum of the pixels as all three outputs, which is all the same here; `facts` in the metadata."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        *(helper.make_node("ReduceSum", ["grey", "axes"], [one.name], keepdims=0) for one in SCORER.outputs),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(one.name, kind, one.shape) for one in tensors]
        for tensors, kind in ((SCORER.inputs, TensorProto.UINT8), (SCORER.outputs, TensorProto.FLOAT))
    )
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    graph = helper.make_graph(nodes, SCORER.role, inputs, outputs, [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    return model


def save_scorer(folder: Path, score: Floats) -> Path:
    """Write a bundle of a scorer in two precisions, for which `score` is usual; returns the folder."""
    vectors = onnx_models.save(scorer(Usual.of(score).facts()), folder / SCORER.folder) / TEST_DATA
    int8 = folder / SCORER.folder / VARIANT_FILES["int8"]
    onnx.save(scorer({**Usual.of(score).facts(), "precision": "int8"}), int8)
    vectors.mkdir()
    for name in ("input_0", *(f"output_{number}" for number in range(len(SCORER.outputs)))):
        onnx_models.save_vector(np.zeros(1), name, vectors / f"{name}.pb")
    variants = {
        "float32": Variant(f"{SCORER.folder}/{MODEL_FILE}"),
        "int8": Variant(f"{SCORER.folder}/{int8.name}", budget=Budget(None, 0.01)),
    }
    files = sorted((folder / SCORER.folder).rglob("*.*"))
    listed = (ListedFile(file.relative_to(folder).as_posix(), file.stat().st_size, sha256(file)) for file in files)
    entry = Entry(SCORER, (f"{SCORER.folder}/{TEST_DATA}",), variants)
    write_manifest(folder, Manifest(2, Tolerance(1e-4, 1e-4), {SCORER.role: entry}, tuple(listed)))
    return folder
