"""A job on a real object store that is killed goes on from any folder; posters and bad rows are put there too."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.jobs.store import open_store
from tests import onnx_models, surfaces
from tests.conftest import bytes_of
from tests.sources.piles import write
from tests.sources.test_objects import upload

VAE = Path(sys.executable).parent / "vae"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_models.add_scorer(surfaces.add(onnx_models.save_bundle(tmp_path_factory.mktemp("models") / "exports")))


@pytest.fixture
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the models where commands look for them."""
    return enter(tmp_path / "here", models, monkeypatch)


def enter(folder: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    (folder / "exports").symlink_to(models)
    monkeypatch.chdir(folder)
    return folder


def call(*arguments: str, code: int = 0) -> dict[str, object]:
    """The command in this process; what it says in --json."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == code, (done.stderr, done.exception)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def fetched(address: str) -> dict[str, bytes]:
    """Everything below an address."""
    return dict(open_store(address).read_all(""))


def written(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in bytes_of(folder).items() if not name.startswith("exports/")}


def test_a_poster_on_a_store_is_that_of_a_disk(here: Path, tmp_path: Path, s3: str) -> None:
    pile = write(tmp_path / "pile.npy", np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8))
    call("reconstruct", upload(pile, f"{s3}/in"), "-o", f"{s3}/out/wall.png")
    assert written(here) == {}
    call("reconstruct", str(pile), "-o", "wall.png")
    assert fetched(f"{s3}/out") == written(here)


def test_rows_that_were_set_aside_are_listed_on_the_store(here: Path, tmp_path: Path, s3: str) -> None:
    pile = write(tmp_path / "folder_of_png", np.zeros((9, 28, 28), np.uint8))
    (pile / "0003.png").write_bytes(b"no picture")
    command = ["encode", upload(pile, s3), "--on-error", "quarantine"]
    call(*command, "-o", f"{s3}/out/latents", code=3)
    (row,) = fetched(f"{s3}/out/latents")["_quarantine.jsonl"].decode().splitlines()
    assert json.loads(row)["index"] == 3


@pytest.mark.parametrize(
    ("job", "options", "name"),
    [
        ("encode", [], "latents"),
        ("encode", [], "x.npy"),
        ("score", ["--most", "9", "--limit", "140000"], "scores"),
    ],
)
def test_a_job_that_is_killed_goes_on_from_any_folder(
    job: str,
    options: list[str],
    name: str,
    here: Path,
    models: Path,
    tmp_path: Path,
    s3: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that a job knows lies on the store."""
    images = np.zeros((4 * 65_536, 28, 28), np.uint8)
    images[::512] = np.random.default_rng(0).integers(0, 256, (512, 28, 28), np.uint8)
    address = upload(write(tmp_path / "pile.npy", images), f"{s3}/in")
    command = [job, address, *options, "-o", f"{s3}/out/{name}", "--workers", "1"]
    work = open_store(f"{s3}/out/.{name}.partial")
    killed = subprocess.Popen([VAE, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not list(work.names("records")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert work.read("job.json") is not None
    enter(tmp_path / "elsewhere", models, monkeypatch)
    assert call(*command)["resumed_parts"] in (1, 2, 3, 4)  # all, if the kill came late
    assert written(tmp_path / "elsewhere") == written(here) == {}
    call(job, str(tmp_path / "pile.npy"), *options, "-o", name)
    assert fetched(f"{s3}/out") == written(tmp_path / "elsewhere")
