"""What can be asked of exported models, wherever they lie."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.app import BUNDLES, app
from pipeline.commands.options import AsJson, CommonOptions


@app.command(rich_help_panel=BUNDLES)
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder with a manifest.json.")] = Path("exports"),
    as_json: AsJson = False,
) -> None:
    """Check a bundle: the bytes of its files, interfaces, test vectors, and every variant within its budget."""
    common = CommonOptions(quiet=True, as_json=as_json)
    from pipeline.tools.verify import verify as check

    report = check(folder)
    common.show(asdict(report), f"{report}\n{folder}: {report.files} files as listed, all models as described")


@app.command(rich_help_panel=BUNDLES)
def info(model: Annotated[Path, typer.Argument(help="The ONNX file.")], as_json: AsJson = False) -> None:
    """Say what an ONNX file is, from the file alone."""
    common = CommonOptions(quiet=True, as_json=as_json)
    from pipeline.tools.verify import info as describe

    about = describe(model)
    common.show(asdict(about), str(about))
