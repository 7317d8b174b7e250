from collections.abc import Sequence
from dataclasses import dataclass

import onnxruntime as ort
import pytest

from pipeline.shared.interface import (
    CLASSES,
    DECODER,
    ENCODER,
    HALVES,
    JUDGE,
    PIXELS,
    ROLES,
    mismatches,
    read_latent_dim,
)
from tests import onnx_models


@dataclass
class Node:
    """As ONNX Runtime describes an input or output."""

    name: str
    type: str
    shape: Sequence[int | str | None]


IMAGE = Node("image", "tensor(uint8)", ["batch", 28, 28])
Z_MEAN = Node("z_mean", "tensor(float)", ["batch", 2])
Z_LOG_VAR = Node("z_log_var", "tensor(float)", ["batch", 2])


def test_the_promise_to_strangers() -> None:
    """Changing a line here breaks every program that runs an exported model."""
    promise = {role: (str(model.input), *map(str, model.outputs)) for role, model in HALVES.items()}
    assert promise == {
        "encoder": (
            "image uint8[batch, 28, 28]",
            "z_mean float32[batch, latent_dim]",
            "z_log_var float32[batch, latent_dim]",
        ),
        "decoder": ("z float32[batch, latent_dim]", "image float32[batch, 28, 28]"),
    }
    assert PIXELS == 784


def test_a_tensor_resolves_its_latent_size() -> None:
    assert str(DECODER.input.resolved(20)) == "z float32[batch, 20]"
    assert DECODER.outputs[0].resolved(20) == DECODER.outputs[0]


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_real_models_match(latent_dim: int) -> None:
    for interface, model in (
        (ENCODER, onnx_models.encoder(latent_dim)),
        (DECODER, onnx_models.decoder(latent_dim)),
    ):
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        assert mismatches(interface, session.get_inputs(), session.get_outputs()) == []
        assert read_latent_dim(interface, session.get_inputs(), session.get_outputs()) == latent_dim


def test_the_order_of_the_outputs_does_not_matter() -> None:
    assert mismatches(ENCODER, [IMAGE], [Z_LOG_VAR, Z_MEAN]) == []


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ([Z_MEAN], "z_mean float32[batch, 2]"),
        ([Z_MEAN, Node("z_log_var", "tensor(double)", ["batch", 2])], "z_log_var float64[batch, 2]"),
        ([Z_MEAN, Node("z_log_var", "tensor(float)", ["batch", 3])], "z_log_var float32[batch, 3]"),
        ([Z_MEAN, Node("z_log_var", "tensor(float)", ["batch"])], "z_log_var float32[batch]"),
        ([Z_MEAN, Node("z_log_var", "tensor(float)", ["batch", None])], "z_log_var float32[batch, ?]"),
        ([Z_MEAN, Node("z_log_var", "tensor(float)", [2, "batch"])], "z_log_var float32[2, batch]"),
        ([Z_MEAN, Z_LOG_VAR, Node("noise", "tensor(float)", ["batch", 2])], "noise float32[batch, 2]"),
    ],
)
def test_any_other_output_is_named(outputs: list[Node], found: str) -> None:
    (problem,) = mismatches(ENCODER, [IMAGE], outputs)
    assert problem.startswith("output is ")
    assert found in problem
    assert problem.endswith(", expected z_log_var float32[batch, 2] and z_mean float32[batch, 2]")


@pytest.mark.parametrize("axis", ["batch", "batch_size", "N", "unk__0", None])
@pytest.mark.parametrize("given", ["batch", "N", "Gemm_dim_0", None, 1])
def test_other_makers_call_the_rows_as_they_like(axis: str | None, given: str | int | None) -> None:
    """Or say of the input alone that there may be any number of them."""
    image = Node("image", "tensor(uint8)", [axis, 28, 28])
    outputs = [Node(name, "tensor(float)", [given, 2]) for name in ("z_mean", "z_log_var")]
    assert mismatches(ENCODER, [image], outputs) == []
    assert read_latent_dim(ENCODER, [image], outputs) == 2
    assert (mismatches(ENCODER, [image], outputs, exact=True) == []) == (axis == given == "batch")


@pytest.mark.parametrize(
    ("shape", "found"),
    [([1, 28, 28], "image uint8[1, 28, 28]"), (["N", "h", "w"], "uint8[N, h, w]"), (["N", 784], "uint8[N, 784]")],
)
def test_a_size_that_is_fixed_or_open_where_it_must_not_be_is_named(shape: list[int | str], found: str) -> None:
    (problem,) = mismatches(ENCODER, [Node("image", "tensor(uint8)", shape)], [Z_MEAN, Z_LOG_VAR])
    assert found in problem


def test_input_and_outputs_are_told_apart() -> None:
    problems = mismatches(ENCODER, [Z_MEAN], [IMAGE])
    assert [problem.split()[0] for problem in problems] == ["input", "output"]


@pytest.mark.parametrize("size", ["latent_dim", None])
def test_a_latent_size_that_is_not_fixed_is_none(size: str | None) -> None:
    z_mean = Node("z_mean", "tensor(float)", ["batch", size])
    assert read_latent_dim(ENCODER, [IMAGE], [z_mean, Z_LOG_VAR]) is None
    assert read_latent_dim(ENCODER, [IMAGE], []) is None


def test_the_judge_has_as_many_probabilities_as_classes_and_belongs_to_no_bundle() -> None:
    judge = JUDGE.sized({CLASSES: 47})
    assert [str(tensor) for tensor in (*judge.inputs, *judge.outputs)] == [
        "image uint8[batch, 28, 28]",
        "features float32[batch, 64]",
        "probabilities float32[batch, 47]",
    ]
    assert JUDGE.role not in ROLES
