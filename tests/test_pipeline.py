"""The whole DAG, through DVC, in a git repository of its own."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.data.datasets import MIRROR_VARIABLES
from pipeline.params import read_params
from tests.test_house import DVC, ROOT, RUNS

OWN = "data/own/README.md"
PICTURES = [plot for plot in DVC["plots"] if isinstance(plot, str)]

# Small enough to run in seconds, whole enough to run every line.
CHANGES = {
    "download": {"source": "sample"},
    "judge": {"epochs": 1},
    "model": {"latent_dim": 20},
    "train": {"epochs": 2},
    "export": {"mixture_components": 3},
    "generate": {"count": 30, "manifold": 5},
    "evaluate": {"importance_samples": 10},
}


def stages_in(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([\w@]+)'", output))


class Repository:
    """A checkout with git, DVC and the real pipeline, as a user has it."""

    def __init__(self, folder: Path, *, empty: bool = False) -> None:
        self.folder = folder
        if empty:
            folder.mkdir()
            self.git("init", "-q")
            self.dvc("init", "-q")
            return
        for name in ("pipeline", "preset", "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", OWN):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.git("init", "-q")
        self.git("config", "user.email", "test@example.org")
        self.git("config", "user.name", "Test")
        for section, values in CHANGES.items():
            self.change(section, **values)
        self.commit()

    def change(self, section: str, **values: object) -> None:
        yaml = YAML()
        path = self.folder / "params.yaml"
        params = yaml.load(path)
        params[section].update(values)
        yaml.dump(params, path)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "state")

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self._run("dvc", *arguments)

    def vae(self, *arguments: str) -> str:
        return self._run("vae", *arguments)

    def repro(self) -> set[str]:
        """The stages that ran."""
        return stages_in(self.dvc("repro"))

    def metrics(self) -> dict[str, object]:
        return json.loads((self.folder / "reports/metrics.json").read_text())

    def _run(self, *command: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "300", "NO_COLOR": "1"}
        for name in MIRROR_VARIABLES:
            environment.pop(name, None)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("repository"))
    assert repository.repro() == RUNS
    repository.commit()
    return repository


def test_everything_is_there(repository: Repository) -> None:
    folder = repository.folder
    assert json.loads((folder / "data/raw/source.json").read_text())["source"] == "sample"
    assert json.loads((folder / "exports/manifest.json").read_text())["data"]["source"] == "sample"
    latents = pq.read_table(folder / "exports/latents/test")
    assert (latents.num_rows, latents.schema.field("z_mean").type.list_size) == (1000, 20)
    assert pq.read_table(folder / "exports/samples/prior").num_rows == 30
    scores = pq.read_table(folder / "exports/scores")
    assert (scores.num_rows, scores["label"].null_count) == (1000, 0)
    assert np.abs(np.median(scores["percentile"].to_numpy()) - 50) < 10  # test digits are as usual as those held out
    pictures = [f"exports/samples/{name}.png" for name in ("prior", "mixture", "reconstructions", "manifold")]
    for picture in [*pictures, "exports/scores.png", "reports/plots/latents.png"]:
        with Image.open(folder / picture) as image:
            assert min(image.size) >= 140, picture
    figures = repository.metrics()
    assert figures["source"] == "sample"
    # Two epochs of 3,667 digits: far from the figures of the full set, far below those of an untrained model (543).
    assert 140 < figures["test"]["negative_elbo"] < 260
    assert figures["scores"]["inverted"]["area_under_curve"] > 0.99


def test_a_second_run_does_nothing(repository: Repository) -> None:
    assert repository.repro() == set()
    assert repository.git("status", "--porcelain") == ""


def test_dvc_shows_metrics_plots_and_parameters(repository: Repository, tmp_path: Path) -> None:
    shown = json.loads(repository.dvc("metrics", "show", "--json"))
    assert "test" in shown[""]["data"]["reports/metrics.json"]["data"]
    repository.dvc("plots", "show", "-o", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert all(f"{name}.tsv" in page or name in page for name in ("loss", "reconstruction", "kl"))
    assert len(list((tmp_path / "static").glob("*.png"))) == len(PICTURES)


def test_another_repository_takes_a_model_verifies_it_and_works_with_it(repository: Repository, tmp_path: Path) -> None:
    """What a stranger does: only git, DVC, a DVC remote and the bare package."""
    repository.dvc("remote", "add", "-d", "storage", str(tmp_path / "storage"))
    repository.commit()
    repository.dvc("push", "-q", "export")
    source = str(repository.folder)
    stranger = Repository(tmp_path / "stranger", empty=True)
    stranger.dvc("get", source, "exports/decoder", "-o", "got", "-q")
    stranger.dvc("import", source, "exports/decoder", "-o", "imported", "-q")
    assert (stranger.folder / "imported.dvc").is_file()
    for decoder in ("got", "imported"):
        report = json.loads(stranger.vae("verify", decoder, "--json"))
        assert report
        stranger.vae("generate", "--count", "3", "--decoder", decoder, "-o", f"from_{decoder}")
        assert pq.read_table(stranger.folder / f"from_{decoder}").num_rows == 3
    stranger.dvc("get", source, "exports/scorer", "-o", "scorer", "-q")
    images = np.load(repository.folder / "data/prepared/test_images.npy")[:50]
    np.save(stranger.folder / "pile.npy", images)
    stranger.vae("score", "pile.npy", "--scorer", "scorer", "-o", "scores")
    found = pq.read_table(stranger.folder / "scores")["score"].to_numpy()
    assert np.array_equal(found, pq.read_table(repository.folder / "exports/scores")["score"].to_numpy()[:50])


def test_a_change_of_what_a_picture_shows_scores_again_and_reports(repository: Repository) -> None:
    repository.change("score", most=5)
    assert repository.repro() == {"score", "report"}
    repository.commit()


def test_a_change_of_the_number_of_draws_reruns_what_draws_them_and_the_report_alone(repository: Repository) -> None:
    repository.change("generate", count=31)
    assert repository.repro() == {"generate@prior", "generate@mixture", "generate@generator", "report"}
    repository.commit()


def test_a_change_of_the_network_reruns_from_train_on(repository: Repository) -> None:
    repository.change("model", latent_dim=3)
    assert set(json.loads(repository.dvc("status", "--json"))) == {"train"}  # the others, if its weights change
    repository.git("checkout", "params.yaml")


def test_an_experiment_is_compared_with_the_commit(repository: Repository) -> None:
    output = repository.dvc("exp", "run", "-S", "evaluate.importance_samples=20", "evaluate")
    assert stages_in(output) == {"evaluate"}
    assert "evaluate.importance_samples" in repository.dvc("params", "diff")
    rows = list(csv.DictReader(repository.dvc("exp", "show", "--csv").splitlines()))
    assert [row["evaluate.importance_samples"] for row in rows] == [
        "20",
        "10",
        "20",
    ]  # here, the commit, the experiment
    assert all(float(row["test.negative_elbo"]) > 100 for row in rows)


def test_own_images_are_watched_wherever_they_are(tmp_path: Path) -> None:
    """DVC's first stage runs again if one is changed or added, and not before."""
    pile = tmp_path / "pile"
    pile.mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (250, 9, 9), np.uint8)):
        Image.fromarray(image).save(pile / f"{number:03}.png")
    repository = Repository(tmp_path / "repository")
    repository.change("download", dataset="own", source="auto", own=str(pile), test_share=0.4)
    assert stages_in(repository.dvc("repro", "prepare")) == {"download", "prepare"}
    assert json.loads((repository.folder / "data/prepared/stats.json").read_text())["about"]["classes"] == []

    def stale() -> set[str]:
        return set(json.loads(repository.dvc("status", "--json", "download")))

    before = (pile / "007.png").read_bytes()
    assert stale() == set()
    (pile / "007.png").write_bytes((pile / "008.png").read_bytes())
    assert stale() == {"download"}
    (pile / "007.png").write_bytes(before)
    assert stale() == set()
    (pile / "new.png").write_bytes(before)
    assert stale() == {"download"}
    assert stages_in(repository.dvc("repro", "prepare")) == {"download", "prepare"}


def test_a_preset_is_one_experiment(repository: Repository) -> None:
    """Its values come first, those of the command line after them, and params.yaml keeps the rest, comments too."""
    before = (repository.folder / "params.yaml").read_text()
    overrides = repository.vae("preset", "plane").split()
    repository.dvc("exp", "run", *overrides, "-S", "train.epochs=1", "-S", "model.encoder_filters=[2]", "prepare")
    found = read_params(repository.folder / "params.yaml")
    preset = YAML(typ="safe").load(ROOT / "preset/plane.yaml")
    assert found.train.batch_size == preset["train"]["batch_size"]
    assert list(found.model.decoder_units) == preset["model"]["decoder_units"]
    assert (found.train.epochs, found.model.encoder_filters) == (1, (2,))
    assert found.download.source == "sample"
    comments = [re.findall("#.*", text) for text in (before, (repository.folder / "params.yaml").read_text())]
    assert comments[0] == comments[1] != []


def test_an_experiment_without_changes_leaves_the_repository_as_it_was(repository: Repository) -> None:
    repository.git("checkout", ".")
    repository.dvc("exp", "run", "prepare")
    assert repository.git("status", "--porcelain") == ""


def test_an_experiment_in_a_copy_runs_the_code_of_that_copy(repository: Repository) -> None:
    """Not that of the installed package, which is another checkout here and the workspace for a user."""
    code = repository.folder / "pipeline/data/prepare.py"
    text = code.read_text()
    changed = text.replace("stats = {\n", 'stats = {\n        "code": "changed",\n')
    assert changed != text
    code.write_text(changed)
    repository.dvc("exp", "run", "--temp", "--name", "changed", "prepare")
    code.write_text(text)
    repository.dvc("exp", "apply", "changed")
    assert json.loads((repository.folder / "data/prepared/stats.json").read_text())["code"] == "changed"
    assert code.read_text() == changed
