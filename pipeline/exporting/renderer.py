"""What turns a decoder's surface into images of any size, as nodes behind the network that makes its coefficients.

`pipeline.shared.spline.render` is the formula, against which it is proven. Slopes are scaled by 1 / (2 pi) in the
basis, where they are few: a large image is gone over as seldom as can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.exporting.check import OPERATORS, Peer, Proof, prove
from pipeline.exporting.graph import Graph
from pipeline.shared.interface import DECODER, LATENT, RENDERER
from pipeline.shared.spline import (
    HALF_STEP,
    LEAST_SOFTNESS,
    PIXELS,
    SIDE,
    SLOPE_TO_SCALE,
    SURE,
    Knots,
    centres,
    render,
    through_pixels,
)
from pipeline.training.surface import COEFFICIENTS
from pipeline.training.weights import load_half, load_surface

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from pipeline.inference.manifest import Tolerance

    Floats = NDArray[np.float32]

RENDERER_OPERATORS = OPERATORS | {"Abs", "Clip", "Max", "ReduceMean", "Sign", "Unsqueeze"}
VIEWS = (  # what a renderer is proven on and has test vectors of: rows, columns, side of a pixel, softness
    (centres(SIDE), centres(SIDE), 1.0, 1.0),  # as the decoder draws it
    (centres(64), centres(64), SIDE / 64, 0.1),
    (centres(280)[100:140], centres(280)[60:180], SIDE / 280, 0.3),  # a tile
)


def view_inputs(view: int) -> list[Floats]:
    """The inputs of a renderer but for `z`."""
    rows, columns, pixel, softness = VIEWS[view]
    return [np.atleast_1d(np.asarray(values, np.float32)) for values in (rows, columns, pixel, softness)]


def prove_renderer(file: Path, models: Path, latents: Floats, tolerance: Tolerance) -> Proof:
    """Hold a renderer against `render` with what Keras makes, at the size of the data against the decoder itself.

    Args:
        file: the ONNX file.
        models: the folder of the decoder that it was made from.
        latents: 257 rows.
        tolerance: how far a pixel may differ.
    """
    surface, knots = load_surface(models)
    made, image = (  # eagerly: a compiled function for each is not worth it
        np.asarray(model(latents, training=False)[name])
        for model, name in ((surface, COEFFICIENTS), (load_half(models, DECODER.role), "image"))
    )

    def drawn(z: Floats, rows: Floats, columns: Floats, pixel: Floats, softness: Floats) -> dict[str, Any]:
        return {"image": render(made[: len(z)], knots, rows, columns, pixel.item(), softness.item())}

    failures: list[str] = []
    largest: dict[str, dict[str, float]] = {}
    for view in range(len(VIEWS)):
        peers: dict[str, Peer] = {"keras": drawn}
        if view == 0:
            peers["decoder"] = lambda z, *_: {"image": image[: len(z)]}
        proof = prove(file, RENDERER, peers, [latents, *view_inputs(view)], tolerance, RENDERER_OPERATORS)
        failures += proof.failures
        for peer, outputs in proof.largest_difference.items():
            before = largest.setdefault(peer, outputs)
            largest[peer] = {name: max(value, before[name]) for name, value in outputs.items()}
    return Proof(tuple(dict.fromkeys(failures)), largest)


def append_rendering(model: onnx.ModelProto, knots: Knots) -> None:
    """Let a model from `z` to one tensor `[batch, n, n]` render what that holds, with the interface `RENDERER`.

    Args:
        model: changed in place.
        knots: of the coefficients that it makes; with `PIXELS`, it makes the logits of pixels instead.
    """
    graph = _Graph(model.graph)
    (made,) = [value.name for value in model.graph.output]
    through = knots == PIXELS
    coefficients = made
    if through:
        sure = graph.add("Clip", made, graph.constant(-SURE), graph.constant(SURE))
        spline = graph.constant(through_pixels())
        coefficients = graph.add("MatMul", graph.add("MatMul", spline, sure), graph.constant(through_pixels().T))
    places = [graph.basis(places, knots) for places in ("rows", "columns")]
    (down, down_slopes), (across, across_slopes) = places
    across, across_slopes = (graph.add("Transpose", one, perm=[1, 0]) for one in (across, across_slopes))
    by_rows = graph.add("MatMul", down, coefficients)
    f = graph.add("MatMul", by_rows, across)
    f_x = graph.add("MatMul", by_rows, across_slopes)
    f_y = graph.add("MatMul", graph.add("MatMul", down_slopes, coefficients), across)
    spread = graph.add("Add", graph.add("Mul", f_x, f_x), graph.add("Mul", f_y, f_y))
    softness = graph.add("Max", "softness", graph.constant([LEAST_SOFTNESS]))
    area = graph.add("Mul", "pixel", "pixel")
    variance = graph.add("Add", graph.add("Mul", spread, area), graph.add("Mul", softness, softness))
    if through:
        steeper = graph.add("Add", spread, graph.constant(1.0))
        logits = graph.add("Mul", f, graph.add("Sqrt", graph.add("Div", steeper, variance)))
    else:
        logits = graph.add("Div", f, graph.add("Sqrt", variance))
    graph.add("Sigmoid", logits, output="image")
    latent_dim = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    graph.promise(RENDERER.sized({LATENT: latent_dim}))


class _Graph(Graph):
    """Knows splines."""

    def basis(self, places: str, knots: Knots) -> tuple[str, str]:
        """Values `[n, knots.count]` of the splines at `places` as `spline.basis` has them, and slopes / (2 pi)."""
        half_step = 0.0 if knots == PIXELS else HALF_STEP
        shifts = self.add("Mul", "pixel", self.constant([[-half_step], [half_step]]))
        centre = self.add("Unsqueeze", places, self.constant([1, 2], np.int64))
        shifted = self.add("Add", self.add("Mul", centre, self.constant(SIDE)), shifts)
        inside = self.add("Clip", shifted, self.constant(0.0), self.constant(SIDE))
        inverse = self.constant(1 / knots.spacing)
        peaks = self.constant(knots.first / knots.spacing + np.arange(knots.count))
        t = self.add("Sub", self.add("Mul", inside, inverse), peaks)
        distance = self.add("Abs", t)
        wide, narrow = (self.add("Relu", self.add("Sub", self.constant(reach), distance)) for reach in (2.0, 1.0))
        wide_2, narrow_2 = (self.add("Mul", one, one) for one in (wide, narrow))
        wide_3, narrow_3 = (self.add("Mul", *one) for one in ((wide_2, wide), (narrow_2, narrow)))
        values = self._weighted(wide_3, narrow_3, 1 / 6)
        slopes = self._weighted(wide_2, narrow_2, -SLOPE_TO_SCALE / (2 * knots.spacing))
        slopes = self.add("Mul", slopes, self.add("Sign", t))
        return tuple(self.add("ReduceMean", one, axes=[1], keepdims=0) for one in (values, slopes))  # type: ignore[return-value]

    def _weighted(self, wide: str, narrow: str, weight: float) -> str:
        """The tensor weight (wide - 4 narrow)."""
        return self.add(
            "Sub", self.add("Mul", wide, self.constant(weight)), self.add("Mul", narrow, self.constant(4 * weight))
        )
