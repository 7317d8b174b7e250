"""The packaged sample for the tests of this room."""

from pathlib import Path

import pytest

from pipeline.data.sample import write_sample
from tests.sources.conftest import images

__all__ = ["images"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged sample, written once: reading the package takes seconds."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder
