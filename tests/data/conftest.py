"""The packaged sample for the tests of this room."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data import sample as module
from pipeline.data.sample import write_sample
from tests.sources.conftest import images

__all__ = ["images"]


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """The package parses its digits from text, which takes 3 s; here once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "mnist_data", functools.cache(module.mnist_data))
        yield


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged sample, written once: reading the package takes seconds."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder
