"""Check what a run of the pipeline left behind."""

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
parser.add_argument("--test-images", type=int, required=True)
parser.add_argument("--negative-elbo", type=float, required=True, help="the largest that passes, in nats")
expected = parser.parse_args()

metrics = json.loads(Path("reports/metrics.json").read_text())
manifest = json.loads(Path("exports/manifest.json").read_text())
assert metrics["source"] == manifest["data"]["source"] == expected.source, metrics
assert metrics["test"]["images"] == expected.test_images, metrics
assert 100 < metrics["test"]["negative_elbo"] <= expected.negative_elbo, metrics
floor, prior, mixture = (metrics["samples"][row] for row in ("floor", "prior", "mixture"))
assert floor["frechet_distance"] < mixture["frechet_distance"] < prior["frechet_distance"], metrics
assert floor["coverage"] > 0.9 and floor["recall"] > 0.8, metrics
assert 0.9 <= floor["edge_ratio"] <= 1.1, metrics
if expected.source == "mnist":
    assert metrics["samples"]["judge_accuracy"] > 0.98, metrics
    assert floor["frechet_distance"] < 1, metrics
    assert metrics["samples"]["generator"]["frechet_distance"] < mixture["frechet_distance"], metrics
    assert metrics["samples"]["generator"]["edge_ratio"] > mixture["edge_ratio"], metrics
scores = metrics["scores"]
assert scores["inverted"]["area_under_curve"] > 0.99 and scores["noisy"]["area_under_curve"] > 0.99, metrics
if expected.source == "mnist":
    assert scores["turned"]["area_under_curve"] > 0.9 and scores["moved"]["area_under_curve"] > 0.97, metrics
    assert scores["cut"]["area_under_curve"] > scores["cut"]["area_under_curve_negative_elbo"] + 0.1, metrics
card = Path("exports/README.md").read_text()
assert f"| {expected.test_images:,} test | {metrics['test']['negative_elbo']:.2f} |" in card
assert pq.read_table("exports/latents/test").num_rows == expected.test_images
for picture in ("prior", "mixture", "generator", "reconstructions", "manifold"):
    with Image.open(f"exports/samples/{picture}.png") as image:
        assert min(image.size) >= 500, picture
assert pq.read_table("exports/scores").num_rows == expected.test_images
with Image.open("exports/scores.png") as image:
    assert min(image.size) >= 500
with Image.open("reports/plots/latents.png") as image:
    assert min(image.size) >= 500
print(f"as expected: {json.dumps(metrics)}")
