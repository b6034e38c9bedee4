"""What a bench says of its heads, in sentences whose figures are computed from its runs."""

from collections.abc import Sequence

from mvsa_pipe.benches.outcomes import FinishedRun, Predictions
from mvsa_pipe.benches.summary import Bench, HeadSummary
from mvsa_pipe.metrics.paired import Difference, mean_difference
from mvsa_pipe.metrics.score_table import Score

_SCORE = Score.F1_MACRO
# The chance of calling any difference of a bench real although there is none.
_LEVEL = 0.05

# What tells one row of a bench from another.
_Row = tuple[str, str, str]


def verdict(bench: Bench) -> list[str]:
    """Which row has the highest mean macro-F1, and which of the others it beats.

    Every other row is compared with it on the same posts: the difference of mean scores over
    seeds, with an interval from a bootstrap over posts that is widened for as many comparisons as
    there are (Bonferroni).
    """
    if not bench.rows:
        return ["No head has a result."]
    leader = max(bench.rows, key=lambda row: row.mean[_SCORE.value])
    lines = [_lead(bench, leader)]
    runs = _answers(bench)
    others = [row for row in bench.rows if row is not leader]
    classes = max(len(run.predictions[bench.part].probabilities[0]) for run in _finished(bench))
    beaten: list[str] = []
    close: list[str] = []
    apart: list[str] = []
    for row in others:
        first, second = runs[_key(row)], runs[_key(leader)]
        if not _same_posts([*first, *second]):
            apart.append(_called(row))
            continue
        difference = mean_difference(
            first[0].labels,
            [one.predicted for one in first],
            [one.predicted for one in second],
            classes,
            _SCORE,
            confidence=1 - _LEVEL / len(others),
        )
        (beaten if difference.interval[0] > 0 else close).append(_gain(row, difference))
    if beaten:
        lines.append(f"Its lead is more than chance explains over {'; '.join(beaten)}.")
    if close:
        lines.append(f"Its lead may be chance over {'; '.join(close)}.")
    if apart:
        lines.append(f"Tested on other posts, and not compared: {', '.join(apart)}.")
    return lines + _caveats(bench, leader)


def _lead(bench: Bench, leader: HeadSummary) -> str:
    spread = f" ± {leader.deviation[_SCORE.value]:.3f}" if leader.seeds > 1 else ""
    seeds = f"over {leader.seeds} seeds" if leader.seeds > 1 else "with one seed"
    majority = bench.references[0]["values"][_SCORE.value]
    return (
        f"{_called(leader)} has the highest mean macro-F1, {leader.mean[_SCORE.value]:.3f}{spread} "
        f"{seeds}; always answering the most frequent class has {majority:.3f}."
    )


def _gain(row: HeadSummary, difference: Difference) -> str:
    low, high = difference.interval
    return f"{_called(row)} ({difference.value:+.3f} [{low:+.3f}, {high:+.3f}])"


def _caveats(bench: Bench, leader: HeadSummary) -> list[str]:
    lines = []
    if leader.seeds == 1 and leader.failed == 0:
        lines.append("One seed says nothing of the spread between trainings.")
    if bench.part == "val":
        lines.append("Scores are of validation posts, on which epochs were selected: optimistic.")
    if bench.failed:
        lines.append(f"{len(bench.failed):,} of {len(bench.runs):,} runs have no result.")
    dependent = dict.fromkeys(_called(row) for row in bench.rows if not row.batch_independent)
    if dependent:
        lines.append(f"Predictions depend on their batch, as published: {', '.join(dependent)}.")
    return lines


def _called(row: HeadSummary) -> str:
    details = ", ".join(filter(None, (row.pair, row.setting)))
    return f"{row.head} ({details})" if details else row.head


def _key(row: HeadSummary) -> _Row:
    return row.head, row.pair, row.setting


def _finished(bench: Bench) -> list[FinishedRun]:
    return [run for run in bench.runs if isinstance(run, FinishedRun)]


def _answers(bench: Bench) -> dict[_Row, list[Predictions]]:
    """Predictions of each row's runs on the part that is shown."""
    found: dict[_Row, list[Predictions]] = {}
    for run in _finished(bench):
        trial = run.trial
        key = trial.spec.head, trial.pair, trial.setting
        found.setdefault(key, []).append(run.predictions[bench.part])
    return found


def _same_posts(answers: Sequence[Predictions]) -> bool:
    first = answers[0]
    return all(one.ids == first.ids and (one.labels == first.labels).all() for one in answers)
