"""What the tests of the reports share: exported models and prepared test digits, both small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.datasets import DATASETS
from tests import onnx_models, surfaces

ABOUT = DATASETS["mnist"].about
STATS = {
    "source": "sample",
    "about": ABOUT.as_json(),
    "files": [],
    "splits": {"train": {"images": 700}, "validation": {"images": 300}, "test": {"images": 600}},
}
PRICE = {
    "largest_difference": {"image": 0.02},
    "mean_difference": {"image": 0.003},
    "negative_elbo": 155.2,
    "budget": {"negative_elbo": 0.5, "mean_difference": 0.01},
}
MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "package_version": "0.1.0",
    "data": {"source": "sample", "files": []},
    "params_sha256": "0" * 64,
    "latent_dim": 2,
    "opset": 17,
    "ir_version": 8,
    "validation": {"negative_elbo": 155.0, "reconstruction": 150.0, "kl": 5.0, "images": 333},
    "tolerance": {"absolute": 1e-4, "relative": 1e-4, "batch_sizes": [1, 3, 257]},
    "models": {
        "decoder": {
            "input": "z float32[batch, 2]",
            "outputs": ["image float32[batch, 28, 28]"],
            "test_data": "decoder/test_data_set_0",
            "variants": {
                "float32": {
                    "file": "decoder/model.onnx",
                    "largest_difference": {"keras": {"image": 1e-7}, "reference": {"image": 1e-7}},
                },
                "int8": {"file": "decoder/model_quantized.onnx", **PRICE},
            },
        },
        "scorer": {
            "input": "image uint8[batch, 28, 28]",
            "outputs": [f"{name} float32[batch]" for name in ("excess", "reconstruction", "kl", "score")],
            "test_data": "scorer/test_data_set_0",
            "variants": {
                "float32": {
                    "file": "scorer/model.onnx",
                    "largest_difference": {"keras": {"excess": 9e-5}, "reference": {"excess": 4e-5}},
                    "area_under_curve": 0.8138,
                },
                "int8": {
                    "file": "scorer/model_quantized.onnx",
                    "largest_difference": {"excess": 4.9, "kl": 0.15},
                    "mean_difference": {"excess": 0.33, "kl": 0.018},
                    "area_under_curve": 0.8051,
                    "budget": {"mean_difference": 2.0, "area_under_curve": 0.01},
                },
            },
            "images": 333,
            "quantiles": {"all": list(range(1001))},
        },
    },
    "files": [
        {"path": "decoder/model.onnx", "bytes": 1615925, "sha256": "0" * 64},
        {"path": "decoder/model_quantized.onnx", "bytes": 422834, "sha256": "0" * 64},
        {"path": "scorer/model.onnx", "bytes": 3328910, "sha256": "0" * 64},
        {"path": "scorer/model_quantized.onnx", "bytes": 938807, "sha256": "0" * 64},
    ],
    "manifest_sha256": "0" * 64,
}


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """A folder with an encoder and a decoder of 2 latents, their scorer, a renderer, and a generator."""
    onnx_models.save(onnx_models.encoder(), tmp_path / "exports" / "encoder")
    onnx_models.save(onnx_models.decoder(), tmp_path / "exports" / "decoder")
    onnx_models.save(onnx_models.scorer(), tmp_path / "exports" / "scorer")
    onnx_models.save(surfaces.renderer(), tmp_path / "exports" / "renderer")
    onnx_models.save_bundle(tmp_path / "other", seed=1)
    (tmp_path / "other" / "decoder").rename(tmp_path / "exports" / "generator")
    (tmp_path / "exports" / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path / "exports"


def save_judge(folder: Path, **about: object) -> Path:
    """A judge of ten classes, or what is said `about` another."""
    full = {"source": "sample", "classes": 10, "training_images": 900, "validation_images": 100, "accuracy": 0.9625}
    onnx_models.save(onnx_models.judge(), folder)
    (folder / "judge.json").write_text(json.dumps({**full, **about}))
    return folder


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A folder with a judge."""
    return save_judge(tmp_path / "judge")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """600 test digits, more than one batch of 512, and 700 training digits."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    generator = np.random.default_rng(6)
    for split, count in (("test", 600), ("train", 700)):
        np.save(folder / f"{split}_images.npy", generator.integers(0, 256, (count, 28, 28), np.uint8))
        np.save(folder / f"{split}_labels.npy", (np.arange(count) % 10).astype(np.uint8))
    (folder / "stats.json").write_text(json.dumps(STATS))
    return folder
