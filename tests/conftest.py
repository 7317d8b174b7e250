"""What the tests of the batch jobs share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from hypothesis import settings
from numpy.typing import NDArray

from pipeline.inference import Decoder, Encoder
from tests import onnx_models, proxies, stores
from tests.prepared_digits import prepare_sample

os.environ["DVC_TEST"] = "true"  # no report of use and no look for a newer DVC from the repositories that tests make

# What opens a browser, runs DVC, trains, exports or draws takes the most time, in this order.
SLOW = (
    "exploring/test_browser.py",
    "test_pipeline.py",
    "training",
    "exporting",
    "jobs/test_on_ray.py",
    "test_faults.py",
    "reporting",
    "evaluating",
    "exploring",
    "runtimes",
    "benchmarks",
    "data/test_download.py",
    "data/test_sample.py",
)


@pytest.fixture(scope="session")
def object_store() -> Iterator[stores.Store]:
    """SeaweedFS, one in each worker; skipped where it is not installed."""
    with stores.serving() as store:
        yield store


@pytest.fixture
def s3(object_store: stores.Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address on a real object store, which this process finds by its environment, and where nothing lies yet."""
    stores.use(object_store, monkeypatch)
    return stores.new_address()


@pytest.fixture
def weather(object_store: stores.Store, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[proxies.Weather]:
    """That between this process and the store."""
    with proxies.between(object_store.endpoint) as (address, weather):
        stores.use(object_store, monkeypatch, AWS_ENDPOINT_URL=address)
        yield weather


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out what takes the most time")


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples of Hypothesis, where a test does not say how many it needs."""
    if config.getoption("fast"):
        settings.register_profile("fast", max_examples=15)
        settings.load_profile("fast")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("fast") and _rank(collection_path) < len(SLOW) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    here = Path(__file__).parent
    return next((rank for rank, slow in enumerate(SLOW) if path.is_relative_to(here / slow)), len(SLOW))


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of this run of the tests, the same for all workers."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def pixels_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """uint8 `[n, 28, 28]` from the column `image` of a Parquet file."""
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, 28, 28)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(scope="session")
def prepared_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared digits of the packaged sample, to be read alone: made once, by the first worker that needs them."""
    root = shared_folder(tmp_path_factory)
    with FileLock(root / "sample.lock"):
        if not (root / "sample/prepared").exists():
            prepare_sample(root / "sample")
    return root / "sample/prepared"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(onnx_models.save(onnx_models.encoder(), tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return Decoder(onnx_models.save(onnx_models.decoder(), tmp_path_factory.mktemp("decoder")))


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """uint8 `[4096, 28, 28]`, every byte value among them."""
    return np.random.default_rng(1).integers(0, 256, (4096, 28, 28), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder that is not there yet, alone in its parent, where a temporary folder would show."""
    (tmp_path / "job").mkdir()
    return tmp_path / "job" / "out"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in which nothing is off."""
    return onnx_models.save_bundle(tmp_path_factory.mktemp("good") / "exports")


@pytest.fixture
def bundle(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "exports")
