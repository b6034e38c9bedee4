"""``mvsa evaluate``: scores a run again on its own or other posts."""

from pathlib import Path
from typing import Annotated

import typer

from mvsa_pipe.cli.console import out, remark, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.score_tables import add_scores, class_table, score_table
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.runs.options import InferenceOptions


@expand
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    options: InferenceOptions,
    read: ReadOptions,
    shown: ScoreChoice,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Score a run again on its own split, or on other posts.

    Missing features are extracted first, by the run's own backbones.
    """
    from mvsa_pipe.runs import open_run
    from mvsa_pipe.runs.evaluate import evaluate as evaluate_run

    opened = open_run(run)
    with progress() as screen:
        done = evaluate_run(opened, options, screen, read if read != ReadOptions() else None)
    record = done.as_record()
    for line in done.table_notes():
        remark((line, "yellow"))
    if json:
        show_json({"run": str(run), **record})
        return
    table = score_table(f"{opened.title} on {done.protocol}", "scored", shown.chosen)
    name = f"{done.part}, {done.scores.posts:,} posts"
    add_scores(table, name, record["scores"], shown.chosen)
    out.print(table)
    out.print(class_table(record["scores"], f"each class, {name}"))
