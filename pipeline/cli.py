"""Every command: parse, call, print. No logic lives here, and no command loads more than it needs."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from pipeline import __version__
from pipeline.errors import PipelineError
from pipeline.process import run_to_the_end

if TYPE_CHECKING:
    from pipeline.jobs.job import Options, Plan, Summary
    from pipeline.params import Params

app = typer.Typer(
    help="Variational autoencoder of MNIST digits: train it, export it, encode and generate with it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ParamsFile = Annotated[Path, typer.Option("--params", help="The file of parameters.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes; errors still show.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")]
Images = Annotated[
    str, typer.Argument(help="IDX(.gz), .npy, .npz, .parquet, .tar, a folder or glob of PNG or JPEG; or its URL.")
]
Result = Annotated[str, typer.Option("--output", "-o", help="A folder, or x.npy or x.npz; or its URL.")]
EncoderFile = Annotated[Path, typer.Option(help="The model: a bundle or an ONNX file.")]
DecoderFile = Annotated[Path, typer.Option(help="The model: a bundle or an ONNX file.")]
Labels = Annotated[str | None, typer.Option(help="Labels, IDX or .npy, to carry along.")]
Resize = Annotated[bool, typer.Option("--resize", help="Bring images of other sizes to 28 x 28.")]
Format = Annotated[
    Literal["auto", "parquet", "png", "npy", "npz"], typer.Option("--format", help="auto: by the name of the output.")
]
Precision = Annotated[Literal["float32", "int8", "fp16"], typer.Option(help="Which variant of the bundle.")]
Provider = Annotated[str, typer.Option(help="Of ONNX Runtime: cpu, cuda, ...; auto: the first that is there.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that compute.  [default: one per core]")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Rows per call of ONNX Runtime; changes speed, not results.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first rows.")]
OnError = Annotated[
    Literal["fail", "quarantine"], typer.Option(help="quarantine: set bad rows aside, go on, exit with 3.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, write nothing.")]
Raw = Annotated[Path, typer.Argument(help="The folder of the four MNIST files.")]
Prepared = Annotated[Path, typer.Argument(help="The folder of the prepared arrays.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Variational autoencoder of MNIST digits: train it, export it, encode and generate with it."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def download(
    folder: Raw = Path("data/raw"),
    mirror: Annotated[
        str | None,
        typer.Option(envvar="VAE_MNIST_MIRROR", help="A folder or an address with the four files."),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the four MNIST files and check them."""
    _log(quiet)
    from pipeline.data.download import download as stage

    result = stage(_params(params).download, folder, mirror)
    _print(result, f"{folder}: {len(result['files'])} files, source {result['source']}", as_json)


@app.command()
def prepare(
    raw: Raw = Path("data/raw"),
    output: Output = Path("data/prepared"),
    params: ParamsFile = Path("params.yaml"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check the digits and split them into train, validation and test."""
    _log(quiet)
    from pipeline.data.prepare import prepare as stage

    result = stage(_params(params).prepare, raw, output)
    counts = ", ".join(f"{split} {about['images']:,}" for split, about in result["splits"].items())
    _print(result, f"{output}: {counts} (source {result['source']})", as_json)


@app.command()
def train(
    prepared: Prepared = Path("data/prepared"),
    output: Output = Path("models"),
    report: Annotated[Path, typer.Option(help="The folder for the figures of each epoch.")] = Path("reports/training"),
    params: ParamsFile = Path("params.yaml"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit the model; on a GPU where there is one."""
    _log(quiet)
    settings = _params(params)
    from pipeline.training.train import train as stage

    verbose = 0 if quiet else 1 if sys.stdout.isatty() and not as_json else 2
    result = stage(settings.model, settings.train, prepared, output, report, 0 if as_json else verbose)
    text = (
        f"{output}: validation loss {result['val_loss']:.2f} nats "
        f"= reconstruction {result['val_reconstruction']:.2f} + KL {result['val_kl']:.2f}"
    )
    _print(result, text, as_json)


@app.command()
def export(
    models: Annotated[Path, typer.Argument(help="The folder of the trained weights.")] = Path("models"),
    prepared: Annotated[Path, typer.Option(help="The folder of the prepared arrays.")] = Path("data/prepared"),
    output: Output = Path("exports"),
    params: ParamsFile = Path("params.yaml"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Convert both halves to ONNX and prove them against Keras."""
    _log(quiet)
    settings = _params(params).export
    from pipeline.exporting.export import export as stage

    result = stage(settings, models, prepared, output)
    size = sum(file["bytes"] for file in result["files"])
    nats = result["validation"]["negative_elbo"]
    _print(result, f"{output}: {len(result['files'])} files, {size:,} bytes, validation {nats:.2f} nats", as_json)


@app.command()
def encode(
    images: Images,
    output: Result,
    encoder: EncoderFile = Path("exports/encoder"),
    labels: Labels = None,
    resize: Resize = False,
    format_: Format = "auto",
    precision: Precision = "float32",
    provider: Provider = "auto",
    workers: Workers = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    on_error: OnError = "fail",
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn images into latents."""
    _log(quiet)
    from pipeline.inference.session import Encoder
    from pipeline.jobs.encode import encode as job
    from pipeline.jobs.target import open_target
    from pipeline.sources.images import open_images

    target = open_target(output, format_)
    model = Encoder(encoder, **_how(precision, provider, workers, batch_size))
    with open_images(images, labels, resize=resize) as source:
        result = job(model, source, target, _options(limit, on_error, quiet), dry_run=dry_run)
    _finish(result, as_json)


@app.command()
def reconstruct(
    images: Images,
    output: Result,
    encoder: EncoderFile = Path("exports/encoder"),
    decoder: DecoderFile = Path("exports/decoder"),
    labels: Labels = None,
    resize: Resize = False,
    format_: Format = "auto",
    precision: Precision = "float32",
    provider: Provider = "auto",
    workers: Workers = None,
    batch_size: BatchSize = None,
    limit: Limit = None,
    on_error: OnError = "fail",
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn images into latents and these into images again, with one PNG grid of both."""
    _log(quiet)
    from pipeline.inference.session import Decoder, Encoder
    from pipeline.jobs.generate import reconstruct as job
    from pipeline.jobs.target import open_target
    from pipeline.sources.images import open_images

    target = open_target(output, format_)
    how = _how(precision, provider, workers, batch_size)
    first, second = Encoder(encoder, **how), Decoder(decoder, **how)
    with open_images(images, labels, resize=resize) as source:
        result = job(first, second, source, target, _options(limit, on_error, quiet), dry_run=dry_run)
    _finish(result, as_json)


@app.command()
def generate(
    output: Result,
    decoder: DecoderFile = Path("exports/decoder"),
    count: Annotated[int | None, typer.Option(min=1, help="How many to draw, or to take of --latents.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draws.  [default: 0]")] = None,
    sampler: Annotated[
        Literal["prior", "mixture"] | None,
        typer.Option(help="What to draw from: N(0, I), or the mixture beside the decoder.  [default: prior]"),
    ] = None,
    latents: Annotated[
        Path | None, typer.Option(help="Decode these instead: .npy, .parquet, or the output of encode.")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="The images that --latents belong to; the grid shows both.")
    ] = None,
    manifold: Annotated[
        int | None,
        typer.Option(min=2, max=1000, help="Decode a grid of this side over the quantiles of the prior instead."),
    ] = None,
    format_: Format = "auto",
    precision: Precision = "float32",
    provider: Provider = "auto",
    workers: Workers = None,
    batch_size: BatchSize = None,
    on_error: OnError = "fail",
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn latents into images, with one PNG grid of the first."""
    _log(quiet)
    if latents is not None and manifold is not None:
        raise typer.BadParameter("give --latents or --manifold, not both")
    if originals is not None and latents is None:
        raise typer.BadParameter("--originals goes with --latents")
    if count is not None and manifold is not None:
        raise typer.BadParameter("--manifold sets the count itself")
    for option, value in (("--seed", seed), ("--sampler", sampler)):
        if value is not None and (latents is not None or manifold is not None):
            raise typer.BadParameter(f"{option} goes with --count alone: nothing else is drawn")
    if count is None and latents is None and manifold is None:
        raise typer.BadParameter("say what to decode: --count, --latents or --manifold")
    from pipeline.inference.session import Decoder
    from pipeline.jobs.generate import generate as job
    from pipeline.jobs.latents import choose_latents
    from pipeline.jobs.target import open_target
    from pipeline.shared.interface import MIXTURE
    from pipeline.sources.images import open_images

    target = open_target(output, format_)
    model = Decoder(decoder, **_how(precision, provider, workers, batch_size))
    fitted = model.path.parent / MIXTURE.role if sampler == MIXTURE.role else None
    source = choose_latents(model.latent_dim, count=count, seed=seed or 0, path=latents, side=manifold, fitted=fitted)
    options = _options(None, on_error, quiet)
    with open_images(originals) if originals else contextlib.nullcontext() as pile:
        result = job(model, source, target, options, originals=pile, dry_run=dry_run)
    _finish(result, as_json)


@app.command()
def evaluate(
    exports: Annotated[Path, typer.Argument(help="The folder of the exported models.")] = Path("exports"),
    prepared: Annotated[Path, typer.Option(help="The folder of the prepared arrays.")] = Path("data/prepared"),
    metrics: Annotated[Path, typer.Option(help="The file of figures to write.")] = Path("reports/metrics.json"),
    params: ParamsFile = Path("params.yaml"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure the exported models on the test digits."""
    _log(quiet)
    settings = _params(params).evaluate
    from pipeline.evaluating.evaluate import evaluate as stage

    result = stage(settings, exports, prepared, metrics)
    test = result["test"]
    text = (
        f"{metrics}: negative ELBO {test['negative_elbo']:.2f} nats = reconstruction {test['reconstruction']:.2f} "
        f"+ KL {test['kl']:.2f}, {test['images']:,} test digits (source {result['source']})"
    )
    _print(result, text, as_json)


@app.command()
def report(
    exports: Annotated[Path, typer.Argument(help="The folder of the exported models.")] = Path("exports"),
    prepared: Annotated[Path, typer.Option(help="The folder of the prepared arrays.")] = Path("data/prepared"),
    origin: Annotated[Path, typer.Option(help="What the models were trained with.")] = Path("models/training.json"),
    curves: Annotated[Path, typer.Option(help="The figures of each epoch.")] = Path("reports/training/plots/metrics"),
    metrics: Annotated[Path, typer.Option(help="The figures of evaluate.")] = Path("reports/metrics.json"),
    plots: Annotated[Path, typer.Option(help="The folder of pictures to write.")] = Path("reports/plots"),
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("reports/index.html"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw the models' pictures and put them on one page with all figures."""
    _log(quiet)
    from pipeline.reporting.report import Inputs
    from pipeline.reporting.report import report as stage

    result = stage(Inputs(exports, prepared, origin, curves, metrics), plots, output)
    text = f"{output}: {result['figures']} figures, {result['pictures']} pictures, {result['bytes'] / 1e6:.1f} MB"
    _print(result, text, as_json)


@app.command()
def explore(
    exports: Annotated[Path, typer.Argument(help="The folder of the exported models.")] = Path("exports"),
    latents: Annotated[Path, typer.Option(help="Of the test digits, as encode writes them.")] = Path(
        "exports/latents/test"
    ),
    prepared: Annotated[Path, typer.Option(help="The folder of the prepared arrays.")] = Path("data/prepared"),
    output: Output = Path("exports/web"),
    build_only: Annotated[bool, typer.Option("--build-only", help="Write the page and don't serve it.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="To serve on; 0: any that is free.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Build a page on which to move through the latent space, and serve it on this machine."""
    _log(quiet)
    from pipeline.exploring.build import build
    from pipeline.exploring.serve import serve

    result = build(exports, latents, prepared, output)
    _print(result, f"{output}: {result['files']} files, {result['bytes'] / 1e6:.1f} MB", as_json)
    if not build_only:
        serve(output, port, typer.echo)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder with a manifest.json.")] = Path("exports"),
    as_json: AsJson = False,
) -> None:
    """Check exported models anywhere: bytes, interface, test vectors, variants."""
    _log(True)
    from pipeline.tools.verify import verify as check

    report = check(folder)
    _print(asdict(report), f"{report}\n{folder}: {report.files} files as listed, all models as described", as_json)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="The ONNX file.")],
    as_json: AsJson = False,
) -> None:
    """Say what an ONNX file is."""
    _log(True)
    from pipeline.tools.verify import info as describe

    about = describe(model)
    _print(asdict(about), str(about), as_json)


@app.command()
def bench(
    exports: Annotated[Path, typer.Argument(help="The folder of the exported models.")] = Path("exports"),
    images: Annotated[int, typer.Option(min=1000, help="How many; 784 bytes of temporary file for each.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=2, help="At least; more where they disagree.")] = 5,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine encodes and decodes, as shares of its matrix rate."""
    _log(quiet)
    from pipeline.tools.bench import bench as measure

    report = measure(exports, images, rounds, logging.getLogger("pipeline").info)
    _print(asdict(report), str(report), as_json)


def main() -> NoReturn:
    """Run the command line; one clear line and exit status 1 for whatever the user can mend."""
    run_to_the_end(_run)


def _run() -> None:
    try:
        app()
    except PipelineError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        extra = "jax" if error.name == "jax" else "train"
        _fail(
            f"{error.name} is not installed; it comes with the extra `{extra}`: pip install '.[{extra}]' in a checkout"
        )
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


def _how(precision: str, provider: str, workers: int | None, batch_size: int | None) -> dict[str, Any]:
    """The arguments of a model."""
    how = {"precision": precision, "provider": provider, "workers": workers, "batch_size": batch_size}
    return {name: value for name, value in how.items() if value is not None}


def _options(limit: int | None, on_error: str, quiet: bool) -> Options:
    from pipeline.jobs.job import Options

    return Options(limit, on_error, quiet)


def _finish(result: Summary | Plan, as_json: bool) -> None:
    """Print what a job did, and end with status 3 if it set rows aside."""
    _print(asdict(result), str(result), as_json)
    if getattr(result, "quarantined", 0):
        raise typer.Exit(3)


def _params(path: Path) -> Params:
    from pipeline.params import read_params

    return read_params(path)


def _log(quiet: bool) -> None:
    """Notes of the pipeline itself, and warnings of everybody else, to stderr."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(logging.ERROR if quiet else logging.INFO)


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)
