"""What the manifest of a bundle says about each file of a model: its size, its differences and what it costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.shared.interface import FLOAT32, ROLES


@dataclass(frozen=True)
class FileFigures:
    """One ONNX file of a bundle.

    The differences of float32 are from Keras (the mixture's: from NumPy) and from ONNX's reference evaluator; those of
    other variants are from float32.
    """

    precision: str
    file: str
    bytes: int
    largest_difference: float
    mean_difference: float | None
    cost: float | None
    """What both halves lose in this precision: nats per validation image of the negative ELBO."""
    area_under_curve: float | None
    """Of a scorer, between validation images and what corruptions make of them: the mean over these."""
    budget: Mapping[str, float]
    """The most that `mean_difference` may be, and `cost`, or what the area loses; empty for float32."""


def variants(manifest: Mapping[str, Any]) -> Iterator[FileFigures]:
    """Every model file of a bundle, in the order of its manifest."""
    sizes = {file["path"]: file["bytes"] for file in manifest["files"]}
    exact = manifest["validation"]["negative_elbo"]
    found = [variant for model in manifest["models"].values() for variant in model["variants"].items()]
    apart = [(FLOAT32, manifest[role]) for role, one in ROLES.items() if one.apart and role in manifest]
    for precision, about in [*found, *apart]:
        yield FileFigures(
            precision,
            about["file"],
            sizes[about["file"]],
            _largest(about["largest_difference"]),
            _largest(about["mean_difference"]) if "mean_difference" in about else None,
            round(about["negative_elbo"] - exact, 3) + 0.0 if "negative_elbo" in about else None,  # never -0.0
            about.get("area_under_curve"),
            about.get("budget", {}),
        )


def _largest(differences: Any) -> float:
    """The largest number in nested dictionaries."""
    return max(map(_largest, differences.values()), default=0.0) if isinstance(differences, dict) else differences
