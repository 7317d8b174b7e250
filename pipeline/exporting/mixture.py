"""A better sampler than the prior: a mixture of Gaussians fitted to the latents of training images, as ONNX.

Digits do not fill the prior evenly: it puts samples where the decoder has seen none. The mixture is fitted to draws
from the aggregate posterior, q(z) = mean over images of q(z|x) (Hoffman & Johnson 2016, "ELBO surgery").

    c = how many of the cumulative weights are <= uniform
    z = means[c] + factors[c] @ noise,  noise ~ N(0, I)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import sklearn.mixture
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from pipeline.shared.interface import IR_VERSION, MIXTURE, OPSET

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MIXTURE_OPERATORS = frozenset(
    {"Add", "Cast", "Gather", "GreaterOrEqual", "MatMul", "ReduceSum", "Squeeze", "Unsqueeze"}
)


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


def fit_mixture(train: Floats, validation: Floats, components: int, seed: int) -> GaussianMixture:
    """Fit by expectation maximisation, started by k-means; the same on every number of cores.

    Args:
        train: draws from q(z|x) of training images, `[n, latent_dim]`.
        validation: the same of validation images.
        components: at most; fewer where a Gaussian would have fewer draws than its covariance has numbers.
        seed: of k-means.
    """
    count, latent_dim = train.shape
    components = max(1, min(components, count // (latent_dim * (latent_dim + 1) // 2)))
    with threadpool_limits(1):  # sums in another order have other last bits
        fitted = sklearn.mixture.GaussianMixture(components, random_state=seed).fit(train)
        factors = np.linalg.cholesky(fitted.covariances_.astype(np.float64))
        mixture = float(fitted.score(validation))
    squares = np.square(validation, dtype=np.float64).sum(axis=1)
    prior = -0.5 * float(squares.mean() + latent_dim * math.log(2 * math.pi))
    cumulative = np.cumsum(fitted.weights_, dtype=np.float64)
    cumulative[-1] = np.inf
    return GaussianMixture(
        cumulative.astype(np.float32),
        fitted.means_.astype(np.float32),
        factors.astype(np.float32),
        {"mixture": mixture, "prior": prior},
    )


def write_mixture(mixture: GaussianMixture, file: Path) -> None:
    """Write it as ONNX with the interface `MIXTURE`, unproven."""
    constants: dict[str, NDArray[Any]] = {
        "cumulative": mixture.cumulative,
        "means": mixture.means,
        "factors": mixture.factors,
        "last": np.array([-1]),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["uniform", "last"], ["column"]),
        helper.make_node("GreaterOrEqual", ["column", "cumulative"], ["passed"]),
        helper.make_node("Cast", ["passed"], ["passed_01"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["passed_01", "last"], ["chosen"], keepdims=0),
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
