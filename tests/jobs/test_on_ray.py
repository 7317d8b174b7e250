"""The same jobs on a Ray cluster of three nodes: the same bytes, whatever is lost on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ClusterError, FormatError
from pipeline.inference import Encoder
from pipeline.jobs import ray_run
from pipeline.jobs.engine import run
from pipeline.jobs.job import Cluster, Options, Summary
from pipeline.jobs.store import open_store
from pipeline.jobs.target import open_target
from pipeline.sources.images import Pixels, open_images
from tests import onnx_models, surfaces
from tests.clusters import cluster, join, require_ray
from tests.conftest import bytes_of
from tests.proxies import Weather
from tests.small_parts import ROWS, SmallParts
from tests.sources import piles
from tests.stores import upload
from tests.test_house import ROOT

ray = require_ray()
pytestmark = pytest.mark.timeout(240)

QUIET = Options(quiet=True)
ON_RAY = Options(quiet=True, cluster=Cluster())
VAE = Path(sys.executable).parent / "vae"


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Any]:
    """A cluster that the tests of this module share, and leave as they found it."""
    with cluster(3) as started:
        ray.init(started.address, log_to_driver=False, logging_level="ERROR")
        yield started
        ray.shutdown()


@pytest.fixture
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes that a test may lose; found by its address. Tests that share a cluster go before."""
    if ray.is_initialized():
        ray.shutdown()
    with cluster(2) as started:
        monkeypatch.setenv("RAY_ADDRESS", started.address)
        yield started


def encode(
    encoder: Encoder, pile: Path | str, output: Path | str, options: Options, seconds: float = 0.0, **how: Any
) -> Summary:
    with open_images(pile) as source:
        job = SmallParts("parquet", encoder, seconds, classes=source.classes, **how)
        return run(job, source, open_target(output), options)


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 40 parts."""
    path = tmp_path_factory.mktemp("pile") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (39 * ROWS + 7, 28, 28), np.uint8))
    return path


@pytest.fixture(scope="module")
def whole(pile: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("whole")
    encode(Encoder(onnx_models.save(onnx_models.encoder(), folder / "encoder")), pile, folder / "out", QUIET)
    return bytes_of(folder / "out")


def workers() -> list[int]:
    """The processes of actors, of whatever cluster."""
    processes = (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())
    return [int(folder.name) for folder in processes if _title(folder).startswith(b"ray::Worker")]


def _title(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def meanwhile(strike: Callable[[], object], folder: Path, parts: int) -> threading.Thread:
    """Do something to a job as soon as it has finished some parts."""

    def wait() -> None:
        records = folder.parent / f".{folder.name}.partial/records"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if records.is_dir() and len(list(records.iterdir())) >= parts:
                strike()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


# The same bytes


@pytest.mark.parametrize("format_", piles.FORMATS)
def test_every_kind_of_source(
    format_: str, three_nodes: Any, images: Pixels, encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / format_, images[: 3 * ROWS + 5], [row % 10 for row in range(3 * ROWS + 5)])
    encode(encoder, pile, tmp_path / "here", QUIET)
    summary = encode(encoder, pile, folder, ON_RAY)
    assert bytes_of(folder) == bytes_of(tmp_path / "here")
    assert (summary.rows, summary.parts) == (3 * ROWS + 5, 4)
    assert sum(node.rows for node in summary.nodes) == summary.rows


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("encode PILE --encoder BUNDLE", "out"),
        ("reconstruct PILE --encoder BUNDLE --decoder BUNDLE", "x.npz"),
        ("score PILE --scorer SCORER --most 20 --latents", "out"),
        ("generate --count 3000 --seed 3 --decoder BUNDLE", "x.npy"),
        ("generate --count 90 --size 300 --format png --decoder BUNDLE", "out"),
        ("generate --manifold 30 --size 100 --decoder BUNDLE", "x.png"),
    ],
)
def test_every_job_from_the_command_line(
    command: str, name: str, three_nodes: Any, pile: Path, sized: Path, tmp_path: Path
) -> None:
    places = {"PILE": str(pile), "BUNDLE": str(sized), "SCORER": str(sized / "scorer")}
    words = [places.get(word, word) for word in command.split()]
    for place, engine in (("here", "local"), ("there", "ray")):
        (tmp_path / place).mkdir()
        vae(*words, "--engine", engine, "-o", str(tmp_path / place / name), address=three_nodes.address)
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that draws images of any size, with a scorer."""
    return onnx_models.put_scorer(surfaces.add(onnx_models.save_bundle(tmp_path_factory.mktemp("sized") / "exports")))


def vae(*arguments: str, address: str = "") -> dict[str, Any]:
    """The installed command, and its summary."""
    command = [str(VAE), *arguments, "--json", "--quiet"]
    environment = {**os.environ, "RAY_ADDRESS": address}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def test_a_cluster_that_is_started_for_the_job_alone(pile: Path, good: Path, tmp_path: Path) -> None:
    for place, engine in (("here", []), ("there", ["--engine", "ray", "--ray-local", "1"])):
        vae("encode", str(pile), "--encoder", str(good), *engine, "-o", str(tmp_path / place))
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


def test_rows_that_are_set_aside(
    three_nodes: Any, images: Pixels, encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    for row in range(600):
        (tmp_path / "pile").mkdir(exist_ok=True)
        content = piles.png(images[row]) if row not in (5, 300, 301) else b"no picture"
        (tmp_path / f"pile/{row:04d}.png").write_bytes(content)
    aside = {"quiet": True, "on_error": "quarantine"}
    encode(encoder, tmp_path / "pile", tmp_path / "here", Options(**aside))
    summary = encode(encoder, tmp_path / "pile", folder, Options(**aside, cluster=Cluster()))
    assert summary.quarantined == 3
    assert bytes_of(folder) == bytes_of(tmp_path / "here")


def test_of_several_bad_rows_the_lowest_is_told(
    three_nodes: Any, images: Pixels, encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "pile").mkdir()
    for row in range(9 * ROWS):
        bad = row in (ROWS + 200, 3 * ROWS + 1, 8 * ROWS)
        (tmp_path / f"pile/{row:04d}.png").write_bytes(b"no picture" if bad else piles.png(images[row]))
    with pytest.raises(FormatError, match=rf"/{ROWS + 200:04d}\.png: "):
        encode(encoder, tmp_path / "pile", folder, ON_RAY, 0.01)


# Who is lost or fails


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_are_killed_at_random_moments(
    seed: int, three_nodes: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, folder: Path
) -> None:
    moments = random.Random(seed)

    def kill_one() -> None:
        for _ in range(3):
            if found := workers():
                os.kill(moments.choice(found), signal.SIGKILL)
            time.sleep(moments.uniform(0.1, 0.5))

    thread = meanwhile(kill_one, folder, moments.randrange(1, 8))
    encode(encoder, pile, folder, ON_RAY, 0.03)
    thread.join()
    assert bytes_of(folder) == whole


def test_a_worker_that_hangs_is_given_up(
    three_nodes: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ray_run, "_LOOK", 0.5)
    monkeypatch.setattr(ray_run, "_LONGEST", 1.0)
    stopped: list[int] = []

    def stop() -> None:
        stopped.extend(workers()[:1])
        os.kill(stopped[0], signal.SIGSTOP)

    thread = meanwhile(stop, folder, 3)
    encode(encoder, pile, folder, ON_RAY, 0.02)
    thread.join()
    assert stopped
    assert bytes_of(folder) == whole


def test_a_machine_whose_disk_is_full_leaves_its_parts_to_others(
    three_nodes: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    encode(encoder, pile, folder, ON_RAY, 0.02, full=tmp_path / "full")
    assert (tmp_path / "full").exists()
    assert bytes_of(folder) == whole


# A store


@pytest.mark.parametrize("format_", ["pile.npy", "pile.idx.gz", "binary.parquet", "folder_of_png", "folder_of_tar"])
def test_from_a_store_to_a_store(
    format_: str, three_nodes: Any, images: Pixels, encoder: Encoder, s3: str, tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / format_, images[: 3 * ROWS + 5])
    encode(encoder, pile, tmp_path / "here", QUIET)
    encode(encoder, upload(pile, s3), f"{s3}/out", ON_RAY)
    assert dict(open_store(f"{s3}/out").read_all("")) == bytes_of(tmp_path / "here")
    assert not list(open_store(f"{s3}/.out.partial").names())


def test_a_store_that_is_busy_for_a_while_and_workers_that_are_lost(
    three_nodes: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, s3: str, weather: Weather
) -> None:
    def trouble() -> None:
        weather.busy = 20
        os.kill(workers()[0], signal.SIGKILL)

    source = upload(pile, s3)
    timer = threading.Timer(4, trouble)
    timer.start()
    encode(encoder, source, f"{s3}/out", ON_RAY, 0.1)
    timer.join()
    assert not weather.busy
    assert dict(open_store(f"{s3}/out").read_all("")) == whole


# A cluster of its own for each, which is lost, or is none


def test_a_node_that_is_lost_and_one_that_joins(
    own_cluster: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ray_run, "_LOOK", 0.5)
    gate = folder.with_name("gate")
    lost = next(iter(own_cluster.worker_nodes))

    def exchange() -> None:
        own_cluster.remove_node(lost, allow_graceful=False)
        left = set(workers())
        join(own_cluster)
        end = time.monotonic() + 60
        while not set(workers()) - left and time.monotonic() < end:
            time.sleep(0.1)
        gate.touch()

    thread = meanwhile(exchange, folder, 3)
    summary = encode(encoder, pile, folder, ON_RAY, 0.1, gate=gate)
    thread.join()
    assert bytes_of(folder) == whole
    assert len([node for node in summary.nodes if node.rows]) == 3  # the lost one, too


def test_a_driver_that_is_killed_goes_on_where_it_ended(own_cluster: Any, good: Path, tmp_path: Path) -> None:
    command = ["generate", "--count", "800000", "--decoder", str(good)]
    job = subprocess.Popen([VAE, *command, "-o", str(tmp_path / "out"), "--engine", "ray", "-q"], cwd=ROOT)
    meanwhile(job.kill, tmp_path / "out", 2).join()
    assert job.wait() == -signal.SIGKILL
    summary = vae(*command, "-o", str(tmp_path / "out"), "--engine", "ray", address=own_cluster.address)
    assert summary["resumed_parts"] >= 2
    vae(*command, "-o", str(tmp_path / "whole"))
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_a_cluster_that_is_lost_ends_the_job_and_what_is_finished_is_kept(
    own_cluster: Any, pile: Path, whole: dict[str, bytes], encoder: Encoder, folder: Path
) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.jobs.test_on_ray import ON_RAY, Encoder, encode\n"
        "from pipeline.errors import PipelineError\n"
        "try:\n    encode(Encoder(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), ON_RAY, 0.1)\n"
        "except PipelineError as error:\n    print('told:', error)"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", script, str(encoder.path), str(pile), str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    meanwhile(own_cluster.shutdown, folder, 3).join()
    said, _ = job.communicate(timeout=100)
    assert "told:" in said or job.returncode, said
    summary = encode(encoder, pile, folder, QUIET)  # and go on without one
    assert summary.resumed_parts >= 3
    assert bytes_of(folder) == whole


def test_what_is_finished_on_a_store_is_gone_on_with_from_any_machine(
    own_cluster: Any, good: Path, s3: str, tmp_path: Path
) -> None:
    command = ["generate", "--count", "800000", "--decoder", str(good), "-o", f"{s3}/out"]
    job = subprocess.Popen([VAE, *command, "--engine", "ray", "-q"], stderr=subprocess.DEVNULL)
    records = open_store(f"{s3}/.out.partial/records")
    while len(list(records.names())) < 2:
        assert job.poll() is None
    job.kill()
    job.wait()
    summary = vae(*command)  # here alone
    assert summary["resumed_parts"] >= 2
    vae(*command[:-1], str(tmp_path / "whole"))
    assert dict(open_store(f"{s3}/out").read_all("")) == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", r"there is no Ray cluster: nobody answers at 127\.0\.0\.1:1; .* --ray-local N start one"),
        ("ray://127.0.0.1:1", r"RAY_ADDRESS is ray://127\.0\.0\.1:1, expected host:port .* `ray job submit -- vae"),
    ],
)
def test_without_a_cluster_it_says_so_and_starts_none(
    address: str, said: str, encoder: Encoder, pile: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=said):
        encode(encoder, pile, folder, ON_RAY)
    assert not list(folder.parent.iterdir())


def test_machines_that_compute_other_last_digits_are_left_out(
    own_cluster: Any, pile: Path, encoder: Encoder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = encode(encoder, pile, folder, ON_RAY, 0.1, apart=True)
    assert len([node for node in summary.nodes if node.rows]) == 1
    assert "is left out: its processor gives other last digits" in caplog.text
    assert "mixed_arithmetic" not in (folder / "_manifest.json").read_text()


def test_unless_that_is_allowed_and_then_noted(own_cluster: Any, pile: Path, encoder: Encoder, folder: Path) -> None:
    encode(encoder, pile, folder, Options(quiet=True, cluster=Cluster(), allow_mixed=True), 0.1, apart=True)
    assert json.loads((folder / "_manifest.json").read_text())["mixed_arithmetic"] == 2
