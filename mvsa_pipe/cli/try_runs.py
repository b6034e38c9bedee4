"""``mvsa try``: serves a page on which runs answer a text and a picture."""

from pathlib import Path
from typing import Annotated

import typer

from mvsa_pipe.cli.console import line, remark
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.try_page.options import TryOptions


@expand
def try_runs(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders and exported folders, side by side.")
    ],
    options: TryOptions,
) -> None:
    """Serve a local page on which runs answer a text and a picture, side by side.

    The page shows the probability of each class, the same with text or picture left out, and the
    words and patches that heads attend to. Only this machine can open it. Ctrl+C ends it.
    """
    from mvsa_pipe.try_page.models import open_models
    from mvsa_pipe.try_page.serving import require_gradio, served, wait_for_interrupt

    require_gradio()
    with progress() as screen:
        models = open_models(runs, options, screen)
    with served(models, options) as (local, public):
        line(("page: ", "bold"), local)
        if public is not None:
            remark(("shared: ", "yellow"), f"{public}, open to everyone who knows the address")
        line("Ctrl+C ends it")
        wait_for_interrupt()
