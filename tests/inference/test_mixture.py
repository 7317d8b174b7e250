from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.mixture import Mixture
from tests import mixtures, onnx_models


@pytest.mark.parametrize("manifest", ["not JSON", "{}", None])
def test_a_manifest_in_its_folder_makes_it_no_bundle(manifest: str | None, tmp_path: Path) -> None:
    """It is part of one, whose manifest lies above."""
    folder = mixtures.save(tmp_path / "decoder" / "mixture")
    if manifest is None:
        manifest = (onnx_models.save_bundle(tmp_path / "exports") / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest)
    uniform, noise = np.float32([0, 0.9]), np.zeros((2, 2), np.float32)
    for path in (folder, folder / "model.onnx"):
        (z,) = Mixture(path).run(uniform, noise)
        np.testing.assert_allclose(z, mixtures.draw_in_numpy(uniform, noise), atol=1e-6)
