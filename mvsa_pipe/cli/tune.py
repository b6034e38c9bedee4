"""``mvsa tune``: tunes heads on validation, and replays the chosen settings with fresh seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.analysis.options import LeakOptions
from mvsa_pipe.benches.tune_options import TuneOptions
from mvsa_pipe.cli.bench import show_bench
from mvsa_pipe.cli.console import line, out, sentence, show_json
from mvsa_pipe.cli.evidence import show_evidence
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.benches.tuning import Tuning

# Trials that the table shows, best first.
_SHOWN_TRIALS = 5


@expand
def tune(
    options: TuneOptions,
    data: DataChoice,
    caches: CacheChoice,
    training: TrainingOptions,
    shown: ScoreChoice,
    leaks: LeakOptions,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Tune heads on validation with equal budgets, then replay them with fresh seeds.

    The search never sees the test part. The chosen setting and the defaults are then trained with
    seeds that no trial used, and scored on test. A stopped search continues where it stopped.
    """
    from mvsa_pipe.analysis.evidence_words import judge_bench
    from mvsa_pipe.benches.run import save_bench
    from mvsa_pipe.benches.tuning import luck_sentence
    from mvsa_pipe.benches.tuning import tune as tune_heads
    from mvsa_pipe.runs import require_writable

    require_writable(runs)
    with progress() as screen:
        done = tune_heads(data, caches, options, training, screen, runs)
        verdict = judge_bench(done.bench, leaks, screen, shown.chosen[0])
    record = done.as_record() | ({} if verdict is None else verdict.as_record())
    path = save_bench(done.bench, runs, record)
    if json:
        show_json(done.bench.as_record() | record)
    else:
        _show_trials(done)
        show_bench(done.bench, shown.chosen)
        if verdict is not None:
            show_evidence(verdict.evidence, verdict.sentences)
        for head in done.heads:
            sentence(luck_sentence(head))
        line(f"records: {path}")
    if done.bench.failed:
        raise typer.Exit(1)


def _show_trials(done: "Tuning") -> None:
    from mvsa_pipe.benches.search_space import described

    for head in done.heads:
        states = [trial.state for trial in head.trials]
        counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
        score = head.select
        table = titled(f"{head.head}: trials on validation ({counts})", "setting")
        add_numbers(table, score.heading)
        complete = [trial for trial in head.trials if trial.run and trial.score is not None]
        complete.sort(key=lambda trial: score.gain(trial.score or 0.0), reverse=True)
        for trial in complete[:_SHOWN_TRIALS]:
            table.add_row(described(trial.values), score.shown(trial.score or 0.0))
        out.print(table)
