"""The scorer: encoder and decoder as one model, with the score behind them, from nodes that cost little.

`pipeline.training.scorer` is the formula, against which it is proven. With logits l and grey levels x of a pixel,

    KL(Bernoulli(x) || Bernoulli(p)) = max(l, 0) - x l - log sigmoid(|l|) - H(x)

The sum of logarithms is the logarithm of a product, taken in groups that float32 can hold; H(x) has 256 values, which
stand in a table. Each sum is of terms that are small where the reconstruction is good, so that few digits are lost. The
score takes a quarter of the time that the matrix products of the `classic` preset take.

ONNX Runtime takes logarithms and sums a packet of numbers at a time, and what is left over at either end one by one,
with other last digits. So that an image has the same score in any batch, an image fills whole packets: it has 784
pixels and 16 groups of them, and latents get zeros beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from pipeline.exporting.check import OPERATORS
from pipeline.exporting.describe import PRODUCTS
from pipeline.exporting.graph import Graph
from pipeline.inference.manifest import Budget, Variant
from pipeline.inference.session import Scorer
from pipeline.inference.usual import Usual
from pipeline.measures.corruptions import CORRUPTIONS, corrupt
from pipeline.measures.elbo import entropy
from pipeline.measures.outliers import area_under_curve
from pipeline.shared.interface import FLOAT32, PIXELS, SCORER, VARIANT_FILES
from pipeline.training.surface import LOGITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

SCORER_OPERATORS = OPERATORS | {"Abs", "Exp", "GatherElements", "Log", "Pad", "ReduceProd", "ReduceSum"}
_LEVELS = np.arange(256, dtype=np.uint8)[:, None, None]  # of a pixel
_GROUP = 49  # factors of a product, each from 1/2 to 1: float32 goes down to 2**-126
_PACKET = 16  # numbers that a processor computes at once, at most


def append_scores(model: onnx.ModelProto) -> None:
    """Let a model from `image` to `z_mean`, `z_log_var` and `logits` give the scores instead; `model` is changed.

    It declares how many latents `z_mean` has.
    """
    (latent_dim,) = (one.type.tensor_type.shape.dim[1].dim_value for one in model.graph.output if one.name == "z_mean")
    graph = Graph(model.graph)
    last, flat, half = graph.constant([1], np.int64), graph.constant([-1, PIXELS], np.int64), graph.constant(0.5)
    # The image is cast again, for its own bytes: in the int8 variant, the encoder takes them as they are.
    grey = graph.add("Reshape", graph.add("Cast", "image", to=TensorProto.FLOAT), flat)
    logits = graph.add("Reshape", LOGITS, flat)

    x = graph.add("Mul", grey, graph.constant(1 / 255))
    linear = graph.add("Sub", graph.add("Relu", logits), graph.add("Mul", x, logits))
    factors = graph.add("Sigmoid", graph.add("Abs", logits))
    groups = graph.add("Reshape", factors, graph.constant([-1, PIXELS // _GROUP, _GROUP], np.int64))
    logarithms = graph.add("Log", graph.add("ReduceProd", groups, axes=[2], keepdims=0))
    linear, logarithms = (graph.add("ReduceSum", one, last, keepdims=0) for one in (linear, logarithms))
    cross_entropy = graph.add("Sub", linear, logarithms)

    levels = graph.add("Cast", graph.add("Reshape", "image", graph.constant([-1], np.int64)), to=TensorProto.INT32)
    of_each = graph.add("GatherElements", graph.constant(entropy(_LEVELS)), levels)
    own = graph.add("ReduceSum", graph.add("Reshape", of_each, flat), last, keepdims=0)
    reconstruction = graph.add("Relu", graph.add("Sub", cross_entropy, own), output="reconstruction")

    square = graph.add("Mul", "z_mean", "z_mean")
    spread = graph.add("Sub", graph.add("Exp", "z_log_var"), "z_log_var")
    terms = graph.add("Sub", graph.add("Add", square, spread), graph.constant(1.0))
    terms = graph.add("Pad", terms, graph.constant([0, 0, 0, -latent_dim % _PACKET], np.int64))
    kl = graph.add("Mul", graph.add("ReduceSum", terms, last, keepdims=0), half)
    excess = graph.add("Add", reconstruction, graph.add("Relu", kl, output="kl"), output="excess")
    ink = graph.add("ReduceSum", x, last, keepdims=0)
    graph.add("Div", excess, graph.add("Sqrt", graph.add("Add", ink, graph.constant(1.0))), output="score")
    graph.promise(SCORER)


def after_products(model: onnx.ModelProto) -> set[str]:
    """The names of nodes behind which no product with weights follows: sums of hundreds of terms, not for float16."""
    weights = {tensor.name for tensor in model.graph.initializer}
    before: set[str] = set()  # tensors that products come from
    names = set()
    for node in reversed(model.graph.node):
        if before.intersection(node.output) or (node.op_type in PRODUCTS and weights.intersection(node.input)):
            before.update(node.input)
        else:
            names.add(node.name)
    return names


@dataclass(frozen=True)
class ScorerPrice:
    """What the scores of a variant are, over all validation images, beside those of float32."""

    usual: Usual
    area_under_curve: float
    """Between validation images and what each corruption makes of them: the mean over the corruptions."""
    largest_difference: dict[str, float]
    mean_difference: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """What the manifest says of the scorer."""
        return {"images": self.usual.images, "quantiles": self.usual.lists()}

    def variant(self, name: str) -> Variant:
        """What a manifest says of it."""
        area = round(self.area_under_curve, 4)
        if name == FLOAT32:
            return Variant(VARIANT_FILES[name], area_under_curve=area)
        return Variant(
            VARIANT_FILES[name],
            self.largest_difference,
            self.mean_difference,
            area_under_curve=area,
            budget=SCORER_BUDGETS[name],
        )

    def failures(self, name: str, exact: ScorerPrice) -> list[str]:
        """Everything that is over the budget of a variant."""
        budget = SCORER_BUDGETS[name]
        failures = [
            f"{name} {SCORER.role}: {output} differs by {value:.3f} in the mean, {budget.mean_difference} are allowed"
            for output, value in self.mean_difference.items()
            if not value <= budget.mean_difference
        ]
        lost = exact.area_under_curve - self.area_under_curve
        if not lost <= (budget.area_under_curve or 0):
            failures.append(
                f"{name} {SCORER.role}: loses {lost:.4f} of the area under the curve, "
                f"{budget.area_under_curve} are allowed"
            )
        return failures


SCORER_BUDGETS = {
    "int8": Budget(None, mean_difference=2.0, area_under_curve=0.01),
    "fp16": Budget(None, mean_difference=0.2, area_under_curve=0.001),
}


def price_scorer(
    files: Mapping[str, Path], images: NDArray[np.uint8], labels: NDArray[np.uint8] | None, seed: int
) -> dict[str, ScorerPrice]:
    """Measure all variants of a scorer.

    Args:
        files: by variant, float32 among them.
        images: validation images, uint8 `[n, 28, 28]`.
        labels: of these, uint8 `[n]`, if they have any.
        seed: of the corruptions.
    """
    corrupted = [corrupt(name, images, labels, seed) for name in CORRUPTIONS]
    scorers = {name: Scorer(file) for name, file in files.items()}
    exact = scorers[FLOAT32](images)
    prices = {}
    for name, scorer in scorers.items():
        found = scorer(images)
        differences = {
            output: np.abs(values.astype(np.float64) - getattr(found, output))
            for output, values in exact._asdict().items()
        }
        areas = [area_under_curve(found.score, scorer(strange).score) for strange in corrupted]
        prices[name] = ScorerPrice(
            Usual.of(found.score, labels),
            float(np.mean(areas)),
            {output: float(values.max()) for output, values in differences.items()},
            {output: float(values.mean()) for output, values in differences.items()},
        )
    return prices
