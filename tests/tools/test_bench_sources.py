"""The table of what each kind of pile reaches is made of real jobs on real files."""

from pathlib import Path

import pytest

from pipeline.tools.bench_sources import SourceSpeed, SourceSpeeds, bench_sources
from tests import onnx_models


def test_every_kind_is_measured(tmp_path: Path) -> None:
    bundle = onnx_models.save_bundle(tmp_path / "exports")
    steps: list[str] = []
    report = bench_sources(bundle, 300, 2, steps.append)
    assert (report.images, report.rounds) == (300, 2)
    assert steps == ["writing 300 images in each kind", "round 1", "round 2"]
    assert all(one.images_per_second > 0 for one in report.figures)
    assert [one.kind for one in report.figures if one.share is None] == [".npy"]
    assert {one.bound for one in report.figures} == {"", ".npy", "pictures in memory", "pyarrow's reader"}
    lines = str(report).splitlines()
    assert len(lines) in (3 + len(report.figures), 5 + len(report.figures))
    assert max(map(len, lines)) <= 80


def test_the_table_gives_shares_of_the_bound() -> None:
    figures = SourceSpeed(".npy", 200_000, "", None, 0), SourceSpeed("tar", 50_000, "pictures in memory", 0.75, 0.1)
    table = str(SourceSpeeds(2, 1000, 3, figures))
    assert table.splitlines()[-1].split() == ["tar", "50,000", "75%", "pictures", "in", "memory", "10%"]


def test_shares_whose_rounds_disagree_are_marked() -> None:
    wild = SourceSpeed("tar", 50_000, "pictures in memory", 0.75, 0.2)
    *_, row, _, note = str(SourceSpeeds(2, 1000, 3, (wild,))).splitlines()
    assert row.split()[:3] == ["tar", "50,000", "~75%"]
    assert note == "~ the rounds differ by more than 15%: end other work on this machine"


def test_halves_of_different_models_are_refused(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.encoder(2), tmp_path / "encoder")
    onnx_models.save(onnx_models.decoder(3), tmp_path / "decoder")
    with pytest.raises(Exception, match=r"has 2 latent\(s\), .* has 3"):
        bench_sources(tmp_path, 100, 1, str)
