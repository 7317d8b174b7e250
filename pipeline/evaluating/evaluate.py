"""Stage `evaluate`: measure the ONNX models on the test images, and write the model card."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.data.binarise import binarise
from pipeline.data.prepared import STATS_FILE, read_about, read_json, read_split, read_stats
from pipeline.errors import DataError, FormatError, ModelError, ParamsError
from pipeline.evaluating.card import CARD_FILE, model_card
from pipeline.evaluating.generator import open_generator
from pipeline.evaluating.latent_figures import latent_figures
from pipeline.evaluating.probe_figures import Features, knn_accuracy, linear_probe_accuracy
from pipeline.evaluating.sample_figures import MOST, compare_with_floor, count_samples, latent_sources, sample_figures
from pipeline.evaluating.score_figures import score_figures
from pipeline.inference.session import Decoder, Encoder, Scorer, check_pair
from pipeline.measures.elbo import estimate
from pipeline.measures.judge import Judge, open_judge
from pipeline.measures.likelihood import estimate_likelihood
from pipeline.measures.samples import NEIGHBOURS
from pipeline.shared.files import atomic_file, write_json
from pipeline.shared.interface import GENERATOR, MANIFEST_FILE, PIXELS, SCORER
from pipeline.sources.images import open_images
from pipeline.sources.rows import describe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.data.prepared import Split
    from pipeline.params import Evaluate

log = logging.getLogger(__name__)

_SCORES, _STRANGERS = "scores", "strangers"


def evaluate(params: Evaluate, exports: Path, prepared: Path, judge: Path, metrics: Path) -> dict[str, Any]:
    """Write the figures to `metrics` and the model card to `exports`.

    The card is not listed in the bundle's manifest: its figures exist only after the bundle is sealed.

    Returns:
        The `source` of the data and the figures under `test`, `likelihood`, `latents`, `samples` and `scores`, as
        docs/figures.md defines them; with a generator in `exports`, also under `generator`.

    Raises:
        ModelError: a model is missing, damaged or has another interface, or the two have different latent sizes.
        DataError: the prepared images, the manifest or the judge are missing, there are too few images, or the judge is
            of other data; or `evaluate.strangers` can't be read.
        ParamsError: `evaluate.neighbours` is larger than the number of training images.
    """
    encoder, decoder = Encoder(exports / "encoder"), Decoder(exports / "decoder")
    check_pair(encoder, decoder)
    if not (exports / SCORER.folder).is_dir():
        raise ModelError(f"{exports} holds no scorer, which older releases did not export; run `vae export` again")
    scorer = Scorer(exports / SCORER.folder)
    check_pair(encoder, scorer)
    generator = open_generator(exports)
    manifest = read_json(exports / MANIFEST_FILE, "export")
    train, test = (_read(prepared, split) for split in ("train", "test"))
    images = test[0]
    count = count_samples(len(train[0]), len(images))
    if count <= NEIGHBOURS:
        raise DataError(
            f"{prepared} holds {len(train[0])} training and {len(images)} test image(s), at least {NEIGHBOURS + 1} of "
            "each are needed"
        )
    if len(train[0]) < params.neighbours:
        raise ParamsError(f"evaluate.neighbours is {params.neighbours:,}, there are {len(train[0]):,} training images")
    stats, about = read_stats(prepared), read_about(prepared)
    if "source" not in stats:
        raise FormatError(f"{prepared / STATS_FILE} does not name the source; run `vae prepare` again")
    source = stats["source"]
    judged_by, about_judge = _open_judge(judge, source)
    others = {} if params.strangers is None else {_STRANGERS: _read_pile(params.strangers)}
    elbo = estimate(encoder, decoder, images, params.samples, params.seed)
    binary = binarise(images, params.seed)
    likelihood = estimate_likelihood(encoder, decoder, binary, params.importance_samples, params.seed)
    # Blocks of rows already keep all cores busy; more BLAS threads would compete with them and change the rounding.
    with threadpool_limits(1, user_api="blas"):
        compare, floor = compare_with_floor(judged_by, train[0], images, params.seed)
        figures = {
            "source": source,
            "test": {**elbo.figures(), "images": len(images)},
            "likelihood": likelihood.figures(),
            "latents": {
                **latent_figures(*encoder(images), params.seed),
                **_probes(encoder, train, test, params.neighbours),
            },
            "samples": {
                "images": count,
                **about_judge,
                **floor,
                **sample_figures(compare, decoder, latent_sources(decoder, count, params.seed)),
            },
            _SCORES: {"images": len(images), **score_figures(scorer, *test, others, params.seed)},
        }
        if generator is not None:
            (*_, drawn) = latent_sources(generator[1], count, params.seed).values()
            figures[GENERATOR] = {
                "reconstruction": estimate(*generator, images, params.samples, params.seed).figures()["reconstruction"],
                "images": len(images),
            }
            figures["samples"] |= sample_figures(compare, generator[1], {GENERATOR: drawn})
    with atomic_file(exports / CARD_FILE) as beside:
        beside.write_text(model_card(manifest, figures, stats, about))
    write_json(metrics, figures)
    return figures


def _read(prepared: Path, split: str) -> Split:
    images, labels = read_split(prepared, split)
    return np.asarray(images), None if labels is None else np.asarray(labels)


def _read_pile(path: str) -> NDArray[np.uint8]:
    """Images as `vae score` reads them, at most as many as are compared; a bad one is an error."""
    with open_images(path) as pile:
        rows = pile.read(0, MOST if pile.count is None else min(MOST, pile.count))()
        if pile.passed_over:
            log.warning("WARNING: evaluate.strangers: passed over %s", describe(pile.passed_over))
    for bad in rows.bad:
        raise FormatError(f"{bad.name}: {bad.reason}; take it out of the pile that evaluate.strangers names")
    return rows.images


def _open_judge(folder: Path, source: str) -> tuple[Judge | None, dict[str, Any]]:
    """The judge, and what the figures of samples say of it; without one, the reason."""
    judge, about = open_judge(folder)
    if about["source"] != source:
        raise DataError(
            f"{folder} holds a judge of the source {about['source']}, the test images are of {source}; "
            "run `vae judge` again"
        )
    if judge is None:
        return None, {"not_measured": about["not_measured"]}
    return judge, {"judge_accuracy": about["accuracy"]}


def _probes(encoder: Encoder, train: Split, test: Split, neighbours: int) -> dict[str, float | str]:
    """Accuracies on latents, in float64 since close images differ little, and on pixels, in float32 for speed."""
    (images, labels), (test_images, test_labels) = train, test
    if labels is None or test_labels is None:
        return {"not_measured": "how well classifiers recognise the images: they have no labels"}
    if labels.min() == labels.max():
        return {"not_measured": "how well classifiers recognise the images: those for training are of one class"}
    fit = Features(encoder(images)[0].astype(np.float64), labels)
    told = Features(encoder(test_images)[0].astype(np.float64), test_labels)
    fit_pixels, told_pixels = Features(_grey(images), labels), Features(_grey(test_images), test_labels)
    accuracies = {
        "knn_accuracy": knn_accuracy(fit, told, neighbours),
        "knn_accuracy_pixels": knn_accuracy(fit_pixels, told_pixels, neighbours),
        "linear_probe_accuracy": linear_probe_accuracy(fit, told),
        "linear_probe_accuracy_pixels": linear_probe_accuracy(fit_pixels, told_pixels),
    }
    return {name: round(accuracy, 4) for name, accuracy in accuracies.items()}


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 `[n, 28, 28]` to float32 `[n, 784]` in [0, 1]."""
    grey: NDArray[np.float32] = images.reshape(-1, PIXELS).astype(np.float32) / np.float32(255)
    return grey
