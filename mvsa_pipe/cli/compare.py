"""``mvsa compare``: compares runs by their records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.cli.console import interval, line, out, sentence, show_json, size
from mvsa_pipe.cli.evidence import show_evidence
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.score_tables import add_references, add_scores, score_table
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import NOT_RECORDED, add_numbers, titled
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.metrics.score_table import Score

if TYPE_CHECKING:
    from mvsa_pipe.analysis.compare import Comparison

# In narrower terminals an interval is printed below its value.
_WIDE_COLUMNS = 100


@expand
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; all others are compared with the first.")
    ],
    options: CompareOptions,
    shown: ScoreChoice,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compare runs on the same posts: scores, paired tests and costs, from their records.

    Nothing is computed again. Runs over different posts are refused, unless --shared-posts
    compares them on the posts that all of them held out.
    """
    from mvsa_pipe.analysis.compare import compare as compare_runs
    from mvsa_pipe.analysis.evidence_words import judge_runs
    from mvsa_pipe.analysis.sentences import sentences
    from mvsa_pipe.runs import open_run

    opened = [open_run(path) for path in runs]
    done = compare_runs(opened, options)
    words = sentences(done)
    with progress() as screen:
        verdict = judge_runs(opened, options, screen, shown.chosen[0])
    if json:
        show_json({**done.as_record(), "sentences": words, **verdict.as_record()})
        return
    record = done.as_record()
    _show_scores(done, record, shown.chosen)
    _show_tests(record)
    _show_costs(done)
    for row in done.rows:
        if row.name != Path(row.path).name:
            line((row.name, "bold"), f": {row.path}")
    for text in words:
        sentence(text)
    show_evidence(verdict.evidence, verdict.sentences)


def _show_scores(done: "Comparison", record: dict[str, Any], shown: Sequence[Score]) -> None:
    note = "test" if done.part == "test" else "val, on which epochs were selected: optimistic"
    posts = f"{done.posts:,} posts"
    if done.posts != done.posts_of_first or len(done.protocols) > 1:
        posts = f"the {done.posts:,} posts that all runs share"
    table = score_table(f"{' / '.join(done.protocols)} · {note} · {posts}", "run", shown)
    for row in record["rows"]:
        mark = "" if row["batch_independent"] else " †"
        head = "" if row["head"] in row["name"] else f" ({row['head']})"
        add_scores(table, f"{row['name']}{head}{mark}", row["scores"], shown)
    table.add_section()
    add_references(table, record["references"], scores=shown)
    out.print(table)


def _show_tests(record: dict[str, Any]) -> None:
    first, *others = record["rows"]
    table = titled(f"points more than {first['name']}, and McNemar's test", "run")
    add_numbers(table, "accuracy", "macro-F1", "right alone", "p-value", "agree %")
    for row in others:
        pair = row["paired"]
        test = pair["mcnemar"]
        gains = (_points(pair["differences"][k]) for k in ("accuracy", "f1_macro"))
        alone = f"{test['only_second']:,} : {test['only_first']:,}"
        p_value = f"{test['p_value']:.3g}"
        table.add_row(row["name"], *gains, alone, p_value, f"{100 * pair['agreement']:.1f}")
    out.print(table)


def _points(difference: dict[str, Any]) -> Text:
    between = " " if out.width >= _WIDE_COLUMNS else "\n"
    bounds = (f"{between}{interval(difference['interval'])}", "dim")
    return Text.assemble(f"{100 * difference['value']:+.1f}", bounds)


def _show_costs(done: "Comparison") -> None:
    table = titled("cost of training", "run")
    add_numbers(table, "seconds", "process memory", "GPU memory", "parameters", "energy")
    for row in done.rows:
        cost = row.cost
        table.add_row(
            row.name,
            NOT_RECORDED if cost.seconds is None else f"{cost.seconds:,.1f}",
            NOT_RECORDED if cost.peak_memory_bytes is None else size(cost.peak_memory_bytes),
            NOT_RECORDED if cost.peak_gpu_bytes is None else size(cost.peak_gpu_bytes),
            NOT_RECORDED if cost.parameters_trained is None else f"{cost.parameters_trained:,}",
            NOT_RECORDED if cost.energy_joules is None else f"{cost.energy_joules:,.0f} J",
        )
    out.print(table)
