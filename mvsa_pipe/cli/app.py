"""All verbs under one roof, and what becomes of errors."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mvsa_pipe import __version__
from mvsa_pipe.cli import cache, data
from mvsa_pipe.cli.backbones import backbones
from mvsa_pipe.cli.bench import bench
from mvsa_pipe.cli.compare import compare
from mvsa_pipe.cli.console import report_error, report_interrupt, report_surprise
from mvsa_pipe.cli.evaluate import evaluate
from mvsa_pipe.cli.export import export
from mvsa_pipe.cli.extract import extract
from mvsa_pipe.cli.finetune import finetune
from mvsa_pipe.cli.fit import fit
from mvsa_pipe.cli.heads import heads
from mvsa_pipe.cli.predict import predict
from mvsa_pipe.cli.quickstart import quickstart
from mvsa_pipe.errors import MvsaError

# Shells report a program that Ctrl-C ended with this code.
_INTERRUPTED = 130
_DEFECT = 3


class _Verbs(TyperGroup):
    """Turns whatever a verb raises into one paragraph and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # click's context, in whatever package it is
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            report_interrupt()
            raise typer.Exit(_INTERRUPTED) from None
        except MvsaError as error:
            if ctx.params["_debug"]:
                raise
            report_error(error)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:
            # Usage errors and exits are the framework's own, which shows them itself.
            if (
                ctx.params["_debug"]
                or hasattr(error, "exit_code")
                or isinstance(error, typer.Abort)
            ):
                raise
            if isinstance(error, BrokenPipeError):
                _close_output()
                raise typer.Exit(0) from None
            report_surprise(error)
            raise typer.Exit(_DEFECT) from None


def _close_output() -> None:
    """Lets Python shut down in peace when the reader of its output, head or less, has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="mvsa",
    cls=_Verbs,
    help="Benchmark how text and image are fused for sentiment: frozen backbones run once, "
    "any fusion head trains over the cached features in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(quickstart)
app.add_typer(data.app, name="data")
app.command()(extract)
app.add_typer(cache.app, name="cache")
for _verb in (fit, finetune, evaluate, predict, bench, compare, export, heads, backbones):
    app.command()(_verb)


def _show_version(wanted: bool) -> None:  # typer's callback
    if wanted:
        typer.echo(f"mvsa-pipe {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _debug: Annotated[
        bool, typer.Option("--debug", envvar="MVSA_DEBUG", help="Show tracebacks of errors.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options that stand before every verb."""


def main() -> None:
    """Runs the command line; exit code 0 done, 1 a check failed, 2 bad input, 3 our defect."""
    app(prog_name="mvsa")
