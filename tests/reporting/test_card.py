import json

import jsonschema

from pipeline.interface import DECODER, ENCODER
from pipeline.reporting.card import model_card
from tests.reporting.conftest import MANIFEST
from tests.test_house import ROOT

TEST = {"negative_elbo": 156.26, "reconstruction": 151.0, "kl": 5.26, "images": 1000}


def test_the_manifest_of_these_tests_follows_the_schema() -> None:
    jsonschema.validate(MANIFEST, json.loads((ROOT / "docs/manifest.schema.json").read_text()))


def test_the_card_states_figures_of_validation_and_test_digits() -> None:
    card = model_card(MANIFEST, TEST)
    assert "| 333 validation | 155.00 | 150.00 | 5.00 |" in card
    assert "| 1,000 test | 156.26 | 151.00 | 5.26 |" in card


def test_the_card_states_each_variant_and_its_price() -> None:
    card = model_card(MANIFEST, TEST)
    assert "| `decoder/model.onnx` | float32 | 1,615,925 | | | 155.00 |" in card
    assert "| `decoder/model_quantized.onnx` | int8 | 422,834 | 0.00300 | 0.0200 | +0.200 |" in card


def test_a_model_of_the_sample_cannot_pass_for_one_of_the_full_set() -> None:
    assert "**a sample of 5,000 digits of MNIST, not the full set**" in model_card(MANIFEST, TEST)
    full = {**MANIFEST, "data": {"source": "mnist", "files": []}}
    assert "sample of 5,000" not in model_card(full, TEST)


def test_the_card_explains_every_input_and_output() -> None:
    card = model_card(MANIFEST, TEST)
    for interface in (ENCODER, DECODER):
        for tensor in (interface.input, *interface.outputs):
            assert f"`{tensor.resolved(2)}` | {tensor.meaning}" in card


def test_the_card_carries_the_snippets_as_they_stand() -> None:
    card = model_card(MANIFEST, TEST)
    for snippet in (ROOT / "pipeline/reporting/snippets").iterdir():
        assert snippet.read_text().rstrip() in card
