"""A small pile for the tests of this room."""

import numpy as np
import pytest

from pipeline.sources.images import Pixels


@pytest.fixture
def images() -> Pixels:
    """Nine images of noise."""
    return np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
