"""``mvsa reproduce``: trains a run again from its record."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.cli.console import line, out, sentence, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.runs.options import ReproduceOptions

if TYPE_CHECKING:
    from mvsa_pipe.runs.reproduction import Reproduction

_STYLES = {"same": "bold green", "within noise": "bold yellow", "different": "bold red"}
_METHOD = (
    "same: probabilities differ by their last decimal at most; within noise: 90 % intervals of the "
    "differences lie within half the recorded 95 % interval over posts (two one-sided tests, "
    "Schuirmann 1987), and McNemar's test shows none"
)


@expand
def reproduce(
    run: Annotated[Path, typer.Argument(help="A run folder; it is only read.")],
    options: ReproduceOptions,
    shown: ScoreChoice,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Train a run again from its record: same, within noise, or different.

    The same posts, parts, features, options and seeds are used. The exit code is 1 if the result is
    different.
    """
    from mvsa_pipe.runs import open_run
    from mvsa_pipe.runs.reproduce import reproduce as train_again

    opened = open_run(run)
    with progress() as screen:
        done = train_again(opened, options, screen)
    if json:
        show_json(done.as_record())
    else:
        _show(done, shown.chosen)
    if not done.reproduced:
        raise typer.Exit(1)


def _show(done: "Reproduction", shown: tuple[Score, ...]) -> None:
    table = titled(f"{done.title} on {done.protocol}", "part", "score")
    add_numbers(table, "recorded", "again", "difference")
    for part, values in done.scores.items():
        for score in shown:
            if score in values:
                then, now = values[score]
                change = f"{100 * (now - then):+.2f}" if score.row.percent else f"{now - then:+.4f}"
                table.add_row(part, score.row.title, score.shown(then), score.shown(now), change)
    out.print(table)
    answer = done.answer.value
    line((answer, _STYLES[answer]), f": {done.run}")
    for text in done.table_notes():
        sentence(text)
    if answer != "same":
        line((_METHOD, "dim"))
