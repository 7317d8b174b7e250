import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.datasets import DATASETS
from pipeline.data.prepared import About
from pipeline.errors import DataError, FormatError, ModelError, OutputError
from pipeline.evaluating.definitions import flatten
from pipeline.reporting.report import Inputs, report
from tests import onnx_models, surfaces
from tests.evaluating.conftest import MANIFEST, STATS
from tests.reporting.test_plots import curves

METRICS: dict[str, Any] = {
    "source": "sample",
    "test": {"negative_elbo": 154.86, "reconstruction": 149.07, "kl": 5.79, "images": 600},
    "likelihood": {"negative_log_likelihood": 98.25, "standard_error": 0.625, "importance_samples": 500},
    "latents": {"kl_per_latent": [3.125, 2.5], "active": 2, "knn_accuracy": 0.7811, "knn_accuracy_pixels": 0.9688},
    "samples": {
        "judge_accuracy": 0.989,
        "floor": {"frechet_distance": 0.541, "recall": 0.883},
        "prior": {"frechet_distance": 181.024, "recall": 0.121},
        "mixture": {"frechet_distance": 128.092, "recall": 0.221},
    },
    "scores": {
        "images": 600,
        "turned": {"area_under_curve": 0.9401, "area_under_curve_negative_elbo": 0.9191, "caught": 0.1925},
        "upside_down": {"area_under_curve": 0.8094, "area_under_curve_negative_elbo": 0.7846, "caught": 0.0599},
    },
    "unheard": {"of": 0.4321, "remark": "<b>1 < 2 & 3</b>"},
}
ORIGIN = {
    "model": {"latent_dim": 2, "encoder_units": [48]},
    "train": {"epochs": 3, "schedule": "constant", "jit_compile": True},
    "data": {"source": "sample", "files": [{"name": "digits.gz", "bytes": 12345, "sha256": "ab" * 32}]},
}


class Page(HTMLParser):
    """What a page holds, tag by tag; fails where a tag is not closed as it should be."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def save_inputs(folder: Path, latent_dim: int = 2) -> Inputs:
    """What the stages before `report` leave."""
    exports, prepared = folder / "exports", folder / "prepared"
    onnx_models.save(onnx_models.encoder(latent_dim), exports / "encoder")
    onnx_models.save(onnx_models.decoder(latent_dim), exports / "decoder")
    onnx_models.save(surfaces.renderer(latent_dim), exports / "renderer")
    (exports / "manifest.json").write_text(json.dumps({**MANIFEST, "latent_dim": latent_dim}))
    (exports / "samples").mkdir()
    for name in ("prior", "mixture", "reconstructions"):
        Image.fromarray(np.zeros((112, 168), np.uint8)).save(exports / "samples" / f"{name}.png")
    Image.fromarray(np.zeros((150, 700), np.uint8)).save(exports / "scores.png")
    prepared.mkdir()
    np.save(prepared / "test_images.npy", np.random.default_rng(6).integers(0, 256, (60, 28, 28), np.uint8))
    np.save(prepared / "test_labels.npy", (np.arange(60) % 10).astype(np.uint8))
    (prepared / "stats.json").write_text(json.dumps(STATS))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "training.json").write_text(json.dumps(ORIGIN))
    return Inputs(exports, prepared, folder / "training.json", curves(folder / "curves", 3), folder / "metrics.json")


def run(inputs: Inputs, reports: Path) -> Page:
    report(inputs, reports / "plots", reports / "index.html")
    return Page(reports / "index.html")


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return save_inputs(tmp_path)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report."""
    folder = tmp_path_factory.mktemp("report")
    run(save_inputs(folder), folder / "reports")
    return folder / "reports"


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written / "index.html")


def test_the_page_states_every_figure(page: Page) -> None:
    for figure in flatten({name: group for name, group in METRICS.items() if isinstance(group, dict)}, "digit"):
        assert any(attributes.get("id") == figure.key for _, attributes in page.tags), figure.key
        for value in [figure.value] if not figure.bars else [value for value, _ in figure.bars]:
            assert value in page.text
        assert figure.meaning.definition in page.text


def test_the_page_states_parameters_data_and_checks(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "encoder_units [48]" in text
    assert "jit_compile true" in text
    assert f"digits.gz 12,345 {'ab' * 32}" in text
    assert "Source: sample. This is not the full MNIST" in text
    assert "decoder/model_quantized.onnx int8 422,834 0.02 0.003 (0.01) +0.200 (0.5)" in text
    assert "decoder/model.onnx float32 1,615,925 1e-07" in text
    for file in MANIFEST["files"]:
        assert f"{file['path']} {file['bytes']:,} {file['sha256']}" in text


def test_the_page_needs_no_other_file(page: Page, written: Path) -> None:
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    content = (written / "index.html").read_text()
    assert not re.search(r"url\(|@import|<script|<link|srcset", content)


def test_every_picture_can_be_seen_and_is_described(page: Page, written: Path) -> None:
    sizes = []
    for image in page.all("img"):
        kind, content = image["src"].split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as png:
            png.load()
            times = 1 if png.size == (700, 150) else 2  # its letters are as small as they may be
            assert (int(image["width"]), int(image["height"])) == (png.width // times, png.height // times)
            sizes.append(png.size)
        assert len(image["alt"]) > 30
    assert Counter(sizes)[(168, 112)] == 3
    paths = {"traversals.png", "interpolations.png"}
    drawn = {"close-up.png", "latents.png", "manifold.png", "training.png"} | paths
    assert {file.name for file in (written / "plots").iterdir()} == drawn
    assert len(sizes) == 3 + 1 + len(drawn)


def test_the_strangest_test_digits_are_shown_and_explained(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "Unusual digits The strangest test digits The test digits with the highest scores" in text
    assert "and how many of a hundred held-out digits have a lower one." in text
    assert "Upside down 0.8094 0.7846 6.0%" in text
    assert "scorer/model_quantized.onnx int8 938,807 4.9 0.33 (2.0) 0.8051 (0.01)" in text


def test_headings_captions_and_links_lead_through_the_page(page: Page) -> None:
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["h1"] == tags["main"] == 1
    assert tags["caption"] == tags["table"] >= 7
    assert tags["figcaption"] == tags["figure"] == tags["h3"] == 10
    assert page.all("html") == [{"lang": "en-GB"}]
    places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(places) == len(set(places))
    assert {link["href"][1:] for link in page.all("a")} <= set(places)


def test_words_of_a_figure_are_no_markup(page: Page) -> None:
    assert page.all("b") == []
    assert "<b>1 < 2 & 3</b>" in page.text


def test_the_mixture_of_a_bundle_is_told_of(inputs: Inputs, reports: Path) -> None:
    file = "decoder/mixture/model.onnx"
    mixture = {
        "file": file,
        "components": 20,
        "log_likelihood": {"mixture": -3.125, "prior": -4.5},
        "largest_difference": {"numpy": {"z": 2e-6}, "reference": {"z": 1e-6}},
    }
    files = [*MANIFEST["files"], {"path": file, "bytes": 4321, "sha256": "0" * 64}]
    manifest = {**MANIFEST, "mixture": mixture, "files": files}
    (inputs.exports / "manifest.json").write_text(json.dumps(manifest))
    text = " ".join(run(inputs, reports).text.split())
    assert "has 20 Gaussians" in text
    assert "of \N{MINUS SIGN}3.12 nats under the mixture and of \N{MINUS SIGN}4.50 nats under the prior" in text
    assert f"{file} float32 4,321 2e-06" in text


@pytest.mark.parametrize("latent_dim", [1, 20])
def test_any_number_of_latents_is_reported(latent_dim: int, tmp_path: Path) -> None:
    page = run(save_inputs(tmp_path, latent_dim), tmp_path / "reports")
    assert f"{latent_dim} latent{'s' if latent_dim > 1 else ''}, trained on" in page.text
    assert len(page.all("img")) == 10


def test_equal_inputs_give_equal_bytes(inputs: Inputs, reports: Path, written: Path) -> None:
    run(inputs, reports)
    first, second = ({file.name: file.read_bytes() for file in place.rglob("*.*")} for place in (written, reports))
    assert first == second
    assert len(first) == 7


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("metrics.json", r"metrics\.json was not found; run `vae evaluate`"),
        ("training.json", r"training\.json was not found; run `vae train`"),
        ("exports/manifest.json", r"manifest\.json was not found; run `vae export`"),
        ("exports/samples/mixture.png", r"mixture\.png was not found; run `vae generate`"),
        ("exports/scores.png", r"scores\.png was not found; run `vae score`"),
        ("prepared/test_labels.npy", r"test_labels\.npy was not found; run `vae prepare`"),
        ("curves/eval/loss.tsv", r"loss\.tsv was not found; run `vae train`"),
    ],
)
def test_what_is_missing_names_the_stage_to_run(
    name: str, complaint: str, inputs: Inputs, reports: Path, tmp_path: Path
) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=complaint):
        run(inputs, reports)
    assert list(reports.iterdir()) == []


def test_missing_metrics_are_one_line_on_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "--metrics", str(tmp_path / "metrics.json")])
    assert isinstance(result.exception, DataError)
    assert str(result.exception).count("\n") == 0


def test_figures_of_other_data_are_refused(inputs: Inputs, reports: Path) -> None:
    inputs.metrics.write_text(json.dumps({**METRICS, "source": "mnist"}))
    with pytest.raises(
        DataError, match="figures for the source mnist, but the models were trained on sample; run `vae evaluate`"
    ):
        run(inputs, reports)


def test_metrics_that_are_no_json_are_refused(inputs: Inputs, reports: Path) -> None:
    inputs.metrics.write_text("{")
    with pytest.raises(FormatError, match=r"metrics\.json is not a JSON object; run `vae evaluate` again"):
        run(inputs, reports)


def test_halves_of_different_latent_size_are_refused(inputs: Inputs, reports: Path) -> None:
    onnx_models.save(onnx_models.decoder(latent_dim=20), inputs.exports / "decoder")
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* has 20; give encoder and decoder of one export"):
        run(inputs, reports)
    assert list(reports.iterdir()) == []


def test_a_plots_folder_with_other_files_is_refused_and_untouched(inputs: Inputs, reports: Path) -> None:
    (reports / "plots").mkdir()
    (reports / "plots" / "holiday.png").write_text("mine")
    with pytest.raises(OutputError, match=r"already holds 'holiday\.png'"):
        run(inputs, reports)
    assert [path.name for path in reports.rglob("*")] == ["plots", "holiday.png"]


@pytest.mark.parametrize("name", [*DATASETS, "own"])
def test_the_page_speaks_of_what_the_data_show(name: str, inputs: Inputs, reports: Path) -> None:
    about = DATASETS[name].about if name in DATASETS else About("own images", "image", (), "", "")
    labels = np.arange(60) % max(1, len(about.classes))
    np.save(inputs.prepared / "test_labels.npy", labels.astype(np.uint8))
    (inputs.prepared / "stats.json").write_text(json.dumps({**STATS, "source": name, "about": about.as_json()}))
    reason = "how well classifiers recognise the images: they have no labels"
    latents = METRICS["latents"] if about.classes else {"kl_per_latent": [3.125, 2.5], "not_measured": reason}
    inputs.metrics.write_text(json.dumps({**METRICS, "source": name, "latents": latents}))
    inputs.origin.write_text(json.dumps({**ORIGIN, "data": {"source": name, "files": []}}))
    page = run(inputs, reports)
    text = " ".join(page.text.split())
    assert f"Variational autoencoder of {about.title}" in text
    assert f"The test {about.noun}s were used for nothing but" in text
    assert f"Test {about.noun}s in latent space" in text
    assert f"{about.citation} (licence: {about.licence})." in text or name == "own"
    assert (f"Classes, by label from 0: {', '.join(about.classes)}." in text) == bool(about.classes)
    assert (reason in text) == ("because the data have no labels" in text) == (not about.classes)
    assert ("digit" in text.lower()) == (about.noun == "digit")
    assert "This is not the full MNIST" not in text
