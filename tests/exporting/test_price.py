from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.exporting.price import BUDGETS, price
from pipeline.inference import Decoder, Encoder
from pipeline.measures.elbo import estimate
from tests import onnx_models

IMAGES = np.random.default_rng(0).integers(0, 256, (700, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exact")
    return {
        "encoder": onnx_models.save(onnx_models.encoder(), folder / "encoder") / "model.onnx",
        "decoder": onnx_models.save(onnx_models.decoder(), folder / "decoder") / "model.onnx",
    }


def test_a_model_costs_nothing_beside_itself(exact: dict[str, Path]) -> None:
    found = price(exact, exact, IMAGES, seed=0)
    assert found.mean_difference == {"encoder": {"z_mean": 0, "z_log_var": 0}, "decoder": {"image": 0}}
    assert found.failures("int8", BUDGETS["int8"], found.elbo) == []


def test_differences_are_those_of_numpy(exact: dict[str, Path], tmp_path: Path) -> None:
    other = {
        "encoder": onnx_models.save(onnx_models.encoder(seed=1), tmp_path / "encoder") / "model.onnx",
        "decoder": onnx_models.save(onnx_models.decoder(seed=1), tmp_path / "decoder") / "model.onnx",
    }
    found = price(exact, other, IMAGES, seed=0)
    z_mean = Encoder(exact["encoder"])(IMAGES)[0]
    pixels = np.abs(Decoder(exact["decoder"])(z_mean).astype(np.float64) - Decoder(other["decoder"])(z_mean))
    assert found.mean_difference["decoder"]["image"] == pytest.approx(pixels.mean())
    assert found.largest_difference["decoder"]["image"] == pixels.max()
    both = estimate(Encoder(other["encoder"]), Decoder(other["decoder"]), IMAGES, samples=1, seed=0)
    assert found.elbo.negative_elbo == both.negative_elbo


def test_everything_over_the_budget_is_listed(exact: dict[str, Path]) -> None:
    found = price(exact, exact, IMAGES, seed=0)
    worse = replace(
        found,
        elbo=replace(found.elbo, kl=found.elbo.kl + 0.6),
        mean_difference={"encoder": {"z_mean": 0.06, "z_log_var": 0.01}, "decoder": {"image": float("nan")}},
    )
    assert worse.failures("int8", BUDGETS["int8"], found.elbo) == [
        "int8: costs 0.600 nats of negative ELBO, 0.5 are allowed",
        "int8 encoder: z_mean differs by 0.0600 in the mean, 0.05 are allowed",
        "int8 decoder: image differs by nan in the mean, 0.01 are allowed",
    ]
