"""Stage `judge`: a classifier of the training images as proven ONNX, which later judges generated images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.raw import read_raw, read_source
from pipeline.exporting.afresh import convert_afresh
from pipeline.exporting.check import BATCH_SIZES, OPERATORS, by_keras, check_proofs, prove
from pipeline.inference.manifest import Tolerance
from pipeline.measures.judge import Judge
from pipeline.shared.files import atomic_folder, refuse_foreign, write_json
from pipeline.shared.interface import ABOUT_JUDGE, CLASSES, IMAGE_SHAPE, JUDGE, MODEL_FILE
from pipeline.training.judge import fit_judge
from pipeline.training.weights import save_half

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from pipeline.params import Export
    from pipeline.params import Judge as JudgeParams

_OWN = (MODEL_FILE, ABOUT_JUDGE)
_HELD_OUT = 12  # one image in so many measures the accuracy: 5,000 of 60,000


def judge(params: JudgeParams, export: Export, raw: Path, folder: Path) -> dict[str, Any]:
    """Train a judge on the raw training images and write it to `folder`: `model.onnx`, and `judge.json` about it.

    The judge depends on nothing but the images, their labels and `params`, so that every model of a data set has the
    same one. Where images have no labels, or all the same, there is only a `judge.json` that says so.

    Args:
        params: how it is fitted.
        export: how far ONNX Runtime may be from Keras.
        raw: the output of `download`.
        folder: where the judge goes.

    Returns:
        What `judge.json` says: the `source` of the images, and the number of `classes`, `training_images` and
        `validation_images`, and the `accuracy` on these last; or `not_measured`, the reason why there is no judge.

    Raises:
        DataError: an image file is missing or damaged.
        TrainingError: the loss is not finite.
        ExportError: the converted model is not what Keras trained; no file is written.
        OutputError: `folder` holds something else, or cannot be written.
    """
    refuse_foreign(folder, owns=_OWN)
    source = read_source(raw)
    images, labels = read_raw(raw, "train")
    about: dict[str, Any] = {"source": source["source"]}
    if labels is None or labels.min() == labels.max():
        what = "they have no labels" if labels is None else "those for training are of one class"
        about["not_measured"] = f"how a classifier judges generated images: {what}"
        with atomic_folder(folder, owns=_OWN) as beside:
            write_json(beside / ABOUT_JUDGE, about)
        return about
    order = np.random.default_rng(params.seed).permutation(len(images))
    count = -(-len(images) // _HELD_OUT)
    held_out, rest = order[:count], order[count:]
    classes = len(source["about"]["classes"])
    model = fit_judge(params, images[rest], labels[rest], classes)
    with atomic_folder(folder, owns=_OWN) as beside:
        _write(model, classes, images[held_out], export, beside / MODEL_FILE)
        _, probabilities = Judge(beside, classes)(images[held_out])
        about |= {
            "classes": classes,
            "training_images": len(rest),
            "validation_images": count,
            "accuracy": round(float((probabilities.argmax(axis=1) == labels[held_out]).mean()), 4),
        }
        write_json(beside / ABOUT_JUDGE, about)
    return about


def _write(model: keras.Model, classes: int, images: NDArray[np.uint8], export: Export, file: Path) -> None:
    """Convert and prove it, on images that come again where they are few."""
    with tempfile.TemporaryDirectory() as folder:
        save_half(model, Path(folder))
        convert_afresh(Path(folder), {JUDGE.role: file}, [JUDGE.role])
    tensors = np.resize(images, (max(BATCH_SIZES), *IMAGE_SHAPE))
    tolerance = Tolerance(export.absolute_tolerance, export.relative_tolerance, BATCH_SIZES)
    interface = JUDGE.sized({CLASSES: classes})
    proof = prove(file, interface, by_keras(model), [tensors], tolerance, OPERATORS | {"Softmax"})
    check_proofs({JUDGE.role: proof})
