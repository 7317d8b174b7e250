import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline import __version__
from pipeline.cli import app
from pipeline.commands.app import GROUPS
from pipeline.errors import PipelineError
from tests import mixtures, onnx_models, surfaces
from tests.sources import piles
from tests.test_house import PRESETS, ROOT, STAGES

PARAMS = str(ROOT / "params.yaml")


def vae(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command, as a user starts it."""
    return subprocess.run(
        [Path(sys.executable).parent / "vae", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundles of both halves, their renderer and their scorer."""
    return onnx_models.put_scorer(surfaces.add(onnx_models.save_bundle(tmp_path_factory.mktemp("models") / "exports")))


@pytest.fixture
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: the models where commands look for them, nine pictures, their labels and latents."""
    (tmp_path / "exports").symlink_to(models)
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    piles.write(tmp_path / "folder_of_png", images).rename(tmp_path / "digits")
    np.save(tmp_path / "labels.npy", np.arange(9, dtype=np.uint8))
    np.save(tmp_path / "z.npy", np.random.default_rng(1).standard_normal((9, 2), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    """The command in this process, where it starts at once."""
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


def test_help_names_every_stage_once_and_every_command_under_a_heading() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    headings = [line.removesuffix(":") for line in result.output.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == ["Options", *GROUPS]
    listed = re.findall(r"^  (\w+)  ", result.output.partition(f"{GROUPS[0]}:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    assert set(STAGES) <= set(listed)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_whole_sentences_and_fits_80_columns(command: str | None) -> None:
    output = CliRunner().invoke(app, [*([command] if command else []), "--help"], env={"COLUMNS": "80"}).output
    assert all(len(line) <= 80 for line in output.splitlines())
    assert not re.search(r"\w\.\.\.", output.replace("[ARGS]...", ""))  # nothing is cut
    described = output.partition("\n\n")[2].partition("\n\n")[0].strip()
    assert described[0].isupper()
    assert described.endswith(".")


def test_a_preset_is_printed_for_a_command_of_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = call("preset", "plane").output.split()
    assert printed[::2] == ["-S"] * (len(printed) // 2)
    assert "model.encoder_units=[1024,512,256]" in printed
    assert [line.split()[0] for line in call("preset").output.splitlines()] == sorted(PRESETS)


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "-o", "x", "--count", "0"], "x>=1"),
        (["generate", "-o", "x"], "say what to decode"),
        (["generate", "-o", "x", "--latents", "l.npy", "--manifold", "3"], "not both"),
        (["generate", "-o", "x", "--count", "3", "--originals", "i.npy"], "--originals goes with --latents"),
        (["generate", "-o", "x", "--latents", "l.npy", "--seed", "1"], "--seed goes with --count alone"),
        (["generate", "-o", "x", "--manifold", "3", "--seed", "0"], "--seed goes with --count alone"),
        (["generate", "-o", "x", "--latents", "l.npy", "--sampler", "mixture"], "--sampler goes with --count alone"),
        (["generate", "-o", "x", "--manifold", "3", "--sampler", "prior"], "--sampler goes with --count alone"),
        (["generate", "-o", "x", "--count", "3", "--sampler", "posterior"], "is not one of 'prior', 'mixture'"),
        (["generate", "-o", "x", "--sampler", "mixture"], "say what to decode"),
        (["generate", "-o", "x", "--manifold", "3", "--count", "9"], "--manifold sets the count itself"),
        (["generate", "-o", "x", "--count", "3", "--seed", "-1"], "x>=0"),
        (["generate", "-o", "x", "--manifold", "1"], "2<=x<=1000"),
        (["generate", "-o", "x", "--count", "1", "--size", "7"], "x>=8"),
        (["generate", "-o", "x", "--count", "1", "--size", "28", "--softness", "0.04"], "0.05<=x<=10"),
        (["reconstruct", "images.npy", "-o", "x", "--size", "28", "--softness", "11"], "0.05<=x<=10"),
        (["score", "images.npy", "-o", "x", "--most", "1001"], "0<=x<=1000"),
        (["score", "images.npy", "-o", "x", "--most", "-1"], "0<=x<=1000"),
        (["score", "images.npy"], "--output"),
        (["encode", "images.npy"], "--output"),
        (["encode", "-o", "x"], "Missing argument 'images'"),
        (["reconstruct", "images.npy", "-o", "x", "--workers", "0"], "x>=1"),
        (["encode", "images.npy", "-o", "x", "--limit", "0"], "x>=1"),
        (["encode", "images.npy", "-o", "x", "--format", "csv"], "'csv' is not one of 'auto', 'parquet', 'png'"),
        (["encode", "images.npy", "-o", "x", "--precision", "int4"], "'int4' is not one of 'float32', 'int8', 'fp16'"),
        (["encode", "images.npy", "-o", "x", "--on-error", "skip"], "'skip' is not one of 'fail', 'quarantine'"),
        (["encode", "images.npy", "-o", "x", "--batch-size", "0"], "x>=1"),
        *[
            (["encode", "images.npy", "-o", "x", f"--range={text}"], "no range of two numbers")
            for text in ("1..0", "0:1", "0...5", "0..inf", "nan..1", "..")
        ],
        (["incode"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], complaint: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["download"], "error: params.yaml was not found"),
        (["prepare", "nowhere", "--params", PARAMS], "error: nowhere/source.json was not found; run `vae download`"),
        (["judge", "nowhere", "--params", PARAMS], "error: nowhere/source.json was not found; run `vae download`"),
        (["encode", "nothing.npy", "-o", "x"], "error: exports/encoder was not found"),
        (["generate", "--count", "1", "-o", "x"], "error: exports/decoder was not found"),
        (["score", "nothing.npy", "-o", "x"], "error: exports/scorer was not found"),
        (["download", "--params", PARAMS, "--mirror", "htp://x"], "error: htp://x is no mirror; expected a folder or"),
        (["evaluate", "--params", PARAMS], "error: exports/encoder was not found"),
        (["verify"], "error: exports/manifest.json was not found; expected a folder that `vae export` wrote"),
        (["info", "model.onnx"], "error: model.onnx was not found"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exits_with_1(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    result = vae(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(complaint)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_parameter_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("  latent_dim:", "  latent_dims:"))
    result = vae("download", cwd=tmp_path)
    assert result.returncode == 1
    assert "unknown key model.latent_dims, did you mean model.latent_dim?" in result.stderr


def test_download_and_prepare_print_results_for_machines_and_load_no_framework(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("source: auto", "source: sample"))
    script = (
        "import sys; from pipeline.cli import app\n"
        "app(['download', '--json', '--quiet'], standalone_mode=False)\n"
        "app(['prepare', '--json'], standalone_mode=False)\n"
        "loaded = {'tensorflow', 'keras', 'tf2onnx', 'jax', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    downloaded, prepared = map(json.loads, result.stdout.splitlines())
    assert downloaded["source"] == prepared["source"] == "sample"
    assert prepared["splits"]["train"]["images"] == 3667
    assert prepared["splits"]["validation"]["images"] == 333  # 5,000 of 60,000 as a share of 4,000
    assert result.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from pipeline.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'onnxruntime', 'pyarrow', 'pydantic', 'PIL', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_verify_and_info_print_results_for_people(tmp_path: Path) -> None:
    onnx_models.save_bundle(tmp_path / "exports")
    result = vae("verify", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "exports: 13 files as listed, all models as described"
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert (
        "role                  decoder" in vae("info", "exports/decoder/model.onnx", cwd=tmp_path).stdout.splitlines()
    )


def test_a_flipped_byte_of_the_models_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    file = onnx_models.save_bundle(tmp_path / "exports") / "decoder" / "model_quantized.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    for command in (["verify"], ["verify", "--json"], ["generate", "--count", "1", "-o", "digits"]):
        result = vae(*command, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: exports/decoder/model_quantized.onnx has the SHA-256 ")
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["exports"]


@pytest.mark.parametrize(
    ("arguments", "rows", "files"),
    [
        (["encode", "digits", "-o", "out"], 9, ["out"]),
        (["encode", "digits", "-o", "out", "--labels", "labels.npy", "--limit", "4"], 4, ["out"]),
        (["encode", "digits/*.png", "-o", "x.npz", "--precision", "int8"], 9, ["x.npz", "x.npz.manifest.json"]),
        (["score", "digits", "-o", "out"], 9, ["out"]),
        (["score", "digits", "-o", "out", "--most", "3", "--latents", "--labels", "labels.npy"], 9, ["out", "out.png"]),
        (["score", "digits", "-o", "x.npz", "--most", "99"], 9, ["x.npz", "x.npz.manifest.json", "x.npz.png"]),
        (["score", "digits", "-o", "x.npy", "--limit", "4"], 4, ["x.npy", "x.npy.manifest.json"]),
        (["reconstruct", "digits", "-o", "out", "--format", "png"], 9, ["out", "out.png"]),
        (["generate", "--count", "5", "--seed", "3", "-o", "x.npy"], 5, ["x.npy", "x.npy.manifest.json", "x.npy.png"]),
        (["generate", "--latents", "z.npy", "--originals", "digits", "-o", "out"], 9, ["out", "out.png"]),
        (["generate", "--latents", "z.npy", "--count", "2", "-o", "out"], 2, ["out", "out.png"]),
        (["generate", "--manifold", "3", "-o", "out", "--batch-size", "2", "--workers", "2"], 9, ["out", "out.png"]),
        (["generate", "--manifold", "3", "--size", "50", "-o", "out"], 9, ["out", "out.png"]),
        (["reconstruct", "digits", "--size", "50", "-o", "x.npy"], 9, ["x.npy", "x.npy.manifest.json", "x.npy.png"]),
        (["generate", "--count", "5", "-o", "x.png"], 5, ["x.png", "x.png.manifest.json"]),
        (
            ["reconstruct", "digits", "-o", "x.png", "--limit", "4", "--softness", "0.1"],
            4,
            ["x.png", "x.png.manifest.json"],
        ),
    ],
)
def test_a_batch_job_prints_one_json_object_and_leaves_its_files(
    arguments: list[str], rows: int, files: list[str], here: Path
) -> None:
    before = {path.name for path in here.iterdir()}
    result = call(*arguments, "--json", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    summary = json.loads(result.stdout)
    assert (summary["output"], summary["rows"], summary["quarantined"]) == (files[0], rows, 0)
    assert summary["peak_memory"] > 0
    assert summary["seconds"] > 0
    assert sorted({path.name for path in here.iterdir()} - before) == files


def test_labels_are_carried_along(here: Path) -> None:
    assert call("encode", "digits", "-o", "out", "--labels", "labels.npy").exit_code == 0
    assert pq.read_table("out")["label"].to_pylist() == list(range(9))


def test_pictures_of_another_size_are_taken_if_asked_for(here: Path) -> None:
    (here / "digits" / "large.png").write_bytes(piles.png(np.zeros((56, 56), np.uint8)))
    refused = call("encode", "digits", "-o", "out")
    assert "large.png: is 56 x 56 pixels" in str(refused.exception)
    assert json.loads(call("encode", "digits", "-o", "out", "--resize", "--json").stdout)["rows"] == 10


def test_a_result_is_at_most_three_lines_for_people(here: Path) -> None:
    result = call("generate", "--count", "5", "-o", "out")
    assert result.stdout.startswith("out: 5 rows, picture ")
    assert result.stdout.splitlines()[1].endswith("MB")
    assert len(result.stdout.splitlines()) == 2


def test_the_seed_is_0_unless_given(here: Path) -> None:
    for output, seed in (("first.npy", []), ("second.npy", ["--seed", "0"]), ("third.npy", ["--seed", "1"])):
        assert call("generate", "--count", "5", "-o", output, *seed).exit_code == 0
    assert Path("first.npy").read_bytes() == Path("second.npy").read_bytes() != Path("third.npy").read_bytes()


def test_the_sampler_is_the_mixture_unless_the_prior_is_asked_for(here: Path) -> None:
    (here / "exports").unlink()
    mixtures.add(onnx_models.save_bundle(here / "exports"))
    for output, options in (
        ("default.npy", []),
        ("mixture.npy", ["--sampler", "mixture"]),
        ("bundle.npy", ["--decoder", "exports"]),
        ("prior.npy", ["--sampler", "prior"]),
    ):
        assert call("generate", "--count", "5", "-o", output, *options).exit_code == 0
    names = ("default", "mixture", "bundle", "prior")
    default, mixture, bundle, prior = (Path(f"{name}.npy").read_bytes() for name in names)
    assert default == mixture == bundle != prior


def test_the_sampler_is_the_prior_where_a_file_lies_alone_and_this_is_said(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy("exports/decoder/model.onnx", "alone.onnx")
    drawing = ["generate", "--count", "5", "--decoder", "alone.onnx"]
    assert call(*drawing, "-o", "default.npy").exit_code == 0
    assert "drawing from the prior: there is no mixture at mixture/model.onnx" in caplog.messages
    caplog.clear()
    assert call(*drawing, "-o", "prior.npy", "--sampler", "prior").exit_code == 0
    assert caplog.messages == []
    assert Path("default.npy").read_bytes() == Path("prior.npy").read_bytes()


@pytest.mark.parametrize("command", ["encode", "reconstruct", "score"])
def test_rows_that_are_set_aside_make_the_exit_status_3(command: str, here: Path) -> None:
    (here / "digits" / "0004.png").write_bytes(b"not a picture")
    result = call(command, "digits", "-o", "out", "--on-error", "quarantine", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["quarantined"] == 1
    assert json.loads((here / "out" / "_quarantine.jsonl").read_text())["name"] == "digits/0004.png"
    assert call(command, "digits", "-o", "out", "--on-error", "quarantine").stdout.splitlines()[1].startswith("1 bad")


def test_latents_that_are_set_aside_make_the_exit_status_3(here: Path) -> None:
    np.save("z.npy", np.array([[0, 0], [np.nan, 0]], np.float32))
    result = call("generate", "--latents", "z.npy", "-o", "x.npy", "--on-error", "quarantine")
    assert result.exit_code == 3
    assert len(np.load("x.npy")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "digits", "-o", "out"],
        ["reconstruct", "digits", "-o", "x.npy"],
        ["score", "digits", "--most", "3", "--latents", "-o", "out"],
        ["generate", "--count", "9", "-o", "out"],
        ["generate", "--latents", "z.npy", "--originals", "digits", "-o", "out"],
    ],
)
def test_a_dry_run_checks_everything_and_writes_nothing(arguments: list[str], here: Path) -> None:
    before = sorted(here.rglob("*"))
    assert ": 9 rows to " in call(*arguments, "--dry-run").stdout
    plan = json.loads(call(*arguments, "--dry-run", "--json").stdout)
    assert (plan["output"], plan["rows"], plan["parts"], plan["finished_parts"]) == (arguments[-1], 9, 1, 0)
    assert sorted(here.rglob("*")) == before
    Path(arguments[-1]).write_text("mine")
    assert call(*arguments, "--dry-run").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["encode", "nothing.npy", "-o", "out"], "nothing.npy was not found; expected"),
        (["encode", "digits", "-o", "x.npy", "--format", "npz"], "x.npy can't hold the format npz; name a file for"),
        (["encode", "digits", "-o", "out", "--format", "png"], "latents can't be written as png; choose parquet"),
        (["encode", "digits", "-o", "digits"], "digits holds what is to be read; choose another output"),
        (["encode", "digits", "-o", "digits/out"], "digits/out lies in digits, which is to be read; choose another"),
        (["encode", "digits/*.png", "-o", "digits"], "already holds '0000.png', which this command did not write"),
        (["encode", "digits", "-o", "memory://"], "memory:// is a whole store; name a folder or a file in it"),
        (["encode", "digits", "-o", "out", "--provider", "abacus"], "ONNX Runtime has no provider 'abacus' here"),
        (["encode", "digits", "-o", "out", "--encoder", "exports/decoder"], "exports/decoder holds the decoder, exp"),
        (["encode", "digits", "-o", "out", "--labels", "z.npy"], "z.npy holds"),
        (["encode", "digits", "-o", "nosuch://x/out"], "nosuch://x/out can't be reached: Protocol not known"),
        (["generate", "--latents", "z.npy", "--count", "10", "-o", "out"], "z.npy holds 9 latents, --count asks for"),
        (["generate", "--latents", "nothing", "-o", "out"], "nothing was not found; expected latents as"),
        (
            ["generate", "--count", "1", "--sampler", "mixture", "-o", "out"],
            "mixture was not found; draw from the prior",
        ),
        (["encode", "digits", "-o", "x.png"], "latents can't be written as png; choose parquet"),
        (
            ["generate", "--count", "1", "-o", "out", "--softness", "0.1"],
            "--softness needs --size too, or a picture as",
        ),
        (["reconstruct", "digits", "-o", "x.npy", "--softness", "1"], "--softness needs --size too, or a picture as"),
        (
            ["generate", "--count", "1", "-o", "out", "--size", "50", "--softness", "nan"],
            "the softness is nan, expected 0.",
        ),
        (
            ["generate", "--count", "1", "-o", "out", "--size", "5000"],
            "the size is 5,000, at most 4,096 fits into rows",
        ),
        (
            ["generate", "--count", "1", "-o", "out", "--size", "50", "--precision", "int8"],
            "is int8, but sizes are drawn",
        ),
        (
            ["reconstruct", "digits", "-o", "x.png", "--precision", "fp16"],
            "is fp16, but sizes are drawn in float32; leave",
        ),
        (
            ["generate", "--count", "1", "-o", "x.png", "--size", "400000"],
            "400,000 x 400,000 pixels, at most 1,000,000",
        ),
        (["generate", "--manifold", "1000", "-o", "x.png", "--size", "1001"], "1,001,000 x 1,001,000 pixels, at most"),
        (["generate", "--count", "1000001", "-o", "x.png"], "holds more than 1,000,000 images, too many for a picture"),
        (
            ["generate", "--latents", "z.npy", "--originals", "digits", "--size", "50", "-o", "out"],
            "--originals are of the size of the data; leave out --size",
        ),
        (
            ["generate", "--latents", "z.npy", "--originals", "digits", "-o", "x.png"],
            "--originals are of the size of the data; leave out --size",
        ),
        (
            ["generate", "--count", "1", "--size", "50", "-o", "x.png", "--format", "npy"],
            "x.png can't hold the format npy",
        ),
    ],
)
def test_a_batch_job_that_cannot_start_says_why_and_writes_nothing(
    arguments: list[str], complaint: str, here: Path
) -> None:
    before = sorted(here.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, PipelineError)  # of which the command makes one line, as tested above
    assert complaint in str(result.exception)
    assert "\n" not in str(result.exception)
    assert sorted(here.rglob("*")) == before


def test_the_installed_command_ends_with_the_same_statuses(here: Path) -> None:
    (here / "digits" / "0004.png").write_bytes(b"not a picture")
    failed = vae("encode", "digits", "-o", "out", cwd=here)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: digits/0004.png: starts with b'not a pi'")
    assert failed.stderr.count("\n") == 1
    aside = vae("encode", "digits", "-o", "out", "--on-error", "quarantine", "--json", cwd=here)
    assert (aside.returncode, aside.stderr) == (3, "")
    assert json.loads(aside.stdout)["rows"] == 8


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.skipif(sys.platform == "darwin", reason="there every name is text")
@pytest.mark.parametrize(
    ("name", "environment"),
    [(b"caf\xe9", {"PYTHONUTF8": "1"}), ("caf\xe9".encode(), PLAIN), (b"caf\xe9", PLAIN), (b"two\nlines", {})],
)
def test_names_that_are_not_text_are_names(name: bytes, environment: dict[str, str], here: Path) -> None:
    env = {**os.environ, **environment}
    given = os.fsdecode(name)
    (here / "digits").rename(here / given)
    (here / given / f"{given}.png").write_bytes(b"not a picture")
    failed = vae("encode", given, "-o", f"{given}.npz", cwd=here, env=env)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "expected a PNG, JPEG" in failed.stderr
    arguments = ["reconstruct", given, "--on-error", "quarantine", "-o"]
    done = vae(*arguments, f"{given}.npz", "--json", cwd=here, env=env)
    assert (done.returncode, done.stderr) == (3, "")
    assert os.fsencode(json.loads(done.stdout)["output"]) == name + b".npz"
    planned = vae(*arguments, f"{given}.out", "--format", "png", "--dry-run", cwd=here, env=env)
    assert (planned.returncode, planned.stderr) == (0, "")
    told = vae(*arguments, f"{given}.out", cwd=here, env=env)
    assert (told.returncode, told.stderr) == (3, "")
    assert all((here / f"{given}.{suffix}").exists() for suffix in ("npz", "npz.png", "out", "out.png"))
    aside = json.loads((here / f"{given}.out" / "_quarantine.jsonl").read_text())
    assert os.fsencode(aside["name"]) == name + b"/" + name + b".png"
    assert not list(here.glob(".*"))


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_job_whose_streams_are_closed_does_its_work(closed: str, here: Path) -> None:
    command = f'"{Path(sys.executable).parent / "vae"}" encode digits -o out {closed}'
    assert subprocess.run(["sh", "-c", command], cwd=here, check=False).returncode == 0
    assert pq.read_table("out").num_rows == 9
    assert subprocess.run(["sh", "-c", f"{command} --limit 0"], cwd=here, check=False).returncode == 2


@pytest.mark.parametrize("home", ["empty", "labels.npy", None])
def test_a_job_leaves_nothing_at_home_and_says_nothing_without_one(home: str | None, here: Path) -> None:
    """As ONNX Runtime does when it reports its use."""
    (here / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "ORT_DISABLE_TELEMETRY")}
    if home is not None:
        environment["HOME"] = str(here / home)
    done = vae("encode", "digits", "-o", "out", "--quiet", "--json", cwd=here, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((here / "empty").iterdir()) == []


def test_whoever_wants_the_reports_of_onnx_runtime_gets_them() -> None:
    script = "import os, pipeline; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, found in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | given
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == found


def test_a_job_that_is_terminated_keeps_what_is_finished_beside_the_output(here: Path) -> None:
    with (here / "images.npy").open("wb") as file:  # sparse: 2 million black images
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (2_000_000, 28, 28)}
        )
        file.truncate(file.tell() + 2_000_000 * 784)
    command = [Path(sys.executable).parent / "vae", "encode", "images.npy", "-o", "out"]
    job = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True)
    while not (here / ".out.partial/records/part-00000.json").exists():
        assert job.poll() is None
        time.sleep(0.02)
    job.terminate()
    _, notes = job.communicate()
    assert job.returncode == 143
    assert "finished part(s); run the same command again to resume" in notes
    assert not (here / "out").exists()
    plan = json.loads(vae("encode", "images.npy", "-o", "out", "--dry-run", "--json", cwd=here).stdout)
    assert plan["finished_parts"] >= 1
