"""The batch jobs on ONNX Runtime."""

import contextlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.app import JOBS, app
from pipeline.commands.options import (
    Decoder,
    Encoder,
    Images,
    JobOptions,
    PileOptions,
    Result,
    Scorer,
    Size,
    Softness,
    grouped,
)

ENCODER, DECODER, SCORER = Path("exports/encoder"), Path("exports/decoder"), Path("exports/scorer")


@app.command(rich_help_panel=JOBS)
@grouped
def encode(images: Images, output: Result, *, encoder: Encoder = ENCODER, pile: PileOptions, job: JobOptions) -> None:
    """Turn images into latents."""
    from pipeline.inference.session import Encoder
    from pipeline.jobs.encode import encode
    from pipeline.jobs.target import open_target
    from pipeline.sources.images import open_images

    target = open_target(output, job.format)
    model = Encoder(encoder, **job.model)
    with open_images(images, **pile.reading) as source:
        job.finish(encode(model, source, target, job.run(pile.limit), dry_run=job.dry_run))


@app.command(rich_help_panel=JOBS)
@grouped
def score(
    images: Images,
    output: Result,
    *,
    scorer: Scorer = SCORER,
    most: Annotated[
        int, typer.Option(min=0, max=1000, help="Show so many of the strangest images in a picture beside the result.")
    ] = 0,
    latents: Annotated[bool, typer.Option("--latents", help="Write z_mean too, which `vae compare` looks at.")] = False,
    pile: PileOptions,
    job: JobOptions,
) -> None:
    """Say how unusual each image is beside those that the model was trained on."""
    from pipeline.inference.session import Scorer
    from pipeline.jobs.score import score
    from pipeline.jobs.target import open_target
    from pipeline.sources.images import open_images

    target = open_target(output, job.format)
    model = Scorer(scorer, **job.model)
    with open_images(images, **pile.reading) as source:
        options = job.run(pile.limit)
        job.finish(score(model, source, target, options, latents=latents, most=most, dry_run=job.dry_run))


@app.command(rich_help_panel=JOBS)
@grouped
def reconstruct(
    images: Images,
    output: Result,
    *,
    encoder: Encoder = ENCODER,
    decoder: Decoder = DECODER,
    size: Size = None,
    softness: Softness = None,
    pile: PileOptions,
    job: JobOptions,
) -> None:
    """Turn images into latents and back into images, of any size; a PNG shows the first pairs, x.png is one of all."""
    from pipeline.inference.session import Decoder, Encoder
    from pipeline.jobs.reconstruct import reconstruct
    from pipeline.jobs.target import open_target
    from pipeline.sources.images import open_images

    target = open_target(output, job.format)
    models = Encoder(encoder, **job.model), Decoder(decoder, **job.model)
    with open_images(images, **pile.reading) as source:
        options = job.run(pile.limit)
        job.finish(reconstruct(*models, source, target, options, size=size, softness=softness, dry_run=job.dry_run))


@app.command(rich_help_panel=JOBS)
@grouped
def generate(
    output: Result,
    *,
    decoder: Decoder = DECODER,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many latents to draw, or to take from the start of --latents.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The seed of the draws.  [default: 0]")] = None,
    sampler: Annotated[
        Literal["prior", "mixture"] | None,
        typer.Option(
            help="What to draw from: the prior N(0, I), or the mixture that lies beside the decoder.  "
            "[default: the mixture, or without one the prior]"
        ),
    ] = None,
    latents: Annotated[
        str | None,
        typer.Option(
            help="Decode these latents instead: the output of a job; .npy, .npz, .parquet, .arrow or .csv; or a folder "
            "or glob of such files; or its URL."
        ),
    ] = None,
    originals: Annotated[
        str | None, typer.Option(help="The images that --latents were encoded from, to be drawn above the decoded.")
    ] = None,
    manifold: Annotated[
        int | None,
        typer.Option(min=2, max=1000, help="Decode a grid of this side over the quantiles of the prior instead."),
    ] = None,
    size: Size = None,
    softness: Softness = None,
    job: JobOptions,
) -> None:
    """Turn latents, drawn at random or given, into images of any size; a PNG shows the first, x.png is one of all."""
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
    from pipeline.jobs.generate import generate
    from pipeline.jobs.latents import choose_latents
    from pipeline.jobs.target import open_target
    from pipeline.shared.interface import MIXTURE
    from pipeline.sources.images import open_images

    target = open_target(output, job.format)
    model = Decoder(decoder, **job.model)
    source = choose_latents(
        model.latent_dim,
        count=count,
        seed=seed or 0,
        path=latents,
        side=manifold,
        fitted=model.path.parent / MIXTURE.role,
        sampler=sampler,
    )
    with open_images(originals) if originals else contextlib.nullcontext() as pile:
        result = generate(
            model,
            source,
            target,
            job.run(),
            originals=pile,
            size=size,
            softness=softness,
            dry_run=job.dry_run,
        )
        job.finish(result)
