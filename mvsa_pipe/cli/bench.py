"""``mvsa bench``: trains and compares heads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from mvsa_pipe.analysis.options import LeakOptions
from mvsa_pipe.benches.options import BenchOptions, bench_command
from mvsa_pipe.cli.console import line, out, remark, show_json
from mvsa_pipe.cli.evidence import show_evidence
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.score_tables import add_ceilings, add_references, score_interval, score_table
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import NOT_RECORDED, add_numbers
from mvsa_pipe.metrics.options import DEFAULT_SCORES, ScoreChoice
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.runs.options import CacheChoice, DataChoice, reproduce_command
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.benches.summary import Bench, EnsembleSummary, HeadSummary

# In narrower terminals the interval is printed below the score.
_WIDE_COLUMNS = 130
# In narrower ones, what a run costs is one column.
_TWO_COST_COLUMNS = 100
# Columns of a score with its deviation, and of all else; no table has fewer scores than asked for
# or this many.
_SCORE_COLUMNS, _OTHER_COLUMNS, _LEAST_TOGETHER = 17, 44, 3


@expand
def bench(
    options: BenchOptions,
    data: DataChoice,
    caches: CacheChoice,
    training: TrainingOptions,
    tracker: TrackerOptions,
    shown: ScoreChoice,
    leaks: LeakOptions,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    report: Annotated[
        bool, typer.Option("--report", help="Write the page of the bench beside its record.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Train and compare heads with several seeds over one or more pairs of backbones.

    A failed run, for example one that diverges, is recorded with its error; the others continue,
    and the exit code is 1.
    """
    from mvsa_pipe.analysis.evidence_words import judge_bench
    from mvsa_pipe.benches.run import run_bench, save_bench
    from mvsa_pipe.runs import require_writable
    from mvsa_pipe.tracking.listener import tracking

    require_writable(runs)
    with progress() as screen:
        with tracking(tracker, runs, screen.say) as tracked:
            done = run_bench(data, caches, options, training, screen, runs, tracked)
        verdict = judge_bench(done, leaks, screen, shown.chosen[0])
    command = bench_command(runs, options, data, caches, training, shown, leaks)
    more = {"command": command} | ({} if verdict is None else verdict.as_record())
    path = save_bench(done, runs, more)
    page = write_page(path, shown.chosen, leaks.near_cosine) if report else None
    if json:
        show_json(done.as_record() | more)
    else:
        show_bench(done, shown.chosen)
        if verdict is not None:
            show_evidence(verdict.evidence, verdict.sentences)
        line(f"records: {path}")
        if page is not None:
            line(f"report: {page}")
        line(f"how to repeat, with another --runs: {command}")
        line(f"or one of its runs: {reproduce_command('RUN', caches)}")
    if done.failed:
        raise typer.Exit(1)


def write_page(record: Path, scores: Sequence[Score], near_cosine: float) -> Path | None:
    """Writes the report of a bench beside its record; ``None`` if it cannot be, which is printed.

    The runs and the record are kept in any case.
    """
    from mvsa_pipe.errors import MvsaError
    from mvsa_pipe.reports.options import REPORT_FILE, ReportOptions
    from mvsa_pipe.reports.write import write_report

    settings = ReportOptions(output=record.with_name(REPORT_FILE), near_cosine=near_cosine)
    try:
        with progress() as screen:
            return write_report([record], settings, screen, scores)
    except MvsaError as error:
        remark(("no report: ", "yellow"), error.paragraph())
        return None


def show_bench(done: "Bench", scores: Sequence[Score] = DEFAULT_SCORES) -> None:
    """Prints the table of a bench, with heads in the order in which they were named.

    Scores that are too many for one table of the terminal's width are shown in several.
    """
    together = max(_LEAST_TOGETHER, (out.width - _OTHER_COLUMNS) // _SCORE_COLUMNS)
    for start in range(0, len(scores), together):
        out.print(_table(done, scores[start : start + together]))
    if done.matched:
        from mvsa_pipe.benches.matched_parameters import in_words

        for budget in dict.fromkeys(head.budget for head in done.matched):
            line((in_words([head for head in done.matched if head.budget == budget]), "dim"))
    seeds = max((row.seeds for row in done.rows), default=0)
    for run in done.failed:
        trial = run.trial
        details = (trial.spec.head, trial.pair, trial.setting, f"seed {trial.spec.training.seed}")
        named = ", ".join(filter(None, details))
        line(("failed: ", "red"), f"{named}: {run.reason}")
    if done.rows:
        _explain(done, seeds)


def _table(done: "Bench", scores: Sequence[Score]) -> Table:
    note = "test" if done.part == "test" else "val, on which epochs were selected: optimistic"
    backbones = " + ".join(done.backbones.values())
    table = score_table(f"{done.protocol} · {backbones} · {note}", "head", scores)
    if out.width >= _TWO_COST_COLUMNS:
        add_numbers(table, "parameters", "s/run")
    else:
        table.add_column(Text("s/run\nparameters"), justify="right", no_wrap=True)
    leaders = {k: _best(k, [row.mean for row in done.rows]) for k in scores}
    ensembles = {(row.head, row.pair, row.setting): row for row in done.ensembles}
    best = {k: _best(k, [row.values for row in done.ensembles]) for k in scores}
    pair = done.rows[0].pair if done.rows else ""
    for row in done.rows:
        if row.pair != pair:
            table.add_section()
            pair = row.pair
        cells = [_cell(row, k, leaders[k]) for k in scores]
        table.add_row(_name(row), *cells, *_costs(row.parameters, row.seconds))
        if ensemble := ensembles.get((row.head, row.pair, row.setting)):
            own = [_ensemble_cell(ensemble, k, best[k]) for k in scores]
            averaged = Text(f"  {row.seeds} averaged", "italic")
            costs = _costs(row.seeds * row.parameters, row.seeds * row.seconds)
            table.add_row(averaged, *own, *costs)
    for blend in done.blends:
        if blend is done.blends[0]:
            table.add_section()
        cells = [_cell(blend, k, None) for k in scores]
        table.add_row(_name(blend), *cells, *_costs(blend.parameters, blend.seconds))
    for name in _without_rows(done):
        table.add_row(name, *[Text("failed", "red") for _ in scores])
    table.add_section()
    add_references(table, done.references, scores=scores)
    add_ceilings(table, done.ceilings, scores)
    return table


def _explain(done: "Bench", seeds: int) -> None:
    """Prints the legend of the table."""
    what = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    over = "posts and seeds" if seeds > 1 else "posts"
    if done.protocol.endswith("/all-folds"):
        what, over = "mean ± standard deviation over folds and seeds", "folds, corrected t"
    elif done.protocol.endswith("/seed-varied"):
        over = "splits, corrected t"
    line((f"{what}, [95 % interval over {over}]", "dim"))
    if done.ensembles:
        line(("averaged: one prediction from the mean of all seeds' probabilities", "dim"))
    if done.blends:
        line(("blend: mean over backbones, weighted by likelihood on validation", "dim"))
    for blend in done.blends:
        shares = ", ".join(f"{pair} {weight:.2f}" for pair, weight in blend.weights.items())
        line((f"weights of {blend.head}: {shares}", "dim"))
    if done.seconds:
        spent = {name: f"{name} {seconds:,.1f} s" for name, seconds in done.seconds.items()}
        summed = f"summed over runs {spent['training']}, {spent['scoring']}"
        line((f"{spent['wall']}, {spent['loading']}; {summed}", "dim"))
    if not all(row.batch_independent for row in done.rows):
        line(("†", "yellow"), (" a post's prediction depends on its batch, as published", "dim"))


def _costs(parameters: int, seconds: float) -> list[Text]:
    """Cells of what a run costs; one above the other in narrow terminals."""
    cells = [f"{parameters:,}", f"{seconds:.1f}"]
    return list(map(Text, cells if out.width >= _TWO_COST_COLUMNS else ["\n".join(cells[::-1])]))


def _name(row: "HeadSummary") -> Text:
    """A head's name, with pair, setting and failures on separate lines."""
    name = Text.assemble(row.head, ("" if row.batch_independent else " †", "yellow"))
    for detail in filter(None, (row.pair, row.setting)):
        name.append(f"\n{detail}", "dim")
    if row.failed:
        name.append(f"\n{row.seeds} of {row.seeds + row.failed} seeds", "red")
    return name


def _without_rows(done: "Bench") -> list[Text]:
    """Names of heads and settings whose runs all failed, each once."""
    shown = {(row.head, row.pair, row.setting) for row in done.rows}
    every = dict.fromkeys(
        (run.trial.spec.head, run.trial.pair, run.trial.setting) for run in done.failed
    )
    names = []
    for head, *details in (key for key in every if key not in shown):
        name = Text(head)
        for detail in filter(None, details):
            name.append(f"\n{detail}", "dim")
        names.append(name)
    return names


def _best(score: Score, rows: Sequence[Mapping[str, float]]) -> float | None:
    """The best of some values of a score; ``None`` where no row has one."""
    return max((row[score] for row in rows if score in row), key=score.gain, default=None)


def _cell(row: "HeadSummary", score: Score, best: float | None) -> Text:
    if score not in row.mean:
        return Text(NOT_RECORDED)
    figure = score.shown(row.mean[score])
    if row.seeds > 1:
        figure += f" ± {score.shown(row.deviation[score])}"
    return _with_bounds(figure, score, row.interval[score], best=row.mean[score] == best)


def _ensemble_cell(row: "EnsembleSummary", score: Score, best: float | None) -> Text:
    if score not in row.values:
        return Text(NOT_RECORDED)
    value = row.values[score]
    return _with_bounds(score.shown(value), score, row.interval[score], best=value == best)


def _with_bounds(figure: str, score: Score, bounds: Sequence[float], *, best: bool) -> Text:
    between = " " if out.width >= _WIDE_COLUMNS else "\n"
    shown = f"{between}{score_interval(score, bounds)}"
    return Text.assemble((figure, "bold" if best else ""), (shown, "dim"))
