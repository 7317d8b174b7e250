"""The batch jobs from and to a real object store: the same bytes as on a disk."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import PipelineError
from pipeline.jobs.store import open_store
from pipeline.sources import s3 as client
from tests import onnx_models, proxies, stores
from tests.conftest import bytes_of
from tests.sources.piles import FORMATS, write
from tests.stores import upload

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_models.put_scorer(onnx_models.save_bundle(tmp_path_factory.mktemp("models") / "exports"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the models where commands look for them."""
    (tmp_path / "exports").symlink_to(models)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vae(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def succeeds(*arguments: str) -> None:
    result = vae(*arguments)
    assert result.exit_code == 0, result.output


def stored(address: str) -> dict[str, bytes]:
    """Every file below an address, or a file."""
    return dict(open_store(address).read_all(""))


@pytest.mark.parametrize("name", FORMATS)
def test_every_pile_is_encoded_from_a_store_to_a_store_as_on_a_disk(name: str, here: Path, s3: str) -> None:
    address = upload(write(here / name, IMAGES), s3)
    succeeds("encode", name, "-o", "out")
    succeeds("encode", address, "-o", f"{s3}/out")
    assert stored(f"{s3}/out") == bytes_of(here / "out")
    assert {name.partition("/")[0] for name in open_store(s3).names()} == {name, "out"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "pile.npy", "-o", "x.npz"],
        ["generate", "--count", "300", "-o", "out"],
        ["generate", "--count", "30", "-o", "out", "--format", "png"],
        ["reconstruct", "pile.npy", "-o", "x.npy"],
        ["score", "pile.npy", "--most", "9", "--latents", "-o", "out"],
        ["score", "pile.npy", "--most", "9", "-o", "x.npz"],
    ],
)
def test_every_form_of_result_is_put_on_a_store_as_on_a_disk(arguments: list[str], here: Path, s3: str) -> None:
    write(here / "pile.npy", IMAGES)
    (here / "job").mkdir()
    succeeds(*[f"job/{a}" if a in ("out", "x.npy", "x.npz") else a for a in arguments])
    succeeds(*[f"{s3}/{a}" if a in ("out", "x.npy", "x.npz") else a for a in arguments])
    assert stored(s3) == bytes_of(here / "job")


def test_latents_on_a_store_are_decoded(here: Path, s3: str) -> None:
    address = upload(write(here / "pile.npy", IMAGES), s3)
    succeeds("encode", address, "-o", f"{s3}/latents")
    succeeds("generate", "--latents", f"{s3}/latents", "-o", "decoded.npy")
    succeeds("encode", "pile.npy", "-o", "latents")
    succeeds("generate", "--latents", "latents", "-o", "again.npy")
    assert (here / "decoded.npy").read_bytes() == (here / "again.npy").read_bytes()


def test_scores_on_a_store_are_compared(here: Path, s3: str) -> None:
    write(here / "pile.npy", IMAGES)
    for result in ("scores", f"{s3}/scores"):
        succeeds("score", "pile.npy", "--latents", "-o", result)
    said = [vae("compare", "exports/scorer", scores, "--json").output for scores in ("scores", f"{s3}/scores")]
    assert said[0] == said[1].replace(f"{s3}/scores", "scores")
    assert "0.000  no drift" in vae("compare", "scores", f"{s3}/scores").output
    missing = vae("compare", "scores", f"{s3}/nothing")
    assert str(missing.exception) == f"{s3}/nothing was not found; expected the scores that `vae score` wrote"


def test_a_store_on_a_bad_day_gives_the_same(
    here: Path, s3: str, object_store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4_000, 28, 28), dtype=np.uint8)
    address = upload(write(here / "pile.npy", images), s3)
    succeeds("encode", "pile.npy", "-o", "out")
    with proxies.between(object_store.endpoint) as (endpoint, weather):
        stores.use(object_store, monkeypatch, AWS_ENDPOINT_URL=endpoint)
        weather.busy, weather.broken, weather.reached, weather.lost, weather.latency = 3, 2, 1_500_000, 1, 0.03
        succeeds("encode", address, "-o", f"{s3}/out")
    stores.use(object_store, monkeypatch)
    assert stored(f"{s3}/out") == bytes_of(here / "out")


@pytest.mark.parametrize("given_up", ["source", "target"])
def test_a_store_that_is_given_up_is_one_line(
    given_up: str, here: Path, s3: str, object_store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    address = upload(write(here / "pile.npy", IMAGES), s3)
    with proxies.between(object_store.endpoint) as (endpoint, weather):
        stores.use(object_store, monkeypatch, AWS_ENDPOINT_URL=endpoint)
        weather.busy = 1 << 30
        pile, out = (address, "out") if given_up == "source" else ("pile.npy", f"{s3}/out")
        result = vae("encode", pile, "-o", out)
    stores.use(object_store, monkeypatch)
    assert isinstance(result.exception, PipelineError)  # which the command says in one line
    assert str(result.exception).endswith("its server answered 503 Service Unavailable; try again later")
    assert [name for name in stored(s3) if "part-" in name] == []
    assert "out/_manifest.json" not in stored(s3)
