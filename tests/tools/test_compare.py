"""Scores are compared from the command line, as real Parquet files and real models."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import DataError, FormatError, ModelError, OutputError, PipelineError
from pipeline.inference.usual import Usual
from pipeline.jobs import scored
from pipeline.shared.files import sha256
from pipeline.shared.interface import ROLES, SCORER
from pipeline.tools import compare as module
from pipeline.tools.compare import compare
from tests import onnx_models, scores

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.gamma(9, 8, 2000).astype(np.float32)  # nats
Z_MEAN = GENERATOR.standard_normal((2000, 3), np.float32)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "200"})


def judged(*arguments: str) -> dict:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, and the scores that it gave three piles: one as usual, one with more score."""
    monkeypatch.setitem(ROLES, SCORER.role, SCORER)
    scores.save_scorer(tmp_path / "exports", SCORES)
    made = {"model_sha256": sha256(tmp_path / "exports/scorer/model.onnx")}
    scores.write(tmp_path / "usual", SCORES, Z_MEAN, **made)
    scores.write(tmp_path / "same", SCORES[::-1][:1500], Z_MEAN[:1500], **made)
    scores.write(tmp_path / "more", SCORES * 1.5, Z_MEAN + np.array([0, 1, 0.2], np.float32), **made)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_quantity_has_its_figures(here: Path) -> None:
    found = judged("usual", "more")
    assert list(found["quantities"]) == ["score", "z_mean[0]", "z_mean[1]", "z_mean[2]"]
    assert found["drifted"]
    assert found["usual"] == {"path": "usual", "rows": 2000, "every": 1, "bundle": False}
    score = found["quantities"]["score"]
    expected = ks_2samp(SCORES, SCORES * 1.5)
    assert (score["ks"], score["p_value"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (score["usual_rows"], score["rows"]) == (2000, 2000)
    assert score["usual_median"] == pytest.approx(np.median(SCORES))
    assert score["median"] == pytest.approx(1.5 * score["usual_median"])
    psi = {name: one["psi"] for name, one in found["quantities"].items()}
    assert psi["z_mean[0]"] == 0
    assert psi["z_mean[1]"] > 0.2 > psi["z_mean[2]"] > 0
    assert found["notes"] == []


def test_the_table_fits_a_terminal_and_has_the_most_drifted_latent_first(here: Path) -> None:
    lines = call("usual", "more").stdout.splitlines()
    assert lines[:2] == ["usual  usual, 2,000 rows", "pile   more, 2,000 rows"]
    assert [line.split()[0] for line in lines[4:]] == ["score", "z_mean[1]", "z_mean[2]", "z_mean[0]"]
    assert [line.endswith("  drift") for line in lines[4:]] == [True, True, False, False]
    assert lines[-1].endswith("  no drift")
    assert lines[-1].split()[:5] == ["z_mean[0]", "2,000", "2,000", *[f"{np.median(Z_MEAN[:, 0]):.2f}"] * 2]
    assert all(len(line) <= 80 for line in lines)


def test_of_many_latents_the_largest_are_listed_and_wide_numbers_fit(here: Path) -> None:
    z_mean = GENERATOR.standard_normal((2000, 120), np.float32)
    scores.write(here / "a", SCORES, z_mean)
    scores.write(here / ("b" * 100), SCORES * 1e30, z_mean - np.linspace(0, 1e5, 120, dtype=np.float32))
    lines = call("a", "b" * 100).stdout.splitlines()
    assert len(lines) == 4 + 1 + 10 + 1
    assert lines[-1].startswith("and 110 more latents with a PSI of at most ")
    assert lines[-1].endswith(": see --json")
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith("pile   ...bbb")


@pytest.mark.parametrize("bundle", ["exports", "exports/scorer", "exports/scorer/model.onnx"])
def test_a_bundle_is_what_is_usual_wherever_it_stands(bundle: str, here: Path) -> None:
    found = judged(bundle, "more")
    turned = judged("more", bundle)
    assert found == turned
    assert found["usual"] == {"path": bundle, "rows": 2000, "every": 1, "bundle": True}
    assert list(found["quantities"]) == ["score"]
    of_rows = judged("usual", "more")["quantities"]["score"]
    for name, tolerance in (("ks", 1e-3), ("psi", 0.02), ("usual_median", 0.01), ("usual_rows", 0)):
        assert found["quantities"]["score"][name] == pytest.approx(of_rows[name], abs=tolerance)
    assert found["notes"] == ["latents were not compared: a bundle tells the score alone"]
    assert not judged(bundle, "same")["drifted"]
    assert call(bundle, "more").stdout.startswith(f"usual  {bundle}, 2,000 validation images\n")


def test_the_variant_that_scored_is_taken_from_the_bundle(here: Path) -> None:
    made = {"model_sha256": sha256(here / "exports/scorer/model_quantized.onnx"), "precision": "int8"}
    scores.write(here / "int8", SCORES, **made)
    assert judged("exports", "int8")["quantities"]["score"]["ks"] <= 1e-3


def test_latents_that_one_result_has_are_not_compared(here: Path) -> None:
    made = {"model_sha256": sha256(here / "exports/scorer/model.onnx")}
    scores.write(here / "plain", SCORES, **made)
    for arguments, without in ((("usual", "plain"), "the pile has"), (("plain", "usual"), "what is usual has")):
        found = judged(*arguments)
        assert list(found["quantities"]) == ["score"]
        assert found["notes"] == [f"latents were not compared: {without} none; score it with --latents"]
    assert judged("exports", "plain")["notes"] == []


def test_that_few_rows_were_there_is_said(here: Path) -> None:
    scores.write(here / "few", SCORES[:50], model_sha256=sha256(here / "exports/scorer/model.onnx"))
    *_, note = call("exports", "few").stdout.splitlines()
    assert note == "note: so few rows give a PSI of about 0.18 by chance"  # 9 / 50 + 9 / 2000


def test_that_rows_were_left_out_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored.read_scores, "__defaults__", (300,))
    monkeypatch.setattr(module, "MOST_ROWS", 300)
    lines = call("exports", "more").stdout.splitlines()
    assert lines[0] == "usual  exports, 2,000 validation images, 1 in 7 taken"
    assert lines[1] == "pile   more, 2,000 rows, 1 in 7 taken"
    assert lines[4].split()[:3] == ["score", "286", "286"]
    found = judged("usual", "more")
    assert (found["pile"]["rows"], found["pile"]["every"]) == (2000, 7)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["usual", "same", "--fail-over", "0.2"], 0),
        (["usual", "more"], 0),
        (["usual", "more", "--fail-over", "0.2"], 4),
        (["usual", "more", "--fail-over", "100"], 0),
        (["usual", "same", "--fail-over", "0"], 4),
        (["exports", "more", "--fail-over", "0.2"], 4),
        (["usual", "latents", "--fail-over", "0.2"], 4),  # of one latent alone
        (["usual", "more", "--fail-over", "nan"], 2),
        (["usual", "more", "--fail-over", "-1"], 2),
        (["usual"], 2),
    ],
)
def test_the_exit_status_says_whether_there_is_drift_if_asked(arguments: list[str], status: int, here: Path) -> None:
    made = {"model_sha256": sha256(here / "exports/scorer/model.onnx")}
    scores.write(here / "latents", SCORES, Z_MEAN * np.array([1, 3, 1], np.float32), **made)
    result = call(*arguments, "--json")
    assert result.exit_code == status
    if status in (0, 4):
        assert json.loads(result.stdout)["drifted"] == (status == 4 or arguments == ["usual", "more"])


def test_the_installed_command_ends_with_these_statuses(here: Path) -> None:
    for pile, status in (("more", 4), ("nothing", 1)):
        command = [Path(sys.executable).parent / "vae", "compare", "usual", pile, "--fail-over", "0.2"]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert done.stderr.count("\n") == (status == 1)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=50))
def test_a_pile_has_not_drifted_from_itself(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    score = np.array(values, np.float32)
    pile = scores.write(tmp_path_factory.mktemp("pile") / "scores", score, np.stack([score, -score], 1))
    found = compare(pile, pile)
    assert {(one.ks, one.p_value, one.psi) for one in found.quantities.values()} == {(0, 1, 0)}
    assert not found.drifted


@pytest.mark.parametrize("usual", ["usual", "exports"])
def test_a_picture_shows_both(usual: str, here: Path) -> None:
    (here / "drift.png").write_bytes(b"an older one")
    picture = ["-o", "drift.png"]
    assert judged(usual, "more", *picture) == judged(usual, "more")
    first = (here / "drift.png").read_bytes()
    with Image.open("drift.png") as image:
        assert image.size == (1209, 921)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    judged(usual, "more", *picture)
    assert (here / "drift.png").read_bytes() == first
    assert not list(here.glob(".drift*"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [[5.0], [0.0] * 100, [1.0, 1e30]])
def test_a_picture_of_strange_values_is_drawn_without_a_warning(score: list[float], here: Path) -> None:
    values = np.array(score, np.float32)
    scores.write(here / "$x_1$\udce9\n", values, np.zeros((len(values), 50), np.float32))
    compare(here / "$x_1$\udce9\n", here / "$x_1$\udce9\n", picture=here / "folder" / "drift.PNG")
    assert (here / "folder" / "drift.PNG").stat().st_size > 1000


def result(**about: object) -> Callable[[Path], object]:
    """Of the same model, with `about` the rest."""

    def write(path: Path) -> object:
        made = {"model_sha256": sha256(path.parent / "exports/scorer/model.onnx")}
        return scores.write(path, **({"score": SCORES, **made} | about))  # type: ignore[arg-type]

    return write


def alone(facts: dict[str, str]) -> Callable[[Path], object]:
    return lambda path: onnx.save(scores.scorer(facts), path)


def tampered(path: Path) -> None:
    shutil.copytree("exports", path)
    file = path / "scorer" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")


OTHER = "other is of the scorer "
BAD = {
    "no pile": (["usual", "nothing"], DataError, "nothing was not found; expected the scores that `vae score` wrote"),
    "latents": (
        ["usual", "other"],
        DataError,
        "other holds the result of `vae encode`; expected",
        result(job="encode"),
    ),
    "no scores": (["labels.npy", "usual"], FormatError, "labels.npy is not Parquet, or is damaged: "),
    "two bundles": (["exports", "exports/scorer"], DataError, "exports and exports/scorer both hold models; expected"),
    "a bundle without a scorer": (
        ["other", "usual"],
        ModelError,
        "other holds the encoder and decoder, expected the scorer",
        onnx_models.save_bundle,
    ),
    "a damaged bundle": (["other", "usual"], ModelError, "other/scorer/model.onnx has the SHA-256 .*; dow", tampered),
    "no quantiles": (["x.onnx", "usual"], ModelError, "x.onnx doesn't tell the quantiles of the score of", alone({})),
    "no scorer": (["encoder.onnx", "usual"], ModelError, "encoder.onnx is no scorer: "),
    "another scorer": (
        ["x.onnx", "usual"],
        ModelError,
        "x.onnx is of the scorer .*; score both piles with one model, in one precision",
        alone(Usual.of(SCORES + 1).facts()),
    ),
    "another model": (["other", "usual"], ModelError, f"{OTHER}cccc.* .float32., usual", result(model_sha256="c" * 64)),
    "another precision": (["other", "usual"], ModelError, f"{OTHER}.* .int8., usual", result(precision="int8")),
    "a precision that is none": (["exports", "other"], ModelError, "no precision 'int4'", result(precision="int4")),
    "other latents": (
        ["other", "usual"],
        ModelError,
        r"other has 2 latent.s., usual has 3; score both with one bundle",
        result(z_mean=Z_MEAN[:, :2]),
    ),
    "another encoder": (
        ["usual", "other"],
        ModelError,
        "the latents of usual and other are of different encoders; score both with one bundle",
        result(z_mean=Z_MEAN, encoder_sha256="c" * 64),
    ),
    "a picture of another kind": (["usual", "same", "-o", "x.jpg"], OutputError, "x.jpg can't hold a picture; name a"),
    "a folder": (["usual", "same", "-o", "x.png"], OutputError, "x.png can't hold a picture", Path.mkdir),
    "no folder": (["usual", "same", "-o", "labels.npy/x.png"], OutputError, "cannot write labels.npy/x.png: "),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_compared_is_refused_in_one_line_and_nothing_is_written(case: str, here: Path) -> None:
    arguments, kind, complaint, *write = BAD[case]
    np.save("labels.npy", np.zeros(3))
    onnx.save(onnx_models.encoder(), "encoder.onnx")
    for one in write:
        one(here / next(name for name in ("other", "x.onnx", "x.png") if name in arguments))
    before = sorted(here.rglob("*"))
    refused = call(*arguments)
    assert refused.exit_code == 1
    assert isinstance(refused.exception, PipelineError)
    assert isinstance(refused.exception, kind)
    assert re.search(complaint, str(refused.exception)), str(refused.exception)
    assert "\n" not in str(refused.exception)
    assert refused.stdout == ""
    assert sorted(here.rglob("*")) == before


def test_help_and_wrong_usage_load_nothing_heavy_and_figures_no_matplotlib(here: Path) -> None:
    script = (
        "import sys; from pipeline.cli import app\n"
        "heavy = {'numpy', 'scipy', 'matplotlib', 'pyarrow', 'onnxruntime'}\n"
        "app(['compare', '--help'], standalone_mode=False)\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "app(['compare', 'usual', 'more'], standalone_mode=False)\n"
        "loaded = {'matplotlib', 'pandas', 'tensorflow', 'keras', 'onnx', 'PIL'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
