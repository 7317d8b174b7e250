"""Small piles of digits for the tests of this room."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.images import Pixels
from pipeline.data.sample import write_sample


@pytest.fixture
def images() -> Pixels:
    """Nine images of noise."""
    return np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged sample, written once: reading the package takes seconds."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder
