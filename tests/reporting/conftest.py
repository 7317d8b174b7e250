"""What the tests of the reports share: exported models and prepared test digits, both small."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import onnx_models


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """A folder with an encoder and a decoder of 2 latents."""
    onnx_models.save(onnx_models.encoder(), tmp_path / "exports" / "encoder")
    onnx_models.save(onnx_models.decoder(), tmp_path / "exports" / "decoder")
    return tmp_path / "exports"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """600 test digits, more than one batch of 512."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    generator = np.random.default_rng(6)
    np.save(folder / "test_images.npy", generator.integers(0, 256, (600, 28, 28), np.uint8))
    np.save(folder / "test_labels.npy", (np.arange(600) % 10).astype(np.uint8))
    (folder / "stats.json").write_text(json.dumps({"source": "sample"}))
    return folder
