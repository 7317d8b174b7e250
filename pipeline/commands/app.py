"""The application that every command registers with, and its help, which lists commands by group."""

from collections import defaultdict
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline import __version__

STAGES, JOBS, BUNDLES, TOOLS = "Pipeline stages", "Batch jobs", "Bundles of models", "Tools"
GROUPS = (STAGES, JOBS, BUNDLES, TOOLS)


class _Grouped(TyperGroup):
    """Lists commands under the heading that each was registered with, every description whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  (of click, which typer vendors)
        groups = defaultdict(list)
        for name, command in self.commands.items():
            assert isinstance(command, TyperCommand)  # noqa: S101
            groups[command.rich_help_panel].append((name, (command.help or "").partition("\n\n")[0]))
        for heading in GROUPS:
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


app = typer.Typer(
    cls=_Grouped,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Train a variational autoencoder of digits or other small images, export it to ONNX, run batch jobs with it."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
