"""``mvsa fit``: stage two, one head."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.cli.console import line, out, progress, show_json
from mvsa_pipe.cli.expand import completion, expand
from mvsa_pipe.cli.tables import add_references, add_scores, class_table, score_table
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.heads import HEADS
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.runs import Run


@expand
def fit(
    head: Annotated[
        str,
        typer.Option("--head", help="A fusion head: mvsa heads.", autocompletion=completion(HEADS)),
    ],
    data: DataChoice,
    caches: CacheChoice,
    training: TrainingOptions,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the head, as name=value; repeat for several."),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--name", help="The run's name; made from its parts unless named.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Train one head over cached features; select on validation, score the test part once."""
    HEADS.row(head)
    head_options = _pairs(options or [])
    from mvsa_pipe.experiment.prepare import needs_of, prepare
    from mvsa_pipe.experiment.run import refuse_early, run_head, save_run
    from mvsa_pipe.runs import checked_run_name, refuse_taken, require_writable

    refuse_early(head, head_options, training)
    if name is not None:
        refuse_taken(runs / checked_run_name(name))
    require_writable(runs)
    with progress() as screen:
        experiment = prepare(data, caches, needs_of([head]))
        for remark in experiment.remarks():
            screen.say(remark)
        result = run_head(experiment, head, head_options, training)
        run = save_run(experiment, result, training, runs, name)
    if json:
        show_json({"run": str(run.path), **run.metrics})
    else:
        _show(run)


def _pairs(options: list[str]) -> dict[str, str | int | float | bool]:
    pairs = [option.partition("=") for option in options]
    for option, (key, equals, _) in zip(options, pairs, strict=True):
        if not equals or not key:
            raise ConfigError("--set cannot be used", expected="name=value", found=repr(option))
    return {key: value for key, _, value in pairs}


def _show(run: "Run") -> None:
    metrics = run.metrics
    best = metrics["selected"]
    chosen = f"epoch {best['epoch']}" if "epoch" in best else f"strength {best['strength']:g}"
    table = score_table(f"{metrics['head']} on {metrics['protocol']}", "scored")
    name = ""
    for part, scores in metrics["scores"].items():
        held_out = "test" if part == "test" else "val (selected on)"
        name = f"{held_out}, {scores['posts']:,} posts"
        add_scores(table, name, scores)
    last = list(metrics["scores"])[-1]
    add_references(table, metrics["references"][last])
    out.print(table)
    out.print(class_table(metrics["scores"][last], f"each class, {name}"))
    line(
        f"{chosen} selected by {metrics['selected_by']}; {metrics['parameters']:,} parameters, "
        f"{metrics['seconds']:.1f} s on {metrics['device']}"
    )
    line(f"run: {run.path}")
