import numpy as np
import pytest

from pipeline.inference.usual import QUANTILES, Usual

SCORES = np.arange(2001, dtype=np.float32) / 10  # 0 to 200 nats, evenly


@pytest.mark.parametrize(("score", "percentile"), [(0, 0), (50, 25), (100.05, 50.025), (200, 100), (1e9, 100), (-1, 0)])
def test_a_percentile_is_the_share_of_usual_images_below(score, percentile):
    found = Usual.of(SCORES).percentile(np.array([score], np.float32))
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(percentile, abs=1e-3)


def test_each_class_has_its_own():
    labels = (SCORES > 100).astype(np.uint8)
    usual = Usual.of(SCORES, labels)
    assert usual.quantiles.keys() == {"all", "0", "1"}
    assert usual.percentile(np.array([150.0]), "0")[0] == 100
    assert usual.percentile(np.array([150.0]), "1")[0] == pytest.approx(50, abs=0.1)


def test_a_file_tells_what_it_was_told():
    usual = Usual.of(SCORES, (SCORES > 100).astype(np.uint8))
    told = Usual.read(usual.facts())
    assert told is not None
    assert told.images == 2001
    assert told.lists() == usual.lists()
    assert {len(one) for one in told.quantiles.values()} == {QUANTILES}


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"score_quantiles": "no JSON", "score_images": "1"},
        {"score_quantiles": "[]", "score_images": "1"},
        {"score_quantiles": '{"all": [1, 2]}', "score_images": "1"},
        {"score_quantiles": '{"all": "text"}', "score_images": "1"},
        {**Usual.of(SCORES).facts(), "score_images": "0"},
        {"score_quantiles": str(list(range(QUANTILES))), "score_images": "5"},
        {"score_quantiles": f'{{"all": [{"0, " * (QUANTILES - 1)}Infinity]}}', "score_images": "5"},
    ],
)
def test_a_file_that_tells_nothing_of_the_kind(facts):
    assert Usual.read(facts) is None
