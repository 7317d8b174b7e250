"""What each figure in `reports/metrics.json` is called, means and looks like: the words of the report and the card.

`{noun}` stands for what an image shows, which the data say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

NATS, SHARE, COUNT = "{:,.2f} nats", "{:.1%}", "{:,}"
_ANY = "{:.4g}"


@dataclass(frozen=True)
class Meaning:
    """The name of a figure, its definition, and the format of its value."""

    name: str
    definition: str = ""
    form: str = _ANY


@dataclass(frozen=True)
class Figure:
    """One figure of metrics.json: its dotted key, its meaning, and its value or values as text."""

    key: str
    meaning: Meaning
    value: str = ""
    prose: bool = False
    """Whether the value is text rather than a number."""
    bars: tuple[tuple[str, float], ...] = ()
    """For a list: each value as text, and as a share of the largest."""


@dataclass(frozen=True)
class Group:
    """The figures of one section of metrics.json, as report and card show them."""

    meaning: Meaning
    figures: tuple[Figure, ...]
    """Those that stand alone."""
    columns: tuple[Meaning, ...]
    """Of a table of those that there are of several things."""
    rows: tuple[tuple[str, tuple[Figure, ...]], ...]
    """Of this table: the thing, and its figures; each has as many."""


GROUPS = {
    "test": Meaning(
        "Evidence lower bound", "Measured on grey-level test {noun}s: the classic objective, which is not a likelihood."
    ),
    "likelihood": Meaning(
        "Likelihood",
        "Measured on binarised test {noun}s, with each pixel drawn once; comparable with published figures for such "
        "{noun}s.",
    ),
    "latents": Meaning("Latents", "What the encoder's latents reveal about the test {noun}s."),
    "generator": Meaning(
        "Generator",
        "A second decoder, which a discriminator taught to make {noun}s as sharp as real ones: the decoder is for the "
        "figures above, the generator for the eye.",
    ),
    "samples": Meaning(
        "Samples",
        "{noun}s decoded from draws of the prior and of the mixture fitted to training latents, and from the latter by "
        "the generator, compared with as many test {noun}s, mostly in the features of a small classifier, the judge, "
        "which is the same for every model. The floor, training {noun}s in their place, is what a perfect generator "
        "would reach.",
    ),
    "scores": Meaning(
        "Scores",
        "How well the scorer tells test {noun}s from what each corruption makes of them: a quarter turn, upside down, "
        "mirrored, moved by 6 pixels, black for white, half of it cut off, noise, a blur of one pixel, and quarters of "
        "{noun}s of other classes. Strangers, where there are any, are the images of another pile.",
    ),
}

# By the last part of the key: groups share names where they share meanings.
MEANINGS = {
    "negative_elbo": Meaning("Negative ELBO", "Reconstruction plus KL, per image; lower is better.", NATS),
    "reconstruction": Meaning(
        "Reconstruction",
        "Binary cross-entropy between an image and its reconstruction from sampled latents, summed over pixels.",
        NATS,
    ),
    "kl": Meaning(
        "KL",
        "KL divergence of the encoder's Gaussian from the prior N(0, I), summed over latents.",
        NATS,
    ),
    "images": Meaning("Images", "Number of test {noun}s.", COUNT),
    "negative_log_likelihood": Meaning(
        "Negative log-likelihood",
        "Upper bound on \N{MINUS SIGN}log p(x), estimated by importance sampling (Burda et al. 2015, "
        "arXiv:1509.00519); lower is better.",
        NATS,
    ),
    "standard_error": Meaning(
        "\N{PLUS-MINUS SIGN} standard error", "Standard error of that estimate over the test {noun}s.", "{:,.3f} nats"
    ),
    "importance_samples": Meaning(
        "Importance samples", "Draws of the latents per image used to estimate that bound.", COUNT
    ),
    "kl_per_latent": Meaning(
        "KL of each latent",
        "These add up to the KL; a latent whose KL is near 0 carries no information about the image.",
        "{:.3f}",
    ),
    "active": Meaning(
        "Active latents",
        "Latents whose posterior mean has a variance over the {noun}s of more than 0.01 (Burda et al. 2015).",
        COUNT,
    ),
    "active_share": Meaning("Share of active latents", "Active latents as a share of all latents.", SHARE),
    "knn_accuracy": Meaning(
        "Nearest-neighbour accuracy, latents",
        "Share of test {noun}s classified correctly by a majority vote of the nearest training {noun}s in latent "
        "space; higher is better.",
        SHARE,
    ),
    "knn_accuracy_pixels": Meaning(
        "Nearest-neighbour accuracy, pixels", "Baseline: the same classifier on the raw pixels.", SHARE
    ),
    "linear_probe_accuracy": Meaning(
        "Linear-probe accuracy, latents",
        "Share of test {noun}s classified correctly by logistic regression on the latents; higher is better.",
        SHARE,
    ),
    "linear_probe_accuracy_pixels": Meaning(
        "Linear-probe accuracy, pixels", "Baseline: the same classifier on the raw pixels.", SHARE
    ),
    "aggregate_kl": Meaning(
        "Aggregate posterior KL",
        "KL divergence from the prior of the aggregate posterior, the latents of all {noun}s taken together; 0 if "
        "draws from the prior are distributed like encoded {noun}s.",
        NATS,
    ),
    "aggregate_kl_standard_error": Meaning(
        "\N{PLUS-MINUS SIGN} standard error of the aggregate KL",
        "Standard error of that estimate over the test {noun}s.",
        "{:,.3f} nats",
    ),
    "note": Meaning("Note"),
    "not_measured": Meaning("Not measured"),
    "mutual_information": Meaning(
        "Mutual information",
        "Mutual information between {noun}s and their latents: the KL minus the aggregate posterior KL.",
        NATS,
    ),
    "judge_accuracy": Meaning(
        "Accuracy of the judge",
        "Share of {noun}s that it recognises, of training {noun}s that it was not trained on.",
        SHARE,
    ),
    "frechet_distance": Meaning(
        "Fréchet distance",
        "Between the Gaussians that have the mean and covariance of the judge's features; lower is better. It is "
        "not the FID, whose features are another network's, and depends on the number of {noun}s.",
        "{:,.2f}",
    ),
    "recall": Meaning(
        "Recall",
        "Share of test {noun}s that lie among those of the row (Kynkäänniemi et al. 2019, arXiv:1904.06991): how "
        "much of the real variety is there; higher is better.",
        SHARE,
    ),
    "coverage": Meaning(
        "Coverage",
        "Share of test {noun}s that have one of the row among their neighbours (Naeem et al. 2020, arXiv:2002.09797); "
        "higher is better.",
        SHARE,
    ),
    "confident": Meaning(
        "Confident",
        "Share of the {noun}s of the row that the judge puts into one class with a probability above 0.9: how "
        "many are clearly of a class; higher is better.",
        SHARE,
    ),
    "class_balance": Meaning(
        "Class balance",
        "KL divergence in nats of the mean probabilities of the classes from those of test {noun}s; 0 if every class "
        "is as frequent as it should be.",
        "{:.4f}",
    ),
    "edge_ratio": Meaning(
        "Edge ratio",
        "Energy of the differences of neighbouring pixels, relative to test {noun}s: about 1 if as sharp as these, "
        "less if blurred, more if noisy.",
        "{:.2f}",
    ),
    "precision": Meaning(
        "Precision",
        "Share of the {noun}s of the row that lie among the test {noun}s (Kynkäänniemi et al. 2019); blur raises it.",
        SHARE,
    ),
    "area_under_curve": Meaning(
        "Area under the curve",
        "Chance that a strange image has a higher score than a test {noun}: 1 if all have, 0.5 if it says nothing. The "
        "score is the excess over the root of the ink.",
        "{:.4f}",
    ),
    "area_under_curve_excess": Meaning(
        "By the excess",
        "The same with the excess alone: the negative ELBO without the entropy that grey levels have by themselves.",
        "{:.4f}",
    ),
    "area_under_curve_negative_elbo": Meaning(
        "By the negative ELBO",
        "The same with the negative ELBO: by this, plain strange images pass for usual.",
        "{:.4f}",
    ),
    "caught": Meaning(
        "Caught",
        "Share of the strange images with a score above the 99th percentile of held-out {noun}s: of 100 usual ones, "
        "one would be caught too.",
        SHARE,
    ),
    "density": Meaning(
        "Density",
        "How densely test {noun}s lie around those of the row, about 1 if as around each other (Naeem et al. 2020); "
        "blur raises it.",
        "{:.3f}",
    ),
}

# Shown at the top of the report, those that were measured.
HEADLINE = (
    "test.negative_elbo",
    "likelihood.negative_log_likelihood",
    "latents.active",
    "latents.knn_accuracy",
    "samples.prior.frechet_distance",
    "samples.mixture.frechet_distance",
    "samples.generator.frechet_distance",
)


def present(name: str, values: Mapping[str, Any], noun: str) -> Group:
    """The section `name` of metrics.json in the words for images of a `noun`."""
    alone = {key: value for key, value in values.items() if not isinstance(value, dict)}
    several = {key: value for key, value in values.items() if isinstance(value, dict)}
    columns = next(iter(several.values()), {})
    return Group(
        _worded(GROUPS.get(name, Meaning(name.capitalize())), noun),
        tuple(flatten(alone, noun, name)),
        tuple(_meaning(key, noun) for key in columns),
        tuple(
            (key.replace("_", " ").capitalize(), tuple(flatten(value, noun, f"{name}.{key}")))
            for key, value in several.items()
        ),
    )


def flatten(metrics: Mapping[str, Any], noun: str = "image", prefix: str = "") -> Iterator[Figure]:
    """Every figure of metrics.json, in order, in the words for images of a `noun`.

    A figure that has no meaning here is named after its key.
    """
    for name, value in metrics.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            yield from flatten(value, noun, key)
        else:
            yield _figure(key, value, noun)


def _worded(meaning: Meaning, noun: str) -> Meaning:
    definition = meaning.definition.replace("{noun}", noun)
    return replace(meaning, definition=definition[:1].upper() + definition[1:])


def _meaning(name: str, noun: str) -> Meaning:
    """Of a figure by the last part of its key."""
    return _worded(MEANINGS.get(name, Meaning(name.replace("_", " ").capitalize())), noun)


def _figure(key: str, value: Any, noun: str) -> Figure:
    *groups, name = key.split(".")
    meaning = _meaning(name, noun)
    if groups[1:]:
        meaning = replace(meaning, name=f"{meaning.name}, {' '.join(groups[1:])}")
    if isinstance(value, list) and value and all(map(_is_number, value)):
        largest = max(map(abs, value)) or 1
        return Figure(key, meaning, bars=tuple((_text(v, meaning.form), abs(v) / largest) for v in value))
    return Figure(key, meaning, _text(value, meaning.form), prose=not _is_number(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any, form: str) -> str:
    if not _is_number(value):
        return str(value)
    if isinstance(value, int) and form == _ANY:
        form = COUNT
    return form.format(value).replace("-", "\N{MINUS SIGN}")
