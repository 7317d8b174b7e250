"""The scorer as a file: the scores of the formula from a converted model, of any images and logits, in any variant."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy.special import expit, rel_entr

from pipeline.exporting.check import QUANTISED_OPERATORS, by_keras, prove, structure
from pipeline.exporting.convert import convert
from pipeline.exporting.graph import Graph
from pipeline.exporting.scorer import (
    SCORER_BUDGETS,
    SCORER_OPERATORS,
    ScorerPrice,
    after_products,
    append_scores,
    price_scorer,
)
from pipeline.exporting.variants import write_fp16, write_int8
from pipeline.inference import Decoder, Encoder, Scorer
from pipeline.inference.manifest import Tolerance
from pipeline.inference.usual import Usual
from pipeline.measures.outliers import area_under_curve
from pipeline.shared.interface import IMAGE_SHAPE, IR_VERSION, OPSET, SCORER
from pipeline.training.model import build_decoder, build_encoder
from pipeline.training.scorer import build_reconstruction, build_scorer
from pipeline.training.weights import save_half
from tests import onnx_models

Pixels, Floats = NDArray[np.uint8], NDArray[np.float64]
Scored = dict[str, NDArray[np.floating]]

IMAGES = np.random.default_rng(0).integers(0, 256, (300, *IMAGE_SHAPE), np.uint8)
HALVES = {
    "dense": ({}, {}),
    "convolutions": ({"filters": (2, 4), "activation": "gelu"}, {"filters": (4, 2), "activation": "gelu"}),
    "a surface of convolutions": ({"filters": (2, 4)}, {"filters": (4, 2), "surface": 27}),
}


def in_float64(images: Pixels, z_mean: Floats, z_log_var: Floats, logits: Floats) -> Scored:
    """The scores by SciPy."""
    x = images / 255
    reconstruction = (rel_entr(x, expit(logits)) + rel_entr(1 - x, expit(-logits))).sum(axis=(1, 2))
    kl = 0.5 * (z_mean**2 + np.exp(z_log_var) - 1 - z_log_var).sum(axis=1)
    excess = reconstruction + kl
    return {
        "excess": excess,
        "reconstruction": reconstruction,
        "kl": kl,
        "score": excess / np.sqrt(1 + x.sum(axis=(1, 2))),
    }


def score(file: Path | bytes, images: Pixels) -> Scored:
    """By the file."""
    names = [output.name for output in SCORER.outputs]
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def assert_close(found: Scored, expected: Scored, relative: float = 1e-5, absolute: float = 1e-3) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=relative, atol=absolute, err_msg=name)


def build(folder: Path, kind: str, latent_dim: int = 2) -> tuple[keras.Model, keras.Model]:
    """Halves with random weights and biases, saved, and their scorer in `scorer.onnx`."""
    keras.utils.set_random_seed(0)
    of_encoder, of_decoder = HALVES[kind]
    halves = build_encoder(latent_dim, [16], **of_encoder), build_decoder(latent_dim, [16], **of_decoder)
    generator = np.random.default_rng(0)
    for half in halves:
        half.set_weights([weight + generator.normal(0, 0.1, weight.shape) for weight in half.get_weights()])
        save_half(half, folder)
    convert(folder, "scorer", folder / "scorer.onnx")
    return halves


# The converted model


def test_it_is_the_formula_in_numpy_from_the_same_weights(tmp_path: Path) -> None:
    encoder, decoder = build(tmp_path, "dense")

    def dense(half: keras.Model, name: str, values: Floats) -> Floats:
        kernel, bias = half.get_layer(name).get_weights()
        result: Floats = values @ kernel.astype(np.float64) + bias
        return result

    hidden = np.maximum(dense(encoder, "encoder_1", IMAGES.reshape(-1, 784) / 255), 0)
    z_mean, z_log_var = (dense(encoder, name, hidden) for name in ("z_mean", "z_log_var"))
    logits = dense(decoder, "pixels", np.maximum(dense(decoder, "decoder_1", z_mean), 0))
    expected = in_float64(IMAGES, z_mean, z_log_var, logits.reshape(-1, *IMAGE_SHAPE))
    assert_close(score(tmp_path / "scorer.onnx", IMAGES), expected)


@pytest.mark.parametrize("kind", HALVES)
def test_it_is_the_formula_of_what_keras_reconstructs_and_proven(kind: str, tmp_path: Path) -> None:
    halves = build(tmp_path, kind)
    parts = {name: np.float64(values) for name, values in build_reconstruction(*halves)(IMAGES).items()}
    assert_close(score(tmp_path / "scorer.onnx", IMAGES), in_float64(IMAGES, **parts))
    proof = prove(
        tmp_path / "scorer.onnx", SCORER, by_keras(build_scorer(*halves)), [IMAGES], Tolerance(1e-3, 1e-4),
        SCORER_OPERATORS,
    )  # fmt: skip
    assert proof.failures == ()
    assert proof.largest_difference.keys() == {"keras", "reference"}


def test_a_second_conversion_gives_the_same_bytes_and_the_promised_names(tmp_path: Path) -> None:
    build(tmp_path, "convolutions")
    convert(tmp_path, "scorer", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "scorer.onnx").read_bytes()
    graph = onnx.load(tmp_path / "again.onnx").graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {
        "image": ["batch", 28, 28],
        "excess": ["batch"],
        "reconstruction": ["batch"],
        "kl": ["batch"],
        "score": ["batch"],
    }


@pytest.mark.parametrize(("kind", "latent_dim"), [*((kind, 2) for kind in HALVES), ("dense", 7), ("dense", 33)])
def test_an_image_has_the_same_bytes_in_a_batch_of_strangers(kind: str, latent_dim: int, tmp_path: Path) -> None:
    """However many latents are summed, and wherever in memory those of an image begin."""
    build(tmp_path, kind, latent_dim)
    whole = Scorer(tmp_path / "scorer.onnx", batch_size=300)(IMAGES)
    for size in (1, 2, 3, 7, 128):
        for name, values in Scorer(tmp_path / "scorer.onnx", batch_size=size)(IMAGES)._asdict().items():
            assert values.tobytes() == getattr(whole, name).tobytes(), (name, size)


def test_an_image_that_the_decoder_made_of_its_own_latents_has_hardly_more_than_their_kl(tmp_path: Path) -> None:
    """Logits are linear in two latents, and so small that grey levels are too: then the encoder is an inverse."""
    keras.utils.set_random_seed(0)
    encoder, decoder = build_encoder(2, []), build_decoder(2, [])
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(784, 2)))[0].T  # orthonormal
    decoder.set_weights([2 * directions, np.zeros(784)])
    inverse = 4 * directions.T / 2  # of sigmoid(l) = 1/2 + l/4
    narrow = [np.zeros((784, 2)), np.full(2, -6.0)]
    encoder.get_layer("z_mean").set_weights([inverse, -0.5 * inverse.sum(axis=0)])
    encoder.get_layer("z_log_var").set_weights(narrow)
    for half in (encoder, decoder):
        save_half(half, tmp_path)
        convert(tmp_path, half.name, tmp_path / f"{half.name}.onnx")
    convert(tmp_path, "scorer", tmp_path / "scorer.onnx")
    z = np.random.default_rng(1).standard_normal((50, 2), np.float32)
    images = Decoder(tmp_path / "decoder.onnx").pixels(z)
    np.testing.assert_allclose(Encoder(tmp_path / "encoder.onnx")(images)[0], z, atol=0.2)
    own, strange = (Scorer(tmp_path / "scorer.onnx")(some) for some in (images, 255 - images.transpose(0, 2, 1)))
    assert own.reconstruction.max() < 0.02
    np.testing.assert_allclose(own.excess, own.kl, atol=0.02)
    assert np.median(strange.reconstruction) > 10 * own.reconstruction.max()


# Whatever latents and logits are


def looked_up(logits: NDArray[np.float32], z_mean: NDArray[np.float32], z_log_var: NDArray[np.float32]) -> bytes:
    """A scorer of 256 sets of latents and logits, of which the first pixel of an image picks one."""
    nodes = [
        helper.make_node("Slice", ["image", "from", "to", "axes"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["level"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["level", "flat"], ["row"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *IMAGE_SHAPE])
    made = helper.make_tensor_value_info("z_mean", TensorProto.FLOAT, ["batch", z_mean.shape[1]])
    graph = Graph(empty := helper.make_graph(nodes, "scorer", [image], [made]))
    for name, table in (("logits", logits), ("z_mean", z_mean), ("z_log_var", z_log_var)):
        graph.add("Gather", graph.constant(table), "row", output=name)
    for name, values in (("from", [0, 0]), ("to", [1, 1]), ("axes", [1, 2]), ("flat", [-1])):
        empty.initializer.append(onnx.numpy_helper.from_array(np.array(values), name))
    model = helper.make_model(empty, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    append_scores(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


GENERATOR = np.random.default_rng(5)
TABLES = {
    "logits": (np.linspace(0, 100, 256)[:, None, None] * GENERATOR.choice([-1, -0.5, 0, 0.1, 1], (256, 28, 28))),
    "z_mean": GENERATOR.normal(0, 3, (256, 2)),
    "z_log_var": GENERATOR.uniform(-20, 4, (256, 2)),
}
TABLES = {name: table.astype(np.float32) for name, table in TABLES.items()}
LOOKED_UP = ort.InferenceSession(looked_up(**TABLES), providers=["CPUExecutionProvider"])


def check(images: Pixels) -> None:
    """Finite, not below 0, right."""
    names = [output.name for output in SCORER.outputs]
    found = dict(zip(names, LOOKED_UP.run(names, {"image": images}), strict=True))
    assert all(np.isfinite(values).all() and (values >= 0).all() for values in found.values())
    of_each = {name: table[images[:, 0, 0]].astype(np.float64) for name, table in TABLES.items()}
    assert_close(found, in_float64(images, **of_each), absolute=1e-2)


@settings(deadline=None)
@given(images=hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(28), st.just(28))))
def test_scores_of_any_bytes_are_finite_not_below_0_and_right(images: Pixels) -> None:
    check(images)


@pytest.mark.parametrize("levels", [(0, 255), (0,), (255,), (1, 254), (127, 128)])
def test_so_are_those_of_pixels_at_the_ends_and_logits_of_up_to_100(levels: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).choice(np.array(levels, np.uint8), (256, *IMAGE_SHAPE))
    images[:, 0, 0] = np.arange(256)
    check(images)


# Variants


@pytest.mark.parametrize("kind", HALVES)
def test_behind_the_last_product_with_weights_stand_the_sums_alone(kind: str, tmp_path: Path) -> None:
    build(tmp_path, kind)
    model = onnx.load(tmp_path / "scorer.onnx")
    last = after_products(model)
    operators = [node.op_type for node in model.graph.node if node.name in last]
    assert operators.count("ReduceSum") == 5  # of terms without and with logarithms, of entropies, of the KL, of ink
    assert {"Abs", "Sigmoid", "ReduceProd", "Log", "GatherElements", "Exp"} <= {*operators}
    if not kind.startswith("a surface"):  # whose two products make pixels of knots
        assert not {"Gemm", "MatMul", "Conv"} & {*operators}
    front = [node for node in model.graph.node if node.name not in last]
    made = {name for node in model.graph.node if node.name in last for name in node.output}
    assert not any(made.intersection(node.input) for node in front)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a scorer whose large sums float16 can't hold: it is wrong about pixels by up to 100 and more nats each."""
    folder = tmp_path_factory.mktemp("variants")
    halves = build(folder, "dense")
    kernel, bias = halves[1].get_layer("pixels").get_weights()
    halves[1].get_layer("pixels").set_weights([kernel, bias + np.resize([150, -150], 784)])
    save_half(halves[1], folder)
    files = {name: folder / f"{name}.onnx" for name in ("float32", "int8", "fp16")}
    convert(folder, "scorer", files["float32"])
    write_int8(files["float32"], files["int8"], "image", IMAGES)
    write_fp16(files["float32"], files["fp16"], after_products(onnx.load(files["float32"])))
    return files


def test_fp16_keeps_the_last_nodes_in_float32(variants: dict[str, Path]) -> None:
    exact, found = (score(variants[name], IMAGES) for name in ("float32", "fp16"))
    assert exact["excess"].min() > 50_000
    black_and_white = np.where(np.resize([0, 255], (1, 28, 28)), 255, 0).astype(np.uint8)
    assert score(variants["fp16"], black_and_white)["reconstruction"] > 65_504  # the largest of float16
    assert_close(found, exact, relative=3e-3, absolute=0.01)
    model = onnx.load(variants["fp16"])
    types = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2}
    assert types == {TensorProto.FLOAT16}  # all weights
    (levels,) = (tensor for tensor in model.graph.initializer if list(tensor.dims) == [256])
    assert levels.data_type == TensorProto.FLOAT  # of entropies


@pytest.mark.parametrize(
    ("name", "operators"),
    [("float32", SCORER_OPERATORS), ("int8", SCORER_OPERATORS | QUANTISED_OPERATORS), ("fp16", SCORER_OPERATORS)],
)
def test_a_variant_is_sound_and_gives_an_image_the_same_bytes_in_any_batch(
    name: str, operators: frozenset[str], variants: dict[str, Path]
) -> None:
    assert structure(variants[name], operators) == []
    whole = score(variants[name], IMAGES)
    pieces = [score(variants[name], IMAGES[start : start + 7]) for start in range(0, len(IMAGES), 7)]
    for output, values in whole.items():
        assert values.tobytes() == np.concatenate([piece[output] for piece in pieces]).tobytes()


# Their price


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scorer as each of its own variants, but for `fp16`, which is another."""
    folder = tmp_path_factory.mktemp("files")
    exact, other = (onnx_models.save(onnx_models.scorer(seed=seed), folder / str(seed)) for seed in (0, 1))
    return {"float32": exact / "model.onnx", "int8": exact / "model.onnx", "fp16": other / "model.onnx"}


@pytest.fixture(scope="module")
def prices(files: dict[str, Path]) -> dict[str, ScorerPrice]:
    return price_scorer(files, IMAGES, (np.arange(300) % 3).astype(np.uint8), seed=0)


def test_a_scorer_costs_nothing_beside_itself(prices: dict[str, ScorerPrice]) -> None:
    assert prices["int8"] == replace(prices["float32"], usual=prices["int8"].usual)
    assert prices["int8"].mean_difference == {"excess": 0, "reconstruction": 0, "kl": 0, "score": 0}
    assert prices["int8"].failures("int8", prices["float32"]) == []


def test_differences_of_scores_are_those_of_numpy(prices: dict[str, ScorerPrice]) -> None:
    names = ("excess", "reconstruction", "kl", "score")
    exact, other = (onnx_models.score_in_numpy(IMAGES, seed=seed) for seed in (0, 1))
    for name, one, two in zip(names, exact, other, strict=True):
        assert prices["fp16"].mean_difference[name] == pytest.approx(np.abs(one - two).mean(), rel=1e-4)
        assert prices["fp16"].largest_difference[name] == pytest.approx(np.abs(one - two).max(), rel=1e-4)


def test_what_is_usual_is_the_score_of_the_images_and_of_each_class(prices: dict[str, ScorerPrice]) -> None:
    scored = onnx_models.score_in_numpy(IMAGES)[3]
    usual = prices["float32"].usual
    assert set(usual.quantiles) == {"all", "0", "1", "2"}
    assert usual.quantiles["all"][[0, 500, 1000]] == pytest.approx(
        [scored.min(), np.median(scored), scored.max()], abs=1e-4
    )
    assert usual.quantiles["2"][500] == pytest.approx(np.median(scored[2::3]), abs=1e-4)
    facts = prices["float32"].facts()
    assert facts["images"] == 300
    assert facts["quantiles"]["1"] == usual.quantiles["1"].tolist()


def test_the_area_is_the_mean_over_corruptions(
    files: dict[str, Path], prices: dict[str, ScorerPrice], monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupt(name: str, images: Pixels, labels: object, seed: int) -> Pixels:
        assert seed == 4
        return images if name == "as they are" else np.zeros_like(images)

    monkeypatch.setattr("pipeline.exporting.scorer.CORRUPTIONS", ("as they are", "nothing"))
    monkeypatch.setattr("pipeline.exporting.scorer.corrupt", corrupt)
    found = price_scorer({"float32": files["float32"]}, IMAGES, None, seed=4)["float32"]
    scorer = Scorer(files["float32"])
    nothing = area_under_curve(scorer(IMAGES).score, scorer(np.zeros_like(IMAGES)).score)
    assert found.area_under_curve == pytest.approx((0.5 + nothing) / 2)
    assert found.variant("float32").area_under_curve == round(found.area_under_curve, 4)
    assert 0 < prices["float32"].area_under_curve <= 1


def test_everything_of_a_scorer_over_its_budget_is_listed() -> None:
    exact = ScorerPrice(Usual.of(np.arange(9.0)), 0.95, {}, {})
    worse = replace(
        exact, area_under_curve=0.93, mean_difference={"excess": 2.5, "reconstruction": 1.9, "kl": float("nan")}
    )
    assert worse.failures("int8", exact) == [
        "int8 scorer: excess differs by 2.500 in the mean, 2.0 are allowed",
        "int8 scorer: kl differs by nan in the mean, 2.0 are allowed",
        "int8 scorer: loses 0.0200 of the area under the curve, 0.01 are allowed",
    ]
    better = replace(exact, area_under_curve=0.96)
    assert better.failures("int8", exact) == []
    assert replace(exact, area_under_curve=float("nan")).failures("fp16", exact) != []
    assert SCORER_BUDGETS["fp16"].mean_difference == 0.2
