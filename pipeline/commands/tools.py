"""Commands that help to run the others."""

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.app import TOOLS, app
from pipeline.commands.options import AsJson, CommonOptions, Exports, grouped


@app.command(rich_help_panel=TOOLS)
@grouped
def bench(
    exports: Exports = Path("exports"),
    *,
    sources: Annotated[
        bool, typer.Option("--sources", help="Measure instead how fast piles of each kind are read and encoded.")
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="How many images; temporary files of 784 bytes for each are written.  "
            "[default: 1,000,000; 50,000 with --sources]",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=2, help="How many rounds at least; there are more where their figures disagree.")
    ] = 5,
    common: CommonOptions,
) -> None:
    """Measure how fast this machine encodes, decodes and scores, as shares of the rate of its matrix products."""
    log = logging.getLogger("pipeline").info
    if sources:
        from pipeline.tools.bench_sources import bench_sources

        speeds = bench_sources(exports, images or 50_000, rounds, log)
        common.show(asdict(speeds), str(speeds))
        return
    from pipeline.tools.bench import bench as measure

    report = measure(exports, images or 1_000_000, rounds, log)
    common.show(asdict(report), str(report))


@app.command(rich_help_panel=TOOLS)
def compare(
    usual: Annotated[
        str,
        typer.Argument(
            help="What is usual: scores that `vae score` wrote, their URL, or a bundle that holds a scorer."
        ),
    ],
    pile: Annotated[str, typer.Argument(help="The scores to judge, or their URL.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The picture of both distributions to write, a PNG.")
    ] = None,
    fail_over: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Exit with 4 if the population stability index of the score, or of a latent, is more than this. It "
            "is then the threshold of the verdict as well.  [default: exit with 0; the threshold is 0.2]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a pile has drifted: its scores beside those of another, or beside what is usual for the bundle."""
    common = CommonOptions(quiet=True, as_json=as_json)
    if fail_over is not None and math.isnan(fail_over):
        raise typer.BadParameter("--fail-over is nan, expected a number from 0 on")
    from pipeline.measures.drift import THRESHOLD
    from pipeline.tools.compare import compare as judge

    comparison = judge(usual, pile, THRESHOLD if fail_over is None else fail_over, output)
    common.show(asdict(comparison), str(comparison))
    if fail_over is not None and comparison.drifted:
        raise typer.Exit(4)


@app.command(rich_help_panel=TOOLS)
def preset(
    name: Annotated[str | None, typer.Argument(help="The preset; without one, all are listed.")] = None,
    folder: Annotated[Path, typer.Option(help="The folder of the presets.")] = Path("preset"),
) -> None:
    """Print a preset as options of DVC: dvc exp run $(vae preset compact)."""
    from pipeline.presets import list_presets, read_preset

    if name is None:
        for found, about in list_presets(folder):
            typer.echo(f"{found:<12}{about}")
    else:
        typer.echo(" ".join(f"-S {override}" for override in read_preset(folder, name)))
