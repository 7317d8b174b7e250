"""A better sampler than the prior: a mixture of Gaussians fitted to the latents of training images, as ONNX.

Digits do not fill the prior evenly: it puts samples where the decoder has seen none. The mixture is fitted to draws
from the aggregate posterior, q(z) = mean over images of q(z|x) (Hoffman & Johnson 2016, "ELBO surgery"). Validation
images decide how many Gaussians it has.

    c = how many of the cumulative weights are <= uniform
    z = means[c] + factors[c] @ noise,  noise ~ N(0, I)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from pipeline.exporting.em import Gaussians, fit_gaussians
from pipeline.shared.interface import IR_VERSION, MIXTURE, OPSET

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MIXTURE_OPERATORS = frozenset(
    {"Add", "Cast", "Gather", "GreaterOrEqual", "MatMul", "Mul", "ReduceSum", "Squeeze", "Unsqueeze"}
)

_IMAGES = 10  # for each Gaussian, at least
_EACH = 50  # Gaussians for each latent, at most: two gain nothing from more
_NUMBERS = 2**18  # of all factors, at most: a megabyte


@dataclass(frozen=True)
class GaussianMixture:
    """The numbers of a mixture of `components` Gaussians."""

    cumulative: Floats
    """Of the weights; the last is infinity, since a uniform number that is rounded may be 1: `[components]`."""
    means: Floats
    """`[components, latent_dim]`"""
    factors: Floats
    """Lower Cholesky factors of the covariances: `[components, latent_dim, latent_dim]`."""
    log_likelihood: dict[str, float]
    """Nats per draw from q(z|x) of a validation image, on average, under the `mixture` and under the `prior`."""

    @property
    def latent_dim(self) -> int:
        """How many latents."""
        return int(self.means.shape[1])

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        rounded = {name: round(nats, 4) for name, nats in self.log_likelihood.items()}
        return {"components": len(self.means), "log_likelihood": rounded}

    def figures(self) -> dict[str, str]:
        """What the file says of it."""
        return {
            "components": str(len(self.means)),
            **{f"validation_log_likelihood_of_{name}": f"{nats:.4f}" for name, nats in self.log_likelihood.items()},
        }

    def sample(self, uniform: Floats, noise: Floats) -> Floats:
        """`z` float32 `[n, latent_dim]` of `uniform` float32 `[n]` and `noise` float32 `[n, latent_dim]`, by NumPy."""
        chosen = np.searchsorted(self.cumulative, uniform, side="right")
        z: Floats = self.means[chosen] + np.einsum("nij,nj->ni", self.factors[chosen], noise)
        return z


def fit_mixture(train: tuple[Floats, Floats], validation: Floats, components: int, seed: int) -> GaussianMixture:
    """Fit as many Gaussians as make validation latents likeliest; the same on every number of cores.

    From the most on, they are halved for as long as that helps.

    Args:
        train: `z_mean` and `z_log_var` of training images, each `[n, latent_dim]`.
        validation: draws from q(z|x) of validation images, `[m, latent_dim]`.
        components: at most; fewer of few images, of few latents, and of many: the file stays near a megabyte.
        seed: of the fit.
    """
    images, latent_dim = train[0].shape
    most = max(1, min(components, images // _IMAGES, latent_dim * _EACH, _NUMBERS // latent_dim**2))
    with threadpool_limits(1):  # sums in another order have other last bits
        fitted, likelihood = _fit_and_try(train, validation, most, seed)
        while len(fitted.weights) > 1:
            fewer, of_fewer = _fit_and_try(train, validation, len(fitted.weights) // 2, seed)
            if of_fewer <= likelihood:
                break
            fitted, likelihood = fewer, of_fewer
        factors = np.linalg.cholesky(fitted.covariances)
    squares = np.square(validation, dtype=np.float64).sum(axis=1)
    prior = -0.5 * float(squares.mean() + latent_dim * math.log(2 * math.pi))
    cumulative = np.cumsum(fitted.weights)
    cumulative[-1] = np.inf
    return GaussianMixture(
        cumulative.astype(np.float32),
        fitted.means.astype(np.float32),
        factors.astype(np.float32),
        {"mixture": likelihood, "prior": prior},
    )


def _fit_and_try(
    train: tuple[Floats, Floats], validation: Floats, components: int, seed: int
) -> tuple[Gaussians, float]:
    fitted = fit_gaussians(*train, components, seed)
    return fitted, fitted.log_likelihood(validation)


def write_mixture(mixture: GaussianMixture, file: Path) -> None:
    """Write it as ONNX with the interface `MIXTURE`, unproven.

    A row is compared with the last weights of each group, and then with those of its own group: of 400 with 40.
    """
    side = math.isqrt(len(mixture.cumulative) - 1) + 1
    groups = np.full((side, side), np.inf, np.float32)
    groups.flat[: len(mixture.cumulative)] = mixture.cumulative
    constants: dict[str, NDArray[Any]] = {
        "groups": groups,
        "ends": groups[:, -1],
        "side": np.array(side),
        "means": mixture.means,
        "factors": mixture.factors,
        "last": np.array([-1]),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["uniform", "last"], ["column"]),
        *_count_passed("ends", "group"),
        helper.make_node("Gather", ["groups", "group"], ["own"]),
        *_count_passed("own", "place"),
        helper.make_node("Mul", ["group", "side"], ["before"]),
        helper.make_node("Add", ["before", "place"], ["chosen"]),
        helper.make_node("Gather", ["means", "chosen"], ["mean"]),
        helper.make_node("Gather", ["factors", "chosen"], ["factor"]),
        helper.make_node("Unsqueeze", ["noise", "last"], ["noise_column"]),
        helper.make_node("MatMul", ["factor", "noise_column"], ["deviation_column"]),
        helper.make_node("Squeeze", ["deviation_column", "last"], ["deviation"]),
        helper.make_node("Add", ["mean", "deviation"], ["z"]),
    ]
    inputs, outputs = (
        [
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.resolved(mixture.latent_dim).shape)
            for tensor in tensors
        ]
        for tensors in (MIXTURE.inputs, MIXTURE.outputs)
    )
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, MIXTURE.role, inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION), file)


def _count_passed(borders: str, result: str) -> list[onnx.NodeProto]:
    """How many `borders` of its row, or of all, a uniform number reaches."""
    passed, as_numbers = f"{result}_passed", f"{result}_passed_01"
    return [
        helper.make_node("GreaterOrEqual", ["column", borders], [passed]),
        helper.make_node("Cast", [passed], [as_numbers], to=TensorProto.INT64),
        helper.make_node("ReduceSum", [as_numbers, "last"], [result], keepdims=0),
    ]


def draw_inputs(latent_dim: int, rows: int, seed: int) -> list[Floats]:
    """What a mixture takes: `uniform` `[rows]` and `noise` `[rows, latent_dim]`."""
    generator = np.random.default_rng(seed)
    return [generator.random(rows, np.float32), generator.standard_normal((rows, latent_dim), np.float32)]
