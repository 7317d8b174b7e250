from pipeline.evaluating.variants import variants
from tests.evaluating.conftest import MANIFEST, PRICE


def test_each_file_has_its_size_its_largest_differences_and_its_cost() -> None:
    float32, int8 = [one for one in variants(MANIFEST) if one.file.startswith("decoder/")]
    assert (float32.file, float32.precision, float32.bytes) == ("decoder/model.onnx", "float32", 1615925)
    assert (float32.largest_difference, float32.mean_difference, float32.cost, float32.budget) == (1e-7, None, None, {})
    assert (int8.file, int8.precision, int8.bytes) == ("decoder/model_quantized.onnx", "int8", 422834)
    assert (int8.largest_difference, int8.mean_difference, int8.cost) == (0.02, 0.003, 0.2)  # 155.2 - 155.0 nats
    assert int8.budget == PRICE["budget"]
    assert {float32.area_under_curve, int8.area_under_curve} == {None}


def test_a_scorer_costs_area_under_the_curve() -> None:
    float32, int8 = [one for one in variants(MANIFEST) if one.file.startswith("scorer/")]
    assert (float32.area_under_curve, float32.cost, float32.budget) == (0.8138, None, {})
    assert (int8.area_under_curve, int8.cost, int8.mean_difference) == (0.8051, None, 0.33)
    assert int8.budget["area_under_curve"] == 0.01


def test_the_worse_output_of_an_encoder_counts() -> None:
    price = {**PRICE, "largest_difference": {"z_mean": 0.01, "z_log_var": 0.03}}
    models = {"encoder": {"variants": {"int8": {"file": "decoder/model_quantized.onnx", **price}}}}
    (found,) = variants({**MANIFEST, "models": models})
    assert found.largest_difference == 0.03


def test_a_cost_that_rounds_to_nothing_has_no_minus_sign() -> None:
    models = {"decoder": {"variants": {"fp16": {"file": "decoder/model.onnx", **PRICE, "negative_elbo": 154.9999}}}}
    (found,) = variants({**MANIFEST, "models": models})
    assert f"{found.cost:+.3f}" == "+0.000"


def test_the_mixture_comes_last_where_there_is_one() -> None:
    mixture = {
        "file": "decoder/mixture/model.onnx",
        "largest_difference": {"numpy": {"z": 2e-6}, "reference": {"z": 1e-6}},
    }
    files = [*MANIFEST["files"], {"path": mixture["file"], "bytes": 4321, "sha256": "0" * 64}]
    *_, found = variants({**MANIFEST, "files": files, "mixture": mixture})
    assert (found.file, found.precision, found.bytes) == ("decoder/mixture/model.onnx", "float32", 4321)
    assert found.largest_difference == 2e-6
