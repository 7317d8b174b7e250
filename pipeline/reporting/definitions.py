"""What the figures of `reports/metrics.json` mean, in the words of the report: the one place for them in code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

NATS, SHARE, COUNT = "{:,.2f} nats", "{:.1%}", "{:,}"
_ANY = "{:.4g}"


@dataclass(frozen=True)
class Meaning:
    """How a figure is called, what it is, and how it is written."""

    name: str
    definition: str = ""
    form: str = _ANY


@dataclass(frozen=True)
class Figure:
    """One figure of metrics.json: its key with dots, what it means, and its value or values as text."""

    key: str
    meaning: Meaning
    value: str = ""
    prose: bool = False
    """Whether the value is words."""
    bars: tuple[tuple[str, float], ...] = ()
    """Of a list: each value as text, and as a share of the largest."""


GROUPS = {
    "test": Meaning("Evidence lower bound", "On grey-level test digits: the classic objective, not a likelihood."),
    "likelihood": Meaning(
        "Likelihood",
        "On binarised test digits, each pixel drawn once: comparable with published figures on such digits.",
    ),
    "latents": Meaning("Latents", "What the encoder tells about test digits."),
    "samples": Meaning("Samples", "Decoded draws from the prior, and from the mixture fitted to training latents."),
}

# By the last part of the key: groups share names where they share meanings.
MEANINGS = {
    "negative_elbo": Meaning("Negative ELBO", "Reconstruction + KL per image; lower is better.", NATS),
    "reconstruction": Meaning(
        "Reconstruction", "Binary cross-entropy of the pixels given a draw of the latents, summed over pixels.", NATS
    ),
    "kl": Meaning("KL", "Divergence of the encoder's Gaussian from the prior N(0, I), summed over latents.", NATS),
    "images": Meaning("Images", "Test digits measured.", COUNT),
    "negative_log_likelihood": Meaning(
        "Negative log-likelihood",
        "Upper bound on \N{MINUS SIGN}log p(x) by importance weighting (Burda et al. 2015); lower is better.",
        NATS,
    ),
    "standard_error": Meaning("\N{PLUS-MINUS SIGN} standard error", "Of that bound, over images.", "{:,.3f} nats"),
    "importance_samples": Meaning("Importance samples", "Draws of the latents per image for that bound.", COUNT),
    "kl_per_latent": Meaning("KL of each latent", "Their sum is the KL; near 0, the latent says nothing.", "{:.3f}"),
    "active": Meaning(
        "Active latents", "Those whose mean has a variance over digits above 0.01 (Burda et al. 2015).", COUNT
    ),
    "active_share": Meaning("Share of active latents", "Of all latents.", SHARE),
    "knn_accuracy": Meaning(
        "Nearest neighbours, latents",
        "Test digits named rightly by a vote of the nearest training digits among the latents; higher is better.",
        SHARE,
    ),
    "knn_accuracy_pixels": Meaning("Nearest neighbours, pixels", "The yardstick: the same vote among pixels.", SHARE),
    "linear_probe_accuracy": Meaning(
        "Linear probe, latents",
        "Test digits named rightly by a linear classifier trained on latents; higher is better.",
        SHARE,
    ),
    "linear_probe_accuracy_pixels": Meaning(
        "Linear probe, pixels", "The yardstick: the same classifier trained on pixels.", SHARE
    ),
    "aggregate_kl": Meaning(
        "Aggregate posterior KL",
        "Divergence of the latents of all digits together from the prior: 0 where draws from the prior look like "
        "encoded digits.",
        NATS,
    ),
    "aggregate_kl_standard_error": Meaning("\N{PLUS-MINUS SIGN} standard error", "Of that divergence.", "{:,.3f} nats"),
    "note": Meaning("Note"),
    "mutual_information": Meaning(
        "Mutual information", "Between a digit and its latents: the KL less the aggregate posterior KL.", NATS
    ),
    "precision": Meaning(
        "Precision",
        "Samples that lie among real digits, by nearest neighbours in 64 principal components of the pixels "
        "(Kynkaanniemi et al. 2019); higher is better.",
        SHARE,
    ),
    "recall": Meaning("Recall", "Real digits that lie among samples, likewise; higher is better.", SHARE),
}

# In one glance, where they were measured.
HEADLINE = (
    "test.negative_elbo",
    "likelihood.negative_log_likelihood",
    "latents.active",
    "latents.knn_accuracy",
    "samples.prior.precision",
    "samples.mixture.precision",
)


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[Figure]:
    """Every figure of metrics.json in its order; one without a meaning here goes by its own key."""
    for name, value in metrics.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            yield from flatten(value, key)
        else:
            yield _figure(key, value)


def _figure(key: str, value: Any) -> Figure:
    *groups, name = key.split(".")
    meaning = MEANINGS.get(name, Meaning(name.replace("_", " ").capitalize()))
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
