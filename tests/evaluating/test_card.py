import json
import re
from itertools import takewhile

import jsonschema
import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.prepared import About
from pipeline.evaluating.card import model_card
from pipeline.shared.interface import MIXTURE, ROLES
from tests.evaluating.conftest import ABOUT, MANIFEST, STATS
from tests.test_house import ROOT

OWN = About("own images", "image", (), "", "")
FIGURES = {
    "test": {"negative_elbo": 156.26, "reconstruction": 151.0, "kl": 5.26, "images": 1000},
    "likelihood": {
        "negative_log_likelihood": 147.554,
        "standard_error": 0.456,
        "negative_elbo": 150.618,
        "importance_samples": 5000,
    },
    "latents": {
        "kl_per_latent": [3.0, 2.25, 0.01],
        "active": 2,
        "note": "latents not in use: 2",
        "knn_accuracy": 0.6712,
        "knn_accuracy_pixels": 0.9677,
        "linear_probe_accuracy": 0.6468,
        "linear_probe_accuracy_pixels": 0.9175,
        "aggregate_kl": 0.4871,
    },
    "samples": {
        "judge_accuracy": 0.9891,
        "floor": {"frechet_distance": 0.5412, "recall": 0.8832},
        "prior": {"frechet_distance": 181.0243, "recall": 0.002},
    },
    "scores": {
        "images": 1000,
        "turned": {"area_under_curve": 0.94, "caught": 0.1925},
        "upside_down": {"area_under_curve": 0.8094, "caught": 0.0599},
        "cut": {"area_under_curve": 0.7191, "caught": 0.0228},
        "blurred": {"area_under_curve": 0.19, "caught": 0.0016},
    },
}


def test_the_manifest_of_these_tests_follows_the_schema() -> None:
    jsonschema.validate(MANIFEST, json.loads((ROOT / "docs/manifest.schema.json").read_text()))


def test_the_card_states_figures_of_validation_and_test_digits() -> None:
    card = model_card(MANIFEST, FIGURES, STATS, ABOUT)
    assert "| 333 validation | 155.00 | 150.00 | 5.00 |" in card
    assert "| 1,000 test | 156.26 | 151.00 | 5.26 |" in card


def test_the_card_states_likelihood_latents_samples_and_scores() -> None:
    card = model_card(MANIFEST, FIGURES, STATS, ABOUT)
    for row in (
        "| Negative log-likelihood | 147.55 nats | Upper bound on ",
        "| \N{PLUS-MINUS SIGN} standard error | 0.456 nats | ",
        "| Importance samples | 5,000 | ",
        "| KL of each latent | 3.000, 2.250, 0.010 | ",
        "| Active latents | 2 | ",
        "| Note | | latents not in use: 2 |",
        "| Nearest-neighbour accuracy, latents | 67.1% | Share of test digits ",
        "| Linear-probe accuracy, pixels | 91.8% | ",
        "| Aggregate posterior KL | 0.49 nats | ",
        "| Accuracy of the judge | 98.9% | Share of digits that it recognises",
        "| | Fréchet distance | Recall |",
        "| Floor | 0.54 | 88.3% |",
        "| Prior | 181.02 | 0.2% |",
        "| | Area under the curve | Caught |",
        "| Upside down | 0.8094 | 6.0% |",
        "- Recall: Share of test digits that lie among those of the row",
    ):
        assert row in card


def test_every_table_of_the_card_is_whole() -> None:
    """Each row has as many cells as its heading, and no line of a template stands between them."""
    lines = model_card(MANIFEST, FIGURES, STATS, ABOUT).splitlines()
    starts = [i for i, line in enumerate(lines) if set(line) == set("|-")]
    assert len(starts) == 9
    for start in starts:
        rows = list(takewhile(lambda line: line.startswith("|"), lines[start - 1 :]))
        assert len(rows) >= 3
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {rows[0].count("|")}
        assert lines[start - 2] == lines[start - 1 + len(rows)] == ""


def test_the_card_states_each_variant_and_its_price() -> None:
    card = model_card(MANIFEST, FIGURES, STATS, ABOUT)
    assert "| `decoder/model.onnx` | float32 | 1,615,925 |  | 1e-07 |  |  |" in card
    assert "| `decoder/model_quantized.onnx` | int8 | 422,834 | 0.00300 | 0.02 | +0.200 |  |" in card
    assert "| `scorer/model.onnx` | float32 | 3,328,910 |  | 9e-05 |  | 0.8138 |" in card
    assert "| `scorer/model_quantized.onnx` | int8 | 938,807 | 0.33000 | 4.9 |  | 0.8051 |" in card


def test_the_card_explains_a_mixture_where_there_is_one() -> None:
    file = "decoder/mixture/model.onnx"
    listed = [*MANIFEST["files"], {"path": file, "bytes": 1234, "sha256": "0" * 64}]
    card = model_card(
        {**MANIFEST, "files": listed, "mixture": {"file": file, "largest_difference": {"numpy": {"z": 2e-6}}}},
        FIGURES,
        STATS,
        ABOUT,
    )
    assert f"| `{file}` | float32 | 1,234 |  | 2e-06 |  |  |" in card
    for tensor in (*MIXTURE.inputs, *MIXTURE.outputs):
        assert f"`{tensor.resolved(2)}` | {tensor.meaning}" in card
        assert tensor.meaning not in model_card(MANIFEST, FIGURES, STATS, ABOUT)


def test_a_model_of_the_sample_cannot_pass_for_one_of_the_full_set() -> None:
    assert "**a sample of 5,000 digits of MNIST, not the full set**" in model_card(MANIFEST, FIGURES, STATS, ABOUT)
    full = model_card(MANIFEST, FIGURES, {**STATS, "source": "mnist"}, ABOUT)
    assert "sample of 5,000" not in full
    assert "1,000 training digits of MNIST, 333 of them held out for validation." in full


@pytest.mark.parametrize(
    ("source", "about"), [*((name, known.about) for name, known in DATASETS.items()), ("own", OWN)]
)
def test_the_card_speaks_of_what_the_data_show(source: str, about: About) -> None:
    card = model_card(MANIFEST, FIGURES, {**STATS, "source": source}, about)
    assert card.startswith(f"# Encoder, decoder and scorer of a variational autoencoder of {about.title}\n")
    assert (f"{len(about.classes)} classes, by label from 0: {', '.join(about.classes)}." in card) == bool(
        about.classes
    )
    assert f"Share of test {about.noun}s classified correctly" in card
    assert ("digit" in card) == (about.noun == "digit")
    assert ("digits of MNIST" in card) == (source == "mnist")
    assert f"{about.citation}; licence {about.licence}." in card or source == "own"


def test_the_card_explains_every_input_and_output() -> None:
    card = model_card(MANIFEST, FIGURES, STATS, ABOUT)
    for role in MANIFEST["models"]:
        for tensor in (*ROLES[role].inputs, *ROLES[role].outputs):
            meaning = tensor.meaning.replace("|", "\\|")  # which would be the end of a cell
            assert f"`{tensor.resolved(2)}` | {meaning} |" in card


def test_the_card_names_what_the_scorer_hardly_sees() -> None:
    limits = " ".join(model_card(MANIFEST, FIGURES, STATS, ABOUT).partition("## Limits")[2].split())
    assert "digits that are upside down (0.81), cut (0.72) or blurred (0.19) are told from real ones with" in limits
    seen = {**FIGURES, "scores": {"images": 1000, "turned": {"area_under_curve": 0.94, "caught": 0.1925}}}
    assert "are told from" not in model_card(MANIFEST, seen, STATS, ABOUT)


def test_the_card_carries_the_snippets_as_they_stand() -> None:
    card = model_card(MANIFEST, FIGURES, STATS, ABOUT)
    for snippet in (ROOT / "pipeline/evaluating/snippets").iterdir():
        assert snippet.read_text().rstrip() in card
