"""The roles that an ONNX model can have in a bundle, and the interface of each, promised to whoever runs it elsewhere.

A new role is an entry in `ROLES`, a conversion and a proof in `pipeline.exporting`. The manifest, `vae verify`, the
model card and the tests in other runtimes take from the entry what they need. Scaling from bytes to [0, 1] lives
inside the models, randomness outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

MODEL_FILE = "model.onnx"
FLOAT32 = "float32"
VARIANT_FILES = {FLOAT32: MODEL_FILE, "int8": "model_quantized.onnx", "fp16": "model_fp16.onnx"}
ABOUT_JUDGE = "judge.json"  # beside its model: what it was trained on, or why there is none
MANIFEST_FILE, SCHEMA_VERSION = "manifest.json", 1
TEST_DATA = "test_data_set_0"  # the first of the ONNX Model Zoo's layout: input_0.pb, output_0.pb and on
OPSET, IR_VERSION = 17, 8  # old enough for the runtimes still in use
IMAGE_SHAPE = (28, 28)
PIXELS = 28 * 28
OPERATIONS = "operations_per_image"  # in a file's metadata
BATCH = "batch"  # the axis of rows; like any axis with a name but the next, each call chooses its size
LATENT = "latent_dim"  # stands for a size that is fixed in each file
CLASSES = "classes"  # so does this one


@dataclass(frozen=True)
class Tensor:
    """Name, ONNX Runtime element type and shape of one input or output."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    meaning: str = ""

    def resolved(self, latent_dim: int) -> "Tensor":
        """The same tensor with `latent_dim` as a number."""
        return self.sized({LATENT: latent_dim})

    def sized(self, sizes: Mapping[str, int]) -> "Tensor":
        """The same tensor with a number for each axis that `sizes` names."""
        shape = tuple(sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in self.shape)
        return Tensor(self.name, self.type, shape, self.meaning)

    def __str__(self) -> str:
        return f"{self.name} {self.type}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Interface:
    """What a model of one role takes and gives, and where it lies."""

    role: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    folder: str
    """In the bundle."""
    variants: tuple[str, ...] = (FLOAT32,)
    """In which it is exported."""
    apart: bool = False
    """Whether the manifest lists it beside `models`, as a single file: schema 1 has the mixture there."""

    @property
    def input(self) -> Tensor:
        """The only input of a model that has one."""
        (one,) = self.inputs
        return one

    def sized(self, sizes: Mapping[str, int]) -> "Interface":
        """The same interface with a number for each axis that `sizes` names."""
        inputs, outputs = (tuple(t.sized(sizes) for t in tensors) for tensors in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    @property
    def latent(self) -> Tensor | None:
        """The first tensor that has the latent size, if there is one."""
        return next((tensor for tensor in (*self.inputs, *self.outputs) if LATENT in tensor.shape), None)


ENCODER = Interface(
    role="encoder",
    inputs=(Tensor("image", "uint8", (BATCH, *IMAGE_SHAPE), "grey levels, row by row: 0 = background, 255 = ink"),),
    outputs=(
        Tensor("z_mean", "float32", (BATCH, LATENT), "mean of the Gaussian of each latent"),
        Tensor("z_log_var", "float32", (BATCH, LATENT), "natural logarithm of its variance"),
    ),
    folder="encoder",
    variants=tuple(VARIANT_FILES),
)
DECODER = Interface(
    role="decoder",
    inputs=(Tensor("z", "float32", (BATCH, LATENT), "latents; N(0, I) is the prior"),),
    outputs=(Tensor("image", "float32", (BATCH, *IMAGE_SHAPE), "grey levels in [0, 1], row by row: 1 = ink"),),
    folder="decoder",
    variants=tuple(VARIANT_FILES),
)
MIXTURE = Interface(
    role="mixture",
    inputs=(
        Tensor("uniform", "float32", (BATCH,), "drawn uniformly from [0, 1): picks a Gaussian"),
        Tensor("noise", "float32", (BATCH, LATENT), "drawn from N(0, I)"),
    ),
    outputs=(Tensor("z", "float32", (BATCH, LATENT), "latents for the decoder, distributed as those of images"),),
    folder="decoder/mixture",
    apart=True,
)
RENDERER = Interface(
    role="renderer",
    inputs=(
        *DECODER.inputs,
        Tensor("rows", "float32", ("height",), "centres of the rows of pixels, from 0 at the top to 1 at the bottom"),
        Tensor("columns", "float32", ("width",), "centres of the columns, from 0 at the left to 1 at the right"),
        Tensor("pixel", "float32", (1,), "side of a pixel, in 28ths of the picture's"),
        Tensor("softness", "float32", (1,), "of edges: 1 is as trained, down to 0.05"),
    ),
    outputs=(Tensor("image", "float32", (BATCH, "height", "width"), DECODER.outputs[0].meaning),),
    folder="renderer",
    apart=True,
)
SCORER = Interface(
    role="scorer",
    inputs=ENCODER.inputs,
    outputs=(
        Tensor("excess", "float32", (BATCH,), "what is odd about the image, in nats: reconstruction + kl"),
        Tensor("reconstruction", "float32", (BATCH,), "sum over pixels of KL(Bernoulli(x) || Bernoulli(p)), in nats"),
        Tensor("kl", "float32", (BATCH,), "KL divergence of the latents' Gaussian from the prior N(0, I), in nats"),
        Tensor(
            "score",
            "float32",
            (BATCH,),
            "how unusual it is: excess / sqrt(1 + ink), ink the sum of grey levels in [0, 1]",
        ),
    ),
    folder="scorer",
    variants=tuple(VARIANT_FILES),
)
ROLES = {interface.role: interface for interface in (ENCODER, DECODER, MIXTURE, RENDERER, SCORER)}
FOLDERS = tuple(dict.fromkeys(interface.folder.split("/")[0] for interface in ROLES.values()))
"""Of a bundle, each of which is a bundle by itself."""
GENERATOR = "generator"  # the folder of a second decoder, a bundle of its own, which may have its own encoder
AT_GENERATOR = {
    one.role: replace(one, folder="." if one is DECODER else one.folder.split("/")[-1])
    for one in (ENCODER, DECODER, MIXTURE, RENDERER)
}
"""Where the models of that bundle lie in it."""
HALVES = {interface.role: interface for interface in (ENCODER, DECODER)}  # of the autoencoder that Keras trains
JUDGE = Interface(  # no role of a bundle: it measures bundles
    role="judge",
    inputs=ENCODER.inputs,
    outputs=(
        Tensor("features", "float32", (BATCH, 64), "what the classifier sees in the image before it decides"),
        Tensor("probabilities", "float32", (BATCH, CLASSES), "of each class, by label; their sum is 1"),
    ),
    folder="judge",
)


def test_data(number: int) -> str:
    """The folder of a test data set, counted from 0."""
    return f"{TEST_DATA[:-1]}{number}"


class NodeArg(Protocol):
    """An input or output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: Sequence[int | str | None]


def read_latent_dim(interface: Interface, inputs: Sequence[NodeArg], outputs: Sequence[NodeArg]) -> int | None:
    """The latent size that a file with this interface declares; None if it declares none."""
    tensor = interface.latent
    for node in [*inputs, *outputs]:
        if tensor is not None and node.name == tensor.name and len(node.shape) == len(tensor.shape):
            size = node.shape[tensor.shape.index(LATENT)]
            return size if isinstance(size, int) else None
    return None


def mismatches(
    interface: Interface, inputs: Sequence[NodeArg], outputs: Sequence[NodeArg], *, exact: bool = False
) -> list[str]:
    """Every way in which a model's inputs and outputs differ from the interface; empty if they are the same.

    Other makers call the axis of rows as they like, and say of inputs alone that its size is open; unless `exact`,
    that makes no difference.
    """
    latent_dim = read_latent_dim(interface, inputs, outputs)
    problems = []
    for kind, expected, found in (
        ("input", interface.inputs, inputs),
        ("output", interface.outputs, outputs),
    ):
        wanted = {str(t if latent_dim is None else t.resolved(latent_dim)) for t in expected}
        given = {describe(node if exact else _Renamed(node, expected, fixed=kind == "output")) for node in found}
        if wanted != given:
            said = " and ".join(sorted(map(describe, found)))
            problems.append(f"{kind} is {said}, expected {' and '.join(sorted(wanted))}")
    return problems


class _Renamed:
    """An input or output whose axis of rows has the name of the interface; also where its size is `fixed`, if so."""

    def __init__(self, node: NodeArg, expected: Sequence[Tensor], *, fixed: bool) -> None:
        self.name, self.type = node.name, node.type
        shapes = [tensor.shape for tensor in expected if tensor.name == node.name]
        rows = shapes[0].index(BATCH) if shapes and BATCH in shapes[0] else -1
        self.shape: Sequence[int | str | None] = [
            BATCH if place == rows and (fixed or not isinstance(size, int)) else size
            for place, size in enumerate(node.shape)
        ]


def describe(node: NodeArg) -> str:
    """An input or output of a file, written as `str` writes a `Tensor`."""
    return str(Tensor(node.name, _element_type(node.type), tuple(d or "?" for d in node.shape)))


def _element_type(type_: str) -> str:
    """`tensor(float)` as ONNX Runtime writes it to `float32` as NumPy does."""
    name = type_.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
