"""How well scorers tell strange images from usual ones: two presets, trained on two data sets, each against the other.

    make bench-score
    python -m benchmarks.scores --work /path/to/keep  # models that are there are not trained again

Area under the ROC curve of score, excess and negative ELBO, from the exported files, over all test images; and how many
of 1 % of images of the other set, hidden among test images, `vae score` finds. Nothing here is chosen by these images.
Training takes half an hour on two cores. `VAE_MIRROR` does not apply, since two data sets are read: `--mirrors` names a
folder that holds a folder for each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from ruamel.yaml import YAML
from sklearn.metrics import average_precision_score

from pipeline.data.prepared import read_split
from pipeline.evaluating.score_figures import score_figures
from pipeline.inference import Scorer
from pipeline.tools.bench import run_vae

SETS = ("mnist", "fashion-mnist")
PRESETS = ("classic", "compact")
COLUMN = 32


def make(folder: Path, preset: str, data: str, mirrors: Path | None) -> Path:
    """Download, prepare, train and export into a folder, as far as that is not done; returns the folder."""
    yaml = YAML()
    params = yaml.load(Path("params.yaml"))
    for section, values in YAML(typ="safe").load(Path("preset") / f"{preset}.yaml").items():
        params[section].update(values)
    params["download"]["dataset"] = data
    folder.mkdir(parents=True, exist_ok=True)
    yaml.dump(params, folder / "params.yaml")
    without_mirror = {name: value for name, value in os.environ.items() if not name.endswith("_MIRROR")}
    mirror = [] if mirrors is None else ["--mirror", str(mirrors / data)]
    for done, *command in (
        ("raw", "download", folder / "raw", *mirror),
        ("prepared", "prepare", folder / "raw", "--output", folder / "prepared"),
        ("models", "train", folder / "prepared", "--output", folder / "models", "--report", folder / "training"),
        ("exports", "export", folder / "models", "--prepared", folder / "prepared", "--output", folder / "exports"),
    ):
        if not (folder / done).is_dir():
            print(f"{folder.name}: {command[0]}", file=sys.stderr, flush=True)
            words = [sys.executable, "-m", "pipeline", *map(str, command), "--params", str(folder / "params.yaml")]
            if subprocess.run(words, stdout=sys.stderr, env=without_mirror, check=False).returncode:
                sys.exit(f"{folder.name}: {command[0]} failed")
    return folder


def figures(folder: Path, others: Mapping[str, NDArray[np.uint8]]) -> dict[str, dict[str, float]]:
    images, labels = read_split(folder / "prepared", "test")
    scorer = Scorer(folder / "exports/scorer")
    return score_figures(scorer, np.asarray(images), None if labels is None else np.asarray(labels), others, seed=0)


def table(folders: Mapping[tuple[str, str], Path]) -> str:
    """One table for each data set: a row for each kind of strange image, a column for each preset."""
    lines = []
    for data in SETS:
        others = {other: np.asarray(read_split(folders[PRESETS[0], other] / "prepared", "test")[0]) for other in SETS}
        del others[data]
        found = {preset: figures(folders[preset, data], others) for preset in PRESETS}
        lines += [
            "",
            f"{'trained on ' + data:26}"
            + "".join(f"{preset + ': score, excess, ELBO':>{COLUMN}}" for preset in PRESETS),
        ]
        for row in reversed(found[PRESETS[0]]):
            cells = [
                "  ".join(f"{value:.4f}" for name, value in of[row].items() if name.startswith("area_under_curve"))
                for of in found.values()
            ]
            lines.append(f"{row.replace('_', ' '):26}" + "".join(f"{cell:>{COLUMN}}" for cell in cells))
    return "\n".join(lines)


def hidden(folder: Path, strange: NDArray[np.uint8]) -> str:
    """Hide strange images among a hundred times as many test images, and look for them with `vae score`."""
    generator = np.random.default_rng(0)
    images = np.array(read_split(folder / "prepared", "test")[0])
    hides = np.zeros(len(images), bool)
    hides[generator.choice(len(images), len(images) // 100, replace=False)] = True
    images[hides] = strange[generator.choice(len(strange), hides.sum(), replace=False)]
    np.save(folder / "pile.npy", images)
    job = ("score", folder / "pile.npy", "-o", folder / "scores", "--scorer", folder / "exports/scorer")
    run_vae(*map(str, job), "--most", str(hides.sum()), "--quiet")
    score = pq.read_table(folder / "scores")["score"].to_numpy()
    first = hides[np.argsort(-score)[: hides.sum()]].sum()
    return (
        f"{hides.sum()} of {len(images):,}: {first} are among the {hides.sum()} strangest, "
        f"average precision {average_precision_score(hides, score):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder for the models, to be kept")
    parser.add_argument("--mirrors", type=Path, help="a folder with `mnist` and `fashion-mnist`, instead of the web")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        kinds = [(preset, data) for preset in PRESETS for data in SETS]
        folders = {kind: make(work / "-".join(kind), *kind, options.mirrors) for kind in kinds}
        print(table(folders))
        print("\nhidden in test images of the other set:")
        for preset, data in kinds:
            other = folders[preset, next(one for one in SETS if one != data)]
            strange = np.asarray(read_split(other / "prepared", "test")[0])
            print(f"{preset + ', ' + data:26}  {hidden(folders[preset, data], strange)}")


if __name__ == "__main__":
    main()
