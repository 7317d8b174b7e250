"""The page in real headless Chromium: what a person does with it, at both sizes, and what it says when it can't.

Pictures and figures of the run go to the folder that VAE_PICTURES names, else to a temporary one.
"""

import functools
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from pipeline.exploring.node import find_node
from pipeline.exploring.serve import open_server
from pipeline.inference.tensor_file import read_tensor
from pipeline.measures.elbo import binary_cross_entropy, kl_per_latent
from tests.exploring.conftest import Material, need_chromium, need_node, skip

HERE = Path(__file__).parent
PLAYWRIGHT = HERE.parent / "runtimes/node_modules/playwright-core"
VARIANTS = [("desktop", 2), ("phone", 20), ("desktop", 1)]  # both sizes, and every number of latents that matters
if os.environ.get("VAE_BROWSER") == "required":
    VARIANTS += [("phone", 2), ("desktop", 20)]


def names(*files: str) -> list[str]:
    """Of the checks in these files."""
    text = "".join((HERE / file).read_text() for file in files)
    return re.findall(r'^  (?:async )?"(.+?)"[(:]', text, re.MULTILINE)


@pytest.fixture(scope="session")
def chromium() -> str:
    need_node()
    if not PLAYWRIGHT.is_dir():
        skip("the npm packages of the tests are not installed: run tests/runtimes/install.sh")
    return need_chromium()


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("VAE_PICTURES") or tmp_path_factory.mktemp("pictures")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def address(site: Callable[[int], Path]) -> Iterator[Callable[[int], str]]:
    """By latent size, the address of the page, below a folder that is not the server's root."""
    servers = []

    @functools.cache
    def serve(latent_dim: int) -> str:
        server = open_server(site(latent_dim).parents[2])
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://localhost:{server.server_address[1]}/some/where/web/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def drive(
    chromium: str,
    address: Callable[[int], str],
    material: Callable[[int], Material],
    prepared_sample: Path,
    out: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., dict[str, Any]]]:
    """The results of all checks of a run of `drive.mjs`, which is made once.

    A browser waits more than it computes, so that all runs are made at once, unless times are held.
    """
    alone = os.environ.get("VAE_BROWSER") == "required"
    tasks = [(*variant, False) for variant in VARIANTS] + [("desktop", 2, True)]
    for latent_dim in {latent_dim for _, latent_dim in VARIANTS}:
        address(latent_dim)

    def run(size: str, latent_dim: int, troubles: bool) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("task")
        given = os.environ.get("VAE_EXPORTS") if latent_dim == 2 else None
        exports = Path(given).resolve() if given else material(latent_dim).exports
        name = f"{size}-{latent_dim}"
        task = {"chromium": chromium, "url": address(latent_dim), "latents": latent_dim, "size": size, "name": name}
        task |= {"alone": alone, "troubles": troubles, "out": str(out), **inputs(exports, prepared_sample, folder)}
        (folder / "task.json").write_text(json.dumps(task))
        done = subprocess.run(
            [find_node()[0], HERE / "drive.mjs", folder / "task.json"],
            env=dict(os.environ),  # a copy: libraries that other threads load may change the process's own
            capture_output=True,
            text=True,
            check=False,
            timeout=500,  # before the test itself is ended
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if answer["figures"]:
            (out / f"{name}.json").write_text(json.dumps(answer["figures"]) + "\n")
        return answer

    pool = ThreadPoolExecutor(1 if alone else len(tasks))
    runs = {task: pool.submit(run, *task) for task in tasks}
    yield lambda size, latent_dim, *, troubles=False: runs[size, latent_dim, troubles].result()
    pool.shutdown(cancel_futures=True)


def inputs(exports: Path, prepared: Path, folder: Path) -> dict[str, Any]:
    """What a run is given: the bundle's test vectors, a digit as a picture, and what ONNX Runtime makes of it here."""
    z, images = (read_tensor(exports / f"decoder/test_data_set_0/{name}_0.pb")[1] for name in ("input", "output"))
    images_here = np.load(prepared / "test_images.npy")[:100]
    digit = images_here[images_here.sum(axis=(1, 2), dtype=np.int64).argmax()]  # thick: a pixel aside matters less
    encoder, decoder = (ort.InferenceSession(exports / role / "model.onnx") for role in ("encoder", "decoder"))
    z_mean, z_log_var = encoder.run(["z_mean", "z_log_var"], {"image": digit[None]})
    grey, (decoded,) = digit[None] / 255, decoder.run(None, {"z": z_mean})
    cross_entropy, entropy = (binary_cross_entropy(grey, image.reshape(grey.shape)) for image in (decoded, grey))
    parts = {"reconstruction": (cross_entropy - entropy)[0], "kl": kl_per_latent(z_mean, z_log_var).sum()}
    metadata = decoder.get_modelmeta().custom_metadata_map
    nats = f"{float(metadata['validation_negative_elbo']):.2f} nats"
    (folder / "vectors.json").write_text(json.dumps({"z": z.tolist(), "images": images.tolist()}))
    (folder / "digit.json").write_text(json.dumps({"pixels": digit.tolist(), "z_mean": z_mean[0].tolist(), **parts}))
    Image.fromarray(digit).save(folder / "digit.png")
    # As on a photograph: dark on light, large, and not in the middle.
    paper = Image.new("L", (500, 300), 235)
    paper.paste(Image.fromarray(np.minimum(255 - digit, 235)).resize((196, 196)), (40, 60))
    paper.save(folder / "inverted.png")
    return {
        "vectors": str(folder / "vectors.json"),
        "digit": str(folder / "digit.json"),
        "picture": str(folder / "digit.png"),
        "inverted": str(folder / "inverted.png"),
        "facts": {"source": metadata["data_source"], "nats": nats, "runtime": "onnxruntime-web 1.30.0"},
    }


@pytest.mark.parametrize("check", names("checks_page.mjs", "checks_map.mjs", "checks_look.mjs", "checks_digits.mjs"))
@pytest.mark.parametrize(("size", "latent_dim"), VARIANTS)
def test_the_page(drive: Callable[..., dict[str, Any]], size: str, latent_dim: int, check: str) -> None:
    failure = drive(size, latent_dim)["results"][check]
    assert failure is None, failure


@pytest.mark.parametrize("trouble", names("troubles.mjs"))
def test_what_is_wrong_is_said(drive: Callable[..., dict[str, Any]], trouble: str) -> None:
    failure = drive("desktop", 2, troubles=True)["results"][trouble]
    assert failure is None, failure
