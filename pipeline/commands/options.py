"""Every option and argument that more than one command has, each defined once."""

import functools
import inspect
import json
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from pipeline.jobs.job import Options, Plan, Summary
    from pipeline.params import Params

Command = TypeVar("Command", bound=Callable[..., None])

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes; errors still show.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")]
Exports = Annotated[Path, typer.Argument(help="The folder of the exported models.")]
Prepared = Annotated[Path, typer.Option(help="The folder of the prepared arrays.")]
Encoder = Annotated[Path, typer.Option(help="The encoder: a bundle or an ONNX file.")]
Decoder = Annotated[Path, typer.Option(help="The decoder: a bundle or an ONNX file.")]
Scorer = Annotated[Path, typer.Option(help="The scorer: a bundle or an ONNX file.")]
Images = Annotated[
    str,
    typer.Argument(
        help="The images: arrays, CSV, Parquet, Arrow, pictures, tar or zip: a file, folder or pattern, its URL, or -."
    ),
]
Result = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="Where the result goes: a folder, x.npy or x.npz, for images also x.png; or its URL."
    ),
]

Size = Annotated[
    int | None,
    typer.Option(
        min=8, help="Draw each image with so many pixels a side, from 8 on.  [default: those of the decoder, 28]"
    ),
]
Softness = Annotated[
    float | None,
    typer.Option(min=0.05, max=10, help="Of the edges, with --size: 1 is as trained, 0.1 is sharp.  [default: 1]"),
]


def grouped(command: Command) -> Command:
    """Let a parameter whose type is a dataclass stand for the fields of that class, each an option of the command.

    The command is called with an instance of the class. In its help, the options of `CommonOptions` come last.
    """
    signature = inspect.signature(command)
    groups: dict[str, Any] = {
        name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)
    }
    parameters = []
    for name, parameter in signature.parameters.items():
        if name not in groups:
            parameters.append(parameter)
            continue
        own_first = sorted(fields(groups[name]), key=lambda field: field.name in CommonOptions.__annotations__)
        parameters += [
            inspect.Parameter(field.name, parameter.kind, default=field.default, annotation=field.type)
            for field in own_first
        ]

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call  # type: ignore[return-value]


@dataclass(frozen=True)
class CommonOptions:
    """How a command speaks."""

    quiet: Quiet = False
    as_json: AsJson = False

    def __post_init__(self) -> None:
        """Notes of the pipeline itself, and warnings of everybody else, go to stderr."""
        logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
        logging.getLogger("pipeline").setLevel(logging.ERROR if self.quiet else logging.INFO)

    def show(self, result: dict[str, Any], text: str) -> None:
        """Print what came out: for a script, or else for a person."""
        typer.echo(json.dumps(result) if self.as_json else text)


@dataclass(frozen=True)
class StageOptions(CommonOptions):
    """What every stage with parameters takes."""

    file: Annotated[Path, typer.Option("--params", help="The file of parameters.")] = Path("params.yaml")

    @property
    def params(self) -> "Params":
        """The validated parameters."""
        from pipeline.params import read_params

        return read_params(self.file)


@dataclass(frozen=True)
class JobOptions(CommonOptions):
    """How a batch job computes and what it writes."""

    format: Annotated[
        Literal["auto", "parquet", "png", "npy", "npz"],
        typer.Option(help="The format of the result; auto goes by the name of the output."),
    ] = "auto"
    precision: Annotated[
        Literal["float32", "int8", "fp16"], typer.Option(help="Which variant of the models to run.")
    ] = "float32"
    provider: Annotated[
        str,
        typer.Option(help="The execution provider of ONNX Runtime: cpu, cuda, ...; auto takes the fastest available."),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="The number of threads, or of Ray's actors, that compute.  [default: one per core]"),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows per call of ONNX Runtime; changes the speed, not the result.")
    ] = None
    on_error: Annotated[
        Literal["fail", "quarantine"],
        typer.Option(help="What a bad row does: fail ends the job; quarantine sets it aside and exits with 3."),
    ] = "fail"
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, and write nothing.")
    ] = False

    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where it runs: on this machine, or on the Ray cluster of RAY_ADDRESS."),
    ] = "local"
    ray_local: Annotated[
        int | None,
        typer.Option(min=1, help="Start a Ray cluster of so many cores here, for this job."),
    ] = None
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Take parts from different kinds of processors, whose last digits differ."),
    ] = False

    def __post_init__(self) -> None:
        """Refuse wrong usage before anything is opened."""
        super().__post_init__()
        if self.ray_local is not None and self.engine != "ray":
            raise typer.BadParameter("--ray-local goes with --engine ray")

    @property
    def model(self) -> dict[str, Any]:
        """How a model is opened; what is not given is left to its defaults."""
        names = ("precision", "provider", "workers", "batch_size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def run(self, limit: int | None = None) -> "Options":
        """How the engine runs it."""
        from pipeline.jobs.job import Cluster, Options

        cluster = Cluster(self.workers, self.ray_local) if self.engine == "ray" else None
        return Options(limit, self.on_error, self.quiet, cluster, self.allow_mixed)

    def finish(self, result: "Summary | Plan") -> None:
        """Print what a job did, and exit with status 3 if it set rows aside."""
        self.show(asdict(result), str(result))
        if getattr(result, "quarantined", 0):
            raise typer.Exit(3)


@dataclass(frozen=True)
class PileOptions:
    """How images are read."""

    labels: Annotated[
        str | None,
        typer.Option(help="A file of labels in place of those of the images: IDX, .npy, .npz, CSV or Parquet."),
    ] = None
    labels_from: Annotated[
        str | None,
        typer.Option(
            help="Where the labels of the images are: the name of a column or array, the suffix of members of a tar, "
            "`folder` for the names of folders, or `none`."
        ),
    ] = None
    array: Annotated[
        str | None, typer.Option(help="Which array of an .npz, or column of a table, holds the images.")
    ] = None
    resize: Annotated[bool, typer.Option("--resize", help="Scale images of other sizes to 28 x 28.")] = False
    fit: Annotated[
        Literal["digit"] | None,
        typer.Option(help="Cut the digit out of each picture and centre it as MNIST's makers did."),
    ] = None
    invert: Annotated[bool, typer.Option("--invert", help="Take dark ink on a light background.")] = False
    transpose: Annotated[bool, typer.Option("--transpose", help="Swap rows and columns, as EMNIST needs.")] = False
    value_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="LOW..HIGH",
            help="The values of background and full ink, as in --range=-1..1.  [default: found over all values]",
        ),
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="End with an error where a file or member would be passed over.")
    ] = False
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many rows from the start.")] = None

    def __post_init__(self) -> None:
        """Refuse wrong usage before anything is opened."""
        _read_range(self.value_range)

    @property
    def reading(self) -> dict[str, Any]:
        """How `open_images` reads them."""
        names = ("labels", "labels_from", "array", "resize", "fit", "invert", "transpose", "strict")
        return {**{name: getattr(self, name) for name in names}, "value_range": _read_range(self.value_range)}


def _read_range(text: str | None) -> tuple[float, float] | None:
    """`0..255` as two numbers.

    Raises:
        BadParameter: it is anything else.
    """
    if text is None:
        return None
    low, _, high = text.partition("..")
    try:
        if -math.inf < float(low) < float(high) < math.inf and not high.startswith("."):
            return float(low), float(high)
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is no range of two numbers, the smaller first, as in --range=-1..1")
