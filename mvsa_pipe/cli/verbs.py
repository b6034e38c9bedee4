"""The verbs of ``mvsa``: a table, and a group that imports a verb when it runs.

``mvsa --help`` and the completion of a verb's name only read the table, and a verb does not import
the other verbs.
"""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mvsa_pipe.registry import Registry, Row


def _row(name: str, target: str, summary: str) -> Row:
    return Row(name, f"mvsa_pipe.cli.{target}", summary)


VERBS: Registry[Callable[..., None] | typer.Typer] = Registry(
    "verb",
    [
        _row(
            "quickstart",
            "quickstart:quickstart",
            "Try everything offline: synthetic posts, tiny backbones, every head, a known ceiling.",
        ),
        _row("data", "data:app", "Check data sets, and write synthetic ones."),
        _row(
            "extract",
            "extract:extract",
            "Run frozen backbones over all posts once and cache their features.",
        ),
        _row("cache", "cache:app", "List, verify, repair, merge and export caches."),
        _row(
            "fit",
            "fit:fit",
            "Train one head over cached features; select on validation, score the test part once.",
        ),
        _row(
            "finetune",
            "finetune:finetune",
            "Train backbones and head together, to measure the effect of freezing.",
        ),
        _row(
            "evaluate",
            "evaluate:evaluate",
            "Score a run again on its own split, or on other posts.",
        ),
        _row(
            "predict",
            "predict:predict",
            "Predict one post (--text and --image) or a table of posts (--data).",
        ),
        _row(
            "bench",
            "bench:bench",
            "Train and compare heads with several seeds over one or more pairs of backbones.",
        ),
        _row(
            "reproduce",
            "reproduce:reproduce",
            "Train a run again from its record: same, within noise, or different.",
        ),
        _row(
            "tune",
            "tune:tune",
            "Tune heads on validation with equal budgets, then replay them with fresh seeds.",
        ),
        _row(
            "compare",
            "compare:compare",
            "Compare runs on the same posts: scores, paired tests and costs, from their records.",
        ),
        _row(
            "analyze",
            "analyze:app",
            "Analyse runs: what modalities contribute, calibration, robustness, labels and more.",
        ),
        _row(
            "report",
            "report:report",
            "Write a page about runs: verdict, leaderboard, plots, costs, claims, how to repeat.",
        ),
        _row(
            "export",
            "export:export",
            "Write a run as a self-contained folder: head, backbones, model card.",
        ),
        _row(
            "try",
            "try_runs:try_runs",
            "Serve a local page on which runs answer a text and a picture, side by side.",
        ),
        _row(
            "claims",
            "claims:claims",
            "List published results with protocol, selection, source and audit notes.",
        ),
        _row("heads", "heads:app", "List the fusion heads, one line each."),
        _row(
            "backbones",
            "backbones:backbones",
            "List the frozen backbones, and size, licence and source of published weights.",
        ),
    ],
)


class LazyGroup(TyperGroup):
    """A group that lists its verbs from the table and imports only the verb that is called."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # as typer's
        listed = {row.name: TyperCommand(row.name, help=row.summary) for row in VERBS}
        super().__init__(**options | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # as typer's
        """Replaces the table's row of the verb by the verb itself."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load_verb(name), rest


def load_verb(name: str) -> Any:  # noqa: ANN401  # click's command, in click or typer
    """Imports a verb and returns its command, or the group of its commands.

    Raises:
        UnknownNameError: No verb has that name.
    """
    found = VERBS.load(name)
    if not isinstance(found, typer.Typer):
        found = _alone(found)
    command = typer.main.get_command(found)
    command.name = name
    return command


def _alone(verb: Callable[..., None]) -> typer.Typer:
    from mvsa_pipe.cli.expand import Verb

    app = typer.Typer(add_completion=False)
    app.command(cls=Verb)(verb)
    return app
