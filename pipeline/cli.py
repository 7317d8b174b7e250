"""The entry point of `vae`: the commands, and how the process ends whatever they do."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from pipeline.commands import bundles, jobs, stages, tools  # noqa: F401  (each registers its commands)
from pipeline.commands.app import app
from pipeline.errors import PipelineError
from pipeline.process import run_to_the_end


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
    # One line, whatever the names in it hold.
    line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
    typer.echo(f"error: {line}", err=True)
    sys.exit(1)
