"""``mvsa evaluate``: a run scored again, or on other posts."""

from pathlib import Path
from typing import Annotated

import typer

from mvsa_pipe.cli.console import out, progress, remark, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import add_scores, class_table, score_table
from mvsa_pipe.inference.options import InferenceOptions
from mvsa_pipe.posts.formats import ReadOptions


@expand
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    options: InferenceOptions,
    read: ReadOptions,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Score a run again on its own split, or on other posts.

    Features that the cache lacks are extracted first, by the backbones that the run was made with.
    """
    from mvsa_pipe.inference.evaluate import evaluate as evaluate_run
    from mvsa_pipe.runs import open_run

    opened = open_run(run)
    with progress() as screen:
        done = evaluate_run(opened, options, screen, read if read != ReadOptions() else None)
    record = done.as_record()
    for count, what in (
        (len(done.left_out), "were left out, as they cannot be read"),
        (len(done.relabelled), "have another label now than when the run was made"),
    ):
        if count:
            remark((f"{count:,} of these posts {what}", "yellow"))
    if json:
        show_json({"run": str(run), **record})
        return
    table = score_table(f"{opened.title} on {done.protocol}", "scored")
    name = f"{done.part}, {done.scores.posts:,} posts"
    add_scores(table, name, record["scores"])
    out.print(table)
    out.print(class_table(record["scores"], f"each class, {name}"))
