"""``mvsa fit``: trains one head."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvsa_pipe.cli.console import line, out, show_json
from mvsa_pipe.cli.expand import completion, expand
from mvsa_pipe.cli.score_tables import add_references, add_scores, class_table, score_table
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.errors import ConfigError, MvsaError, RunError
from mvsa_pipe.heads import HEADS, named_head
from mvsa_pipe.metrics.options import DEFAULT_SCORES, ScoreChoice
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.runs.options import CacheChoice, DataChoice, SeedChoice, reproduce_command
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.runs import Run

HEAD_HELP = "A fusion head: mvsa heads, or FILE.py:CLASS, or package.module:CLASS."
_NAME_HELP = "The run's name; by default generated. Names of several runs end in their seeds."


@expand
def fit(
    head: Annotated[
        str,
        typer.Option("--head", help=HEAD_HELP, autocompletion=completion(HEADS)),
    ],
    data: DataChoice,
    caches: CacheChoice,
    training: TrainingOptions,
    seeds: SeedChoice,
    tracker: TrackerOptions,
    shown: ScoreChoice,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the head, as name=value. Repeatable."),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    name: Annotated[str | None, typer.Option("--name", help=_NAME_HELP)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Train one head over cached features; select on validation, score the test part once."""
    head = named_head(head)
    head_options = head_pairs(options or [])
    from mvsa_pipe.runs.fit_plan import FitPlan
    from mvsa_pipe.runs.prepare import prepare_heads
    from mvsa_pipe.tracking.listener import tracking

    plan = FitPlan(head, head_options, training, seeds, runs, name)
    plan.check()
    with progress() as screen, tracking(tracker, runs, screen.say) as tracked:
        results = plan.run(prepare_heads(data, caches, [head]), screen, tracked)
    failed = [result for result in results if isinstance(result, MvsaError)]
    done = [result for result in results if not isinstance(result, MvsaError)]
    if json and done:
        records = [{"run": str(run.path), **run.metrics} for run in done]
        show_json(records[0] if len(results) == 1 else {"runs": records})
    elif not json:
        for run in done:
            show_run(run, shown.chosen)
            line(f"how to repeat: {reproduce_command(str(run.path), caches)}")
    if failed:
        raise failed[0] if not done else _some_failed(failed, len(results))


def _some_failed(failed: list[MvsaError], runs: int) -> MvsaError:
    return RunError(
        f"{len(failed)} of {runs} runs failed; the others are kept",
        found=failed[0].paragraph(),
    )


def head_pairs(options: list[str]) -> dict[str, str | int | float | bool]:
    """Options of a head from the values of ``--set``.

    Raises:
        ConfigError: An option has no name or no value.
    """
    pairs = [option.partition("=") for option in options]
    for option, (key, equals, _) in zip(options, pairs, strict=True):
        if not equals or not key:
            raise ConfigError("--set cannot be used", expected="name=value", found=repr(option))
    return {key: value for key, _, value in pairs}


def show_run(run: "Run", shown: Sequence[Score] = DEFAULT_SCORES) -> None:
    """Prints the scores and the path of a new run."""
    metrics = run.metrics
    table = score_table(f"{run.title} on {metrics['protocol']}", "scored", shown)
    name = ""
    for part, scores in metrics["scores"].items():
        held_out = "test" if part == "test" else "val (selected on)"
        name = f"{held_out}, {scores['posts']:,} posts"
        add_scores(table, name, scores, shown)
    last = list(metrics["scores"])[-1]
    add_references(table, metrics["references"][last], scores=shown)
    out.print(table)
    out.print(class_table(metrics["scores"][last], f"each class, {name}"))
    line(
        f"{_chosen(metrics['selected'])} selected by {metrics['selected_by']}; "
        f"{metrics['parameters']:,} parameters, {metrics['seconds']:.1f} s on {metrics['device']}"
    )
    line(f"run: {run.path}")


def _chosen(selected: dict[str, Any] | list[dict[str, Any]]) -> str:
    """The epoch or strength selected on validation, for each member of an ensemble."""
    picked = selected if isinstance(selected, list) else [selected]
    what = "epoch" if "epoch" in picked[0] else "strength"
    plural = "s" if len(picked) > 1 else ""
    return f"{what}{plural} {', '.join(f'{entry[what]:g}' for entry in picked)}"
