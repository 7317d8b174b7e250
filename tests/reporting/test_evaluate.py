import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, FormatError, ModelError, OutputError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.elbo import estimate
from pipeline.params import Evaluate
from pipeline.reporting.evaluate import evaluate
from tests import onnx_models

ROOT = Path(__file__).parent.parent.parent
PARAMS = Evaluate(samples=2, seed=3)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def run(exports: Path, prepared: Path, reports: Path) -> dict[str, object]:
    return evaluate(PARAMS, exports, prepared, reports / "metrics.json", reports / "plots")


def test_metrics_are_the_estimate_on_the_test_digits(exports: Path, prepared: Path, reports: Path) -> None:
    figures = run(exports, prepared, reports)
    images = np.load(prepared / "test_images.npy")
    elbo = estimate(Encoder(exports / "encoder"), Decoder(exports / "decoder"), images, samples=2, seed=3)
    assert figures == {
        "source": "sample",
        "test": {
            "negative_elbo": round(elbo.negative_elbo, 4),
            "reconstruction": round(elbo.reconstruction, 4),
            "kl": round(elbo.kl, 4),
            "images": 600,
        },
    }
    assert json.loads((reports / "metrics.json").read_text()) == figures
    assert [file.name for file in (reports / "plots").iterdir()] == ["latents.png"]


def test_reconstruction_and_kl_add_up(exports: Path, prepared: Path, reports: Path) -> None:
    run(exports, prepared, reports)
    test = json.loads((reports / "metrics.json").read_text())["test"]
    assert test["negative_elbo"] == pytest.approx(test["reconstruction"] + test["kl"], abs=1.5e-4)  # 3 roundings


def test_equal_inputs_give_equal_bytes(exports: Path, prepared: Path, reports: Path) -> None:
    results = []
    for _ in range(2):
        run(exports, prepared, reports)
        results.append([(reports / name).read_bytes() for name in ("metrics.json", "plots/latents.png")])
    assert results[0] == results[1]


def test_halves_of_different_latent_size_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    onnx_models.save(onnx_models.decoder(latent_dim=20), exports / "decoder")
    with pytest.raises(ModelError, match=r"has 2 latent\(s\), .* 20; export both again"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_a_model_without_numbers_leaves_no_figures(exports: Path, prepared: Path, reports: Path) -> None:
    """`NaN` is not JSON."""
    model = onnx_models.set_constant(onnx_models.decoder(), "logits_b", np.full(784, np.nan, np.float32))
    onnx_models.save(model, exports / "decoder")
    with pytest.raises(ModelError, match="gives pixels from nan to nan"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_missing_model_is_named(half: str, exports: Path, prepared: Path, reports: Path) -> None:
    (exports / half / "model.onnx").unlink()
    with pytest.raises(ModelError, match=f"{half}/model.onnx was not found"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


@pytest.mark.parametrize("name", ["test_images.npy", "test_labels.npy", "stats.json"])
def test_missing_digits_name_the_stage_to_run(name: str, exports: Path, prepared: Path, reports: Path) -> None:
    (prepared / name).unlink()
    with pytest.raises(DataError, match=f"{name} was not found; run `vae prepare`"):
        run(exports, prepared, reports)
    assert list(reports.iterdir()) == []


def test_stats_without_a_source_are_refused(exports: Path, prepared: Path, reports: Path) -> None:
    (prepared / "stats.json").write_text("{}")
    with pytest.raises(FormatError, match=r"stats\.json does not name the source; run `vae prepare` again"):
        run(exports, prepared, reports)


def test_a_plots_folder_with_other_files_is_refused_and_untouched(exports: Path, prepared: Path, reports: Path) -> None:
    (reports / "plots").mkdir()
    (reports / "plots" / "holiday.png").write_text("mine")
    with pytest.raises(OutputError, match=r"already holds 'holiday\.png'"):
        run(exports, prepared, reports)
    assert [path.name for path in reports.rglob("*")] == ["plots", "holiday.png"]


LOADED = """
import sys
import pipeline.inference, pipeline.reporting.evaluate
from pipeline.cli import app
for arguments in map(str.split, sys.argv[1:]):
    app(arguments, standalone_mode=False)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tf2onnx", "torch", "jax"}))
"""


def test_no_batch_job_loads_a_training_framework(exports: Path, prepared: Path, tmp_path: Path) -> None:
    commands = [
        "encode prepared/test_images.npy --output latents --encoder exports/encoder",
        "generate --latents latents --output samples --decoder exports/decoder",
        f"evaluate exports --prepared prepared --params {ROOT / 'params.yaml'}",
    ]
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *printed, loaded = result.stdout.splitlines()
    assert len(printed) == 5  # two for each batch job
    assert loaded == "[]"


def test_the_card_is_written_beside_the_models(exports: Path, prepared: Path, tmp_path: Path) -> None:
    figures = evaluate(Evaluate(samples=1, seed=0), exports, prepared, tmp_path / "metrics.json", tmp_path / "plots")
    card = (exports / "README.md").read_text()
    assert f"| 600 test | {figures['test']['negative_elbo']:.2f} |" in card
