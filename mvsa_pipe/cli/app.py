"""The command ``mvsa``: its verbs, and the conversion of errors to messages and exit codes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from mvsa_pipe import __version__
from mvsa_pipe.cli.console import (
    report_error,
    report_interrupt,
    report_lost_output,
    report_refusal,
    report_surprise,
)
from mvsa_pipe.cli.streams import output_fault
from mvsa_pipe.cli.verbs import LazyGroup
from mvsa_pipe.errors import MvsaError, StorageError
from mvsa_pipe.printable import printable

# The exit code with which shells report a program that Ctrl-C ended.
_INTERRUPTED = 130
_DEFECT = 3


class _Verbs(LazyGroup):
    """Converts any exception of a verb to one paragraph and an exit code."""

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as click's
        with _printable_usage_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # click's context, in click or typer
        try:
            with _printable_usage_errors():
                result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            report_interrupt()
            raise typer.Exit(_INTERRUPTED) from None
        except MvsaError as error:
            if ctx.params["_debug"]:
                raise
            report_error(error)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:
            # typer shows its own usage errors and exits itself.
            if (
                ctx.params["_debug"]
                or hasattr(error, "exit_code")
                or isinstance(error, typer.Abort)
            ):
                raise
            if isinstance(error, UnicodeEncodeError | OSError | MemoryError):
                report_refusal(error)
                raise typer.Exit(MvsaError.exit_code) from None
            report_surprise(error)
            raise typer.Exit(_DEFECT) from None
        fault = output_fault()
        if fault is not None:
            report_lost_output(fault)
            raise typer.Exit(StorageError.exit_code)
        return result


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    """Sanitises the parts of the command line that typer's own errors quote."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):
            for name, value in vars(error).items():
                if isinstance(value, str):
                    setattr(error, name, printable(value))
        raise


app = typer.Typer(
    name="mvsa",
    cls=_Verbs,
    help="Benchmark how text and image are fused for sentiment: frozen backbones run once, "
    "any fusion head trains over the cached features in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
    """Options before the verb."""


def main() -> None:
    """Runs the command line; exit codes: 0 done, 1 failed check, 2 bad input, 3 defect."""
    app(prog_name="mvsa")
