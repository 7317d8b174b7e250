import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from threadpoolctl import threadpool_limits

from pipeline.data.binarise import binarise
from pipeline.errors import DataError, FormatError, ModelError, ParamsError
from pipeline.evaluating.definitions import GROUPS, MEANINGS, flatten
from pipeline.evaluating.evaluate import evaluate
from pipeline.evaluating.score_figures import score_figures
from pipeline.inference import Decoder, Encoder, Scorer
from pipeline.jobs.latents import prior
from pipeline.measures.elbo import estimate
from pipeline.measures.judge import open_judge
from pipeline.measures.likelihood import estimate_likelihood
from pipeline.measures.outliers import area_under_curve
from pipeline.measures.samples import Comparison
from pipeline.params import Evaluate
from pipeline.shared.interface import IR_VERSION, OPSET
from tests import onnx_models
from tests.evaluating.conftest import STATS, save_judge

ROOT = Path(__file__).parent.parent.parent
PARAMS = Evaluate(samples=2, importance_samples=4, neighbours=5, strangers=None, seed=3)


@pytest.fixture
def reports(tmp_path: Path, judge: Path) -> Path:
    """Where the figures go; a judge lies beside it."""
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def run(exports: Path, prepared: Path, reports: Path) -> dict[str, Any]:
    return evaluate(PARAMS, exports, prepared, exports.parent / "judge", reports / "metrics.json")


def test_metrics_are_the_estimate_on_the_test_digits(exports: Path, prepared: Path, reports: Path) -> None:
    figures = run(exports, prepared, reports)
    images = np.load(prepared / "test_images.npy")
    elbo = estimate(Encoder(exports / "encoder"), Decoder(exports / "decoder"), images, samples=2, seed=3)
    assert figures["source"] == "sample"
    assert figures["test"] == {
        "negative_elbo": round(elbo.negative_elbo, 4),
        "reconstruction": round(elbo.reconstruction, 4),
        "kl": round(elbo.kl, 4),
        "images": 600,
    }
    assert figures["latents"]["kl_per_latent"] == [round(nats, 4) for nats in elbo.kl_per_latent]
    assert json.loads((reports / "metrics.json").read_text()) == figures
    assert [file.name for file in reports.iterdir()] == ["metrics.json"]


def test_parts_add_up(exports: Path, prepared: Path, reports: Path) -> None:
    figures = run(exports, prepared, reports)
    three_roundings = 1.5e-4
    for group in (figures["test"], figures["likelihood"]):
        assert group["negative_elbo"] == pytest.approx(group["reconstruction"] + group["kl"], abs=three_roundings)
    latents = figures["latents"]
    assert latents["aggregate_kl"] + latents["mutual_information"] == pytest.approx(
        figures["test"]["kl"], abs=three_roundings
    )


def test_the_likelihood_is_the_bound_on_the_digits_as_they_were_drawn(
    exports: Path, prepared: Path, reports: Path
) -> None:
    figures = run(exports, prepared, reports)
    images = binarise(np.load(prepared / "test_images.npy"), seed=3)
    found = estimate_likelihood(Encoder(exports / "encoder"), Decoder(exports / "decoder"), images, 4, seed=3)
    assert figures["likelihood"] == found.figures()
    assert found.negative_log_likelihood < found.negative_elbo


def test_every_figure_is_defined_in_the_documentation_the_report_and_the_card(
    exports: Path, prepared: Path, reports: Path
) -> None:
    figures = run(exports, prepared, reports)
    documentation, card = (ROOT / "docs/figures.md").read_text(), (exports / "README.md").read_text()
    names = {key.rpartition(".")[2] for key in (figure.key for figure in flatten(figures))} - {"source"}
    assert names == set(MEANINGS) - {"note", "not_measured"}  # which are there only where something is missing
    for name in MEANINGS:
        assert f"`{name.removesuffix('_pixels')}`" in documentation, name
    for group in GROUPS:
        assert f"## `{group}`" in documentation
        for figure in flatten({group: figures[group]}):
            # The card has a table of its own for the evidence lower bound, and one of all samples.
            assert group == "test" or f"| {MEANINGS[figure.key.rpartition('.')[2]].name} |" in card, figure.key


def compared(z: NDArray[np.float32], exports: Path, prepared: Path) -> dict[str, float]:
    """All 600 test digits beside those that latents are decoded to."""
    judge, _ = open_judge(exports.parent / "judge")
    with threadpool_limits(1, user_api="blas"):
        compare = Comparison(np.load(prepared / "test_images.npy"), judge)
        return compare(Decoder(exports / "decoder").pixels(z))


def test_samples_are_drawn_from_the_prior_with_the_seed(exports: Path, prepared: Path, reports: Path) -> None:
    samples = run(exports, prepared, reports)["samples"]
    assert samples["prior"] == compared(prior(600, 3, 2).read(0, 600)().z, exports, prepared)
    assert (samples["images"], samples["judge_accuracy"]) == (600, 0.9625)


def test_the_floor_is_of_training_digits_as_many_as_there_are_samples(
    exports: Path, prepared: Path, reports: Path
) -> None:
    """Where all of them are needed, their order makes no difference."""
    for name in ("images", "labels"):
        np.save(prepared / f"train_{name}.npy", np.load(prepared / f"test_{name}.npy")[::-1])
    floor = run(exports, prepared, reports)["samples"]["floor"]
    assert floor["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert floor == {**floor, "recall": 1, "coverage": 1, "class_balance": 0, "edge_ratio": 1, "precision": 1}


def test_fewer_training_than_test_digits_are_compared_with_as_many(
    exports: Path, prepared: Path, reports: Path
) -> None:
    for name in ("images", "labels"):
        np.save(prepared / f"train_{name}.npy", np.load(prepared / f"train_{name}.npy")[:50])
    assert run(exports, prepared, reports)["samples"]["images"] == 50


def test_without_a_judge_the_edges_remain_and_the_card_says_why(exports: Path, prepared: Path, reports: Path) -> None:
    reason = "how a classifier judges generated images: they have no labels"
    save_judge(exports.parent / "judge", not_measured=reason)
    samples = run(exports, prepared, reports)["samples"]
    assert samples.keys() == {"images", "not_measured", "floor", "prior", "generator"}
    assert samples["floor"].keys() == samples["prior"].keys() == {"edge_ratio"}
    assert f"| Not measured | | {reason} |" in (exports / "README.md").read_text()


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        ({"source": "kmnist"}, "a judge of the source kmnist, the test images are of sample; run `vae judge` again"),
        ({"classes": 26}, "is no judge: output is .*probabilities float32.batch, 10., expected .*batch, 26"),
    ],
)
def test_a_judge_of_other_data_is_refused(
    about: dict[str, object], complaint: str, exports: Path, prepared: Path, reports: Path
) -> None:
    save_judge(exports.parent / "judge", **about)
    with pytest.raises((DataError, ModelError), match=complaint):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize("file", ["judge.json", "model.onnx"])
def test_a_missing_judge_is_named(file: str, exports: Path, prepared: Path, reports: Path) -> None:
    (exports.parent / "judge" / file).unlink()
    with pytest.raises((DataError, ModelError), match=f"{file} was not found"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_samples_are_drawn_from_the_mixture_where_there_is_one(exports: Path, prepared: Path, reports: Path) -> None:
    """A mixture of one Gaussian, N(0, 9 I), whichever the uniform numbers."""
    rows = {"uniform": ["batch"], "noise": ["batch", 2], "z": ["batch", 2]}
    uniform, noise, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in rows.items())
    nodes = [helper.make_node("Mul", ["noise", "three"], ["z"])]
    three = numpy_helper.from_array(np.float32(3), "three")
    graph = helper.make_graph(nodes, "mixture", [uniform, noise], [z], [three])
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx_models.save(model, exports / "decoder" / "mixture")
    wide = 3 * prior(600, 3, 2).read(0, 600)().z
    assert run(exports, prepared, reports)["samples"]["mixture"] == compared(wide, exports, prepared)


def test_one_latent_and_labels_that_it_tells(exports: Path, prepared: Path, reports: Path) -> None:
    """Digits are all black or all white; a probe that is no better than the yardstick of pixels is perfect here."""
    for half in ("encoder", "decoder"):
        onnx_models.save(getattr(onnx_models, half)(latent_dim=1), exports / half)
    shutil.rmtree(exports / "generator")  # as in bundles of earlier releases
    for split, count in (("test", 600), ("train", 700)):
        labels = (np.arange(count) % 2).astype(np.uint8)
        np.save(prepared / f"{split}_images.npy", np.tile(labels[:, None, None] * np.uint8(255), (1, 28, 28)))
        np.save(prepared / f"{split}_labels.npy", labels)
    figures = run(exports, prepared, reports)
    assert "generator" not in figures
    assert "generator" not in figures["samples"]
    latents = figures["latents"]
    accuracies = {name: value for name, value in latents.items() if "accuracy" in name}
    assert len(accuracies) == 4
    assert set(accuracies.values()) == {1.0}


def test_more_neighbours_than_training_digits_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    params = PARAMS.model_copy(update={"neighbours": 701})
    with pytest.raises(ParamsError, match=r"evaluate\.neighbours is 701, there are 700 training images"):
        evaluate(params, exports, prepared, exports.parent / "judge", reports / "metrics.json")
    assert list(reports.iterdir()) == []


def test_too_few_test_digits_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    for name in ("images", "labels"):
        np.save(prepared / f"test_{name}.npy", np.load(prepared / f"test_{name}.npy")[:3])
    with pytest.raises(DataError, match=r"holds 700 training and 3 test image\(s\), at least 6 of each are needed"):
        run(exports, prepared, reports)


def test_equal_inputs_give_equal_bytes(exports: Path, prepared: Path, reports: Path) -> None:
    results = []
    for _ in range(2):
        run(exports, prepared, reports)
        results.append([path.read_bytes() for path in (reports / "metrics.json", exports / "README.md")])
    assert results[0] == results[1]


def test_halves_of_different_latent_size_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    onnx_models.save(onnx_models.decoder(latent_dim=20), exports / "decoder")
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* has 20; give encoder and decoder of one export"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_a_model_without_numbers_leaves_no_figures(exports: Path, prepared: Path, reports: Path) -> None:
    """`NaN` is not JSON."""
    model = onnx_models.set_constant(onnx_models.decoder(), "logits_b", np.full(784, np.nan, np.float32))
    onnx_models.save(model, exports / "decoder")
    with pytest.raises(ModelError, match="gives pixels from nan to nan"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize("half", ["encoder", "decoder", "scorer"])
def test_a_missing_model_is_named(half: str, exports: Path, prepared: Path, reports: Path) -> None:
    (exports / half / "model.onnx").unlink()
    with pytest.raises(ModelError, match=f"{half}/model.onnx was not found"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_a_bundle_without_a_scorer_says_to_export_again(exports: Path, prepared: Path, reports: Path) -> None:
    shutil.rmtree(exports / "scorer")
    with pytest.raises(ModelError, match="holds no scorer, which older releases did not export; run `vae export` aga"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_the_scorer_tells_test_digits_from_strange_ones(exports: Path, prepared: Path, reports: Path) -> None:
    scores = run(exports, prepared, reports)["scores"]
    images, labels = (np.load(prepared / f"test_{name}.npy") for name in ("images", "labels"))
    expected = score_figures(Scorer(exports / "scorer"), images, labels, {}, seed=3)
    assert scores == {"images": 600, **expected}
    card = (exports / "README.md").read_text()
    assert f"| Upside down | {scores['upside_down']['area_under_curve']:.4f} | " in card


def test_strangers_are_another_pile(exports: Path, prepared: Path, reports: Path, tmp_path: Path) -> None:
    (tmp_path / "pile").mkdir()
    for number in range(12):
        Image.fromarray(np.full((28, 28), 20 * number, np.uint8)).save(tmp_path / "pile" / f"{number:02}.png")
    pile = np.stack([np.full((28, 28), 20 * number, np.uint8) for number in range(12)])
    params = PARAMS.model_copy(update={"strangers": str(tmp_path / "pile")})
    found = evaluate(params, exports, prepared, exports.parent / "judge", reports / "metrics.json")["scores"]
    assert list(found)[-1] == "strangers"
    images = np.load(prepared / "test_images.npy")
    scorer = Scorer(exports / "scorer")
    expected = area_under_curve(scorer(images).score, scorer(pile).score)
    assert found["strangers"]["area_under_curve"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("strangers", "complaint"),
    [
        ("pile", "pile was not found"),
        ("notes.txt", r"notes\.txt starts with .*; expected"),
        ("pictures", r"pictures/b\.png: .*; take it out of the pile that evaluate\.strangers names"),
    ],
)
def test_strangers_that_can_not_be_read_are_named(
    strangers: str, complaint: str, exports: Path, prepared: Path, reports: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image\n")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/b.png").write_bytes((tmp_path / "pictures/a.png").read_bytes()[:40])
    params = PARAMS.model_copy(update={"strangers": str(tmp_path / strangers)})
    with pytest.raises(DataError, match=complaint) as refused:
        evaluate(params, exports, prepared, exports.parent / "judge", reports / "metrics.json")
    assert "\n" not in str(refused.value)
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize("name", ["test_images.npy", "test_labels.npy", "train_images.npy", "stats.json"])
def test_missing_digits_name_the_stage_to_run(name: str, exports: Path, prepared: Path, reports: Path) -> None:
    (prepared / name).unlink()
    with pytest.raises(DataError, match=f"{name} was not found; run `vae prepare`"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_stats_without_a_source_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    stats = {name: value for name, value in STATS.items() if name != "source"}
    (prepared / "stats.json").write_text(json.dumps(stats))
    with pytest.raises(FormatError, match=r"stats\.json does not name the source; run `vae prepare` again"):
        run(exports, prepared, reports)


@pytest.mark.parametrize("kind", ["no labels", "one class", "26 classes"])
def test_classifiers_are_measured_where_there_are_classes(
    kind: str, exports: Path, prepared: Path, reports: Path
) -> None:
    """Elsewhere the figures say why they are not there."""
    full = run(exports, prepared, reports)["latents"]
    classes = {"no labels": [], "one class": ["boot"], "26 classes": list("abcdefghijklmnopqrstuvwxyz")}[kind]
    for split, count in (("test", 600), ("train", 700)):
        np.save(prepared / f"{split}_labels.npy", (np.arange(count) % max(1, len(classes))).astype(np.uint8))
    about = {**STATS["about"], "noun": "letter", "classes": classes}
    (prepared / "stats.json").write_text(json.dumps({**STATS, "source": "own", "about": about}))
    save_judge(exports.parent / "judge", source="own")
    figures = run(exports, prepared, reports)["latents"]
    card = (exports / "README.md").read_text()
    reason = {"no labels": "they have no labels", "one class": "those for training are of one class"}.get(kind)
    accuracies = {name for name in full if "accuracy" in name}
    assert set(figures) == set(full) - accuracies | {"not_measured"} if reason else set(figures) == set(full)
    assert (f"| Not measured | | how well classifiers recognise the images: {reason} |" in card) == bool(reason)
    assert ("letters classified correctly" in card) == (not reason)


LOADED = """
import sys
import pipeline.inference, pipeline.evaluating.evaluate
from pipeline.cli import app
for arguments in map(str.split, sys.argv[1:]):
    app(arguments, standalone_mode=False)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tf2onnx", "torch", "jax"}))
"""


def test_no_batch_job_loads_a_training_framework(exports: Path, prepared: Path, judge: Path, tmp_path: Path) -> None:
    commands = [
        "encode prepared/test_images.npy --output latents --encoder exports/encoder",
        "generate --latents latents --output samples --decoder exports/decoder",
        "score prepared/test_images.npy --output scores --scorer exports/scorer",
        "evaluate exports --prepared prepared --judge judge --params params.yaml",
    ]
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("importance_samples: 500", "importance_samples: 5"))
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *printed, loaded = result.stdout.splitlines()
    assert len(printed) == 7  # two for each batch job
    assert loaded == "[]"


def test_the_card_is_written_beside_the_models(exports: Path, prepared: Path, judge: Path, tmp_path: Path) -> None:
    figures = run(exports, prepared, tmp_path)
    card = (exports / "README.md").read_text()
    assert f"| 600 test | {figures['test']['negative_elbo']:.2f} |" in card
