import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import __version__
from pipeline.cli import app
from tests import onnx_models
from tests.test_house import ROOT, STAGES

PARAMS = str(ROOT / "params.yaml")


def vae(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed command, as a user starts it."""
    return subprocess.run(
        [Path(sys.executable).parent / "vae", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_help_names_every_stage() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(stage in result.output for stage in STAGES)


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "-o", "x", "--count", "0"], "greater than or equal to 1"),
        (["generate", "-o", "x"], "say what to decode"),
        (["generate", "-o", "x", "--latents", "l.npy", "--manifold", "3"], "not both"),
        (["generate", "-o", "x", "--count", "3", "--originals", "i.npy"], "--originals goes with --latents"),
        (["encode", "images.npy"], "--output"),
        (["encode", "images.npy", "-o", "x", "--batch-size", "0"], "greater than or equal to 1"),
        (["incode"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["download"], "error: params.yaml was not found"),
        (["prepare", "nowhere", "--params", PARAMS], "error: nowhere/source.json was not found; run `vae download`"),
        (["encode", "nothing.npy", "-o", "x"], "error: exports/encoder was not found"),
        (["generate", "--count", "1", "-o", "x"], "error: exports/decoder was not found"),
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
    assert "role      decoder" in vae("info", "exports/decoder/model.onnx", cwd=tmp_path).stdout.splitlines()


def test_a_flipped_byte_of_the_models_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    file = onnx_models.save_bundle(tmp_path / "exports") / "decoder" / "model_quantized.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    for command in (["verify"], ["verify", "--json"], ["generate", "--count", "1", "-o", "digits"]):
        result = vae(*command, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: exports/decoder/model_quantized.onnx has the SHA-256 ")
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["exports"]


def test_a_job_that_is_terminated_leaves_nothing_half_written(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.encoder(), tmp_path / "encoder")
    with (tmp_path / "images.npy").open("wb") as file:  # sparse: 2 million black images
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (2_000_000, 28, 28)}
        )
        file.truncate(file.tell() + 2_000_000 * 784)
    command = [Path(sys.executable).parent / "vae", "encode", "images.npy", "-o", "out", "--encoder", "encoder"]
    job = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not any(tmp_path.glob(".out.*/part-*")):
        assert job.poll() is None
        time.sleep(0.02)
    job.terminate()
    job.communicate()
    assert job.returncode == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "images.npy"]
