"""What a variant costs: how far its results are from those of the float32 model, and in nats."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.manifest import Budget, Variant
from pipeline.inference.session import Decoder, Encoder
from pipeline.measures.elbo import Elbo, estimate
from pipeline.shared.interface import DECODER, ENCODER, VARIANT_FILES

_BATCH = 512


@dataclass(frozen=True)
class Limits:
    """What both halves of a variant may cost at most; the manifest lists the part of each half as its budget."""

    negative_elbo: float
    """Nats per validation image, both halves being of the variant."""
    image: float
    """Mean difference of a pixel."""
    latent: float
    """Mean difference of `z_mean` or `z_log_var`."""

    def mean_difference(self, role: str) -> float:
        """The one that concerns an encoder or a decoder."""
        return self.latent if role == ENCODER.role else self.image


BUDGETS = {
    "int8": Limits(negative_elbo=0.5, image=0.01, latent=0.05),
    "fp16": Limits(negative_elbo=0.05, image=0.001, latent=0.005),
}


@dataclass(frozen=True)
class Price:
    """Differences per role and output, over all validation images, and the figures through the variant."""

    elbo: Elbo
    largest_difference: dict[str, dict[str, float]]
    mean_difference: dict[str, dict[str, float]]

    def variant(self, name: str, role: str) -> Variant:
        """What a manifest says of a half."""
        limits = BUDGETS[name]
        return Variant(
            VARIANT_FILES[name],
            self.largest_difference[role],
            self.mean_difference[role],
            self.elbo.figures()["negative_elbo"],
            budget=Budget(limits.negative_elbo, limits.mean_difference(role)),
        )

    def failures(self, variant: str, budget: Limits, exact: Elbo) -> list[str]:
        """Everything that is over the budget."""
        failures = []
        cost = self.elbo.negative_elbo - exact.negative_elbo
        if not cost <= budget.negative_elbo:
            failures.append(f"{variant}: costs {cost:.3f} nats of negative ELBO, {budget.negative_elbo} are allowed")
        for role, outputs in self.mean_difference.items():
            failures += [
                f"{variant} {role}: {name} differs by {value:.4f} in the mean, "
                f"{budget.mean_difference(role)} are allowed"
                for name, value in outputs.items()
                if not value <= budget.mean_difference(role)
            ]
        return failures


def price(exact: Mapping[str, Path], variant: Mapping[str, Path], images: NDArray[np.uint8], seed: int) -> Price:
    """Compare the two halves of a variant with the float32 ones.

    Args:
        exact: the float32 files by role.
        variant: the variant's files by role.
        images: validation images, uint8 `[n, 28, 28]`.
        seed: of the noise in the negative ELBO.
    """
    encoders, decoders = ([cls(files[role]) for files in (exact, variant)] for cls, role in _HALVES)
    largest: dict[str, dict[str, float]] = {ENCODER.role: {}, DECODER.role: {}}
    total: dict[str, dict[str, float]] = {ENCODER.role: {}, DECODER.role: {}}
    for start in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[start : start + _BATCH])
        latents = [dict(zip(("z_mean", "z_log_var"), encoder(batch), strict=True)) for encoder in encoders]
        z = latents[0]["z_mean"]
        pictures = [{"image": decoder(z)} for decoder in decoders]
        for role, (one, other) in ((ENCODER.role, latents), (DECODER.role, pictures)):
            for name in one:
                difference = np.abs(one[name].astype(np.float64) - other[name])
                largest[role][name] = max(largest[role].get(name, 0.0), float(difference.max()))
                total[role][name] = total[role].get(name, 0.0) + float(difference.mean()) * len(batch) / len(images)
    return Price(estimate(encoders[1], decoders[1], images, samples=1, seed=seed), largest, total)


_HALVES: tuple[tuple[Any, str], ...] = ((Encoder, ENCODER.role), (Decoder, DECODER.role))
