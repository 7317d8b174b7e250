import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError, ModelError
from pipeline.measures.judge import Judge, open_judge
from tests import onnx_models

ABOUT = {"source": "sample", "classes": 10, "accuracy": 0.9625}


def save(folder: Path, about: object = ABOUT) -> Path:
    onnx_models.save(onnx_models.judge(), folder)
    (folder / "judge.json").write_text(json.dumps(about))
    return folder


def test_images_become_features_and_probabilities(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    """What NumPy makes of the weights, over more than one batch and the rest of one."""
    judge, about = open_judge(save(tmp_path))
    assert about == ABOUT
    assert judge is not None
    features, probabilities = judge(images[:600])
    weights = onnx_models.constants(onnx_models.judge())
    expected = (images[:600].reshape(600, 784) / np.float32(255)) @ weights["features_w"] + weights["features_b"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    odds = np.exp(expected @ weights["logits_w"] + weights["logits_b"])
    np.testing.assert_allclose(probabilities, odds / odds.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    model = onnx_models.set_constant(onnx_models.judge(), "features_b", np.full(64, np.nan, np.float32))
    with pytest.raises(ModelError, match="gives numbers that are not finite; run `vae judge` again"):
        Judge(onnx_models.save(model, tmp_path), 10)(images[:3])


def test_a_judge_that_was_not_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"judge\.json was not found; run `vae judge`"):
        open_judge(tmp_path)


@pytest.mark.parametrize("about", [{}, {"classes": 10, "accuracy": 1.0}, {"source": "mnist", "classes": 10}])
def test_a_judge_that_does_not_say_what_it_is_is_refused(about: object, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"judge\.json does not say what it judges; run `vae judge` again"):
        open_judge(save(tmp_path, about))
