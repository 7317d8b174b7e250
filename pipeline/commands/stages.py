"""The stages of the pipeline, one command each, in the order in which DVC runs them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.app import STAGES, app
from pipeline.commands.options import CommonOptions, Exports, Output, Prepared, StageOptions, grouped

RAW, PREPARED, MODELS, EXPORTS = Path("data/raw"), Path("data/prepared"), Path("models"), Path("exports")
JUDGE = Path("judge")
TRAINING, SHARPENING, METRICS = Path("reports/training"), Path("reports/sharpening"), Path("reports/metrics.json")
GENERATOR = EXPORTS / "generator"


@app.command(rich_help_panel=STAGES)
@grouped
def download(
    folder: Annotated[Path, typer.Argument(help="The folder to put the raw files into.")] = RAW,
    *,
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar=["VAE_MIRROR", "VAE_MNIST_MIRROR"], help="A folder or an address that holds the published files."
        ),
    ] = None,
    stage: StageOptions,
) -> None:
    """Fetch the files of a data set and check them against their published SHA-256, or gather your own images."""
    from pipeline.data.download import download

    result = download(stage.params.download, folder, mirror)
    stage.show(result, f"{folder}: {len(result['files'])} files, source {result['source']}")


@app.command(rich_help_panel=STAGES)
@grouped
def prepare(
    raw: Annotated[Path, typer.Argument(help="The folder of the raw files.")] = RAW,
    *,
    output: Output = PREPARED,
    stage: StageOptions,
) -> None:
    """Check the images and split them into train, validation and test."""
    from pipeline.data.prepare import prepare

    result = prepare(stage.params.prepare, raw, output)
    counts = ", ".join(f"{split} {about['images']:,}" for split, about in result["splits"].items())
    stage.show(result, f"{output}: {counts} (source {result['source']})")


@app.command(rich_help_panel=STAGES)
@grouped
def judge(
    raw: Annotated[Path, typer.Argument(help="The folder of the raw files.")] = RAW,
    *,
    output: Output = JUDGE,
    stage: StageOptions,
) -> None:
    """Train the classifier that judges generated images, and convert it to ONNX."""
    params = stage.params
    from pipeline.exporting.judge import judge

    result = judge(params.judge, params.export, raw, output)
    text = result.get("not_measured") or (
        f"accuracy {result['accuracy']:.1%} on {result['validation_images']:,} images that were held out"
    )
    stage.show(result, f"{output}: {text}")


@app.command(rich_help_panel=STAGES)
@grouped
def train(
    prepared: Annotated[Path, typer.Argument(help="The folder of the prepared arrays.")] = PREPARED,
    *,
    output: Output = MODELS,
    report: Annotated[Path, typer.Option(help="The folder for the figures of each epoch.")] = TRAINING,
    stage: StageOptions,
) -> None:
    """Train the model with Keras, on a GPU if there is one."""
    params = stage.params
    from pipeline.training.train import train

    verbose = 0 if stage.quiet or stage.as_json else 1 if sys.stdout.isatty() else 2
    result = train(params.model, params.train, prepared, output, report, verbose)
    text = (
        f"{output}: validation loss {result['val_loss']:.2f} nats "
        f"= reconstruction {result['val_reconstruction']:.2f} + KL {result['val_kl']:.2f}"
    )
    stage.show(result, text)


@app.command(rich_help_panel=STAGES)
@grouped
def export(
    models: Annotated[Path, typer.Argument(help="The folder of the trained weights.")] = MODELS,
    *,
    prepared: Prepared = PREPARED,
    output: Output = EXPORTS,
    stage: StageOptions,
) -> None:
    """Convert encoder and decoder to ONNX, prove them against Keras, and derive smaller variants."""
    params = stage.params.export
    from pipeline.exporting.export import export

    result = export(params, models, prepared, output)
    size = sum(file["bytes"] for file in result["files"])
    nats = result["validation"]["negative_elbo"]
    stage.show(result, f"{output}: {len(result['files'])} files, {size:,} bytes, validation {nats:.2f} nats")


@app.command(rich_help_panel=STAGES)
@grouped
def sharpen(
    models: Annotated[Path, typer.Argument(help="The folder of the trained weights.")] = MODELS,
    *,
    exports: Annotated[Path, typer.Option(help="The folder of the exported models.")] = EXPORTS,
    prepared: Prepared = PREPARED,
    judge: Annotated[Path, typer.Option(help="The folder of the judge.")] = JUDGE,
    output: Output = GENERATOR,
    report: Annotated[Path, typer.Option(help="The folder for the figures of each epoch.")] = SHARPENING,
    stage: StageOptions,
) -> None:
    """Let a discriminator teach a second decoder to draw as sharp as real images, and convert it to ONNX."""
    params = stage.params
    from pipeline.exporting.generator import sharpen

    verbose = 0 if stage.quiet or stage.as_json else 1 if sys.stdout.isatty() else 2
    result = sharpen(params.sharpen, params.export, models, exports, prepared, judge, output, report, verbose)
    distance = result.get("val_frechet_distance")
    text = f"{output}: edge ratio {result['val_edge_ratio']:.2f}"
    stage.show(result, text + (f", Frechet distance {distance:.2f} from validation images" if distance else ""))


@app.command(rich_help_panel=STAGES)
@grouped
def evaluate(
    exports: Exports = EXPORTS,
    *,
    prepared: Prepared = PREPARED,
    judge: Annotated[Path, typer.Option(help="The folder of the judge.")] = JUDGE,
    metrics: Annotated[Path, typer.Option(help="The file of figures to write.")] = METRICS,
    stage: StageOptions,
) -> None:
    """Measure the exported models on the test images, and write the model card."""
    params = stage.params.evaluate
    from pipeline.evaluating.evaluate import evaluate

    result = evaluate(params, exports, prepared, judge, metrics)
    test = result["test"]
    text = (
        f"{metrics}: negative ELBO {test['negative_elbo']:.2f} nats = reconstruction {test['reconstruction']:.2f} "
        f"+ KL {test['kl']:.2f}, {test['images']:,} test images (source {result['source']})"
    )
    stage.show(result, text)


@app.command(rich_help_panel=STAGES)
@grouped
def report(
    exports: Exports = EXPORTS,
    *,
    prepared: Prepared = PREPARED,
    origin: Annotated[Path, typer.Option(help="The parameters and data that the models were trained with.")] = (
        MODELS / "training.json"
    ),
    curves: Annotated[Path, typer.Option(help="The folder of the figures of each epoch.")] = TRAINING / "plots/metrics",
    metrics: Annotated[Path, typer.Option(help="The file of figures that evaluate wrote.")] = METRICS,
    plots: Annotated[Path, typer.Option(help="The folder of pictures to write.")] = Path("reports/plots"),
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("reports/index.html"),
    common: CommonOptions,
) -> None:
    """Draw the models' pictures and put them on one page with all figures."""
    from pipeline.reporting.report import Inputs, report

    result = report(Inputs(exports, prepared, origin, curves, metrics), plots, output)
    text = f"{output}: {result['figures']} figures, {result['pictures']} pictures, {result['bytes'] / 1e6:.1f} MB"
    common.show(result, text)


@app.command(rich_help_panel=STAGES)
@grouped
def explore(
    exports: Exports = EXPORTS,
    *,
    latents: Annotated[Path, typer.Option(help="The latents of the test images, as encode writes them.")] = (
        EXPORTS / "latents/test"
    ),
    prepared: Prepared = PREPARED,
    output: Output = EXPORTS / "web",
    build_only: Annotated[bool, typer.Option("--build-only", help="Write the page and don't serve it.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to serve on; 0 takes any free one.")] = 0,
    common: CommonOptions,
) -> None:
    """Build a page on which to move through the latent space, and serve it on this machine."""
    from pipeline.exploring.build import build
    from pipeline.exploring.serve import serve

    result = build(exports, latents, prepared, output)
    common.show(result, f"{output}: {result['files']} files, {result['bytes'] / 1e6:.1f} MB")
    if not build_only:
        serve(output, port, typer.echo)
