"""A comparison in sentences, with figures computed from the records."""

from mvsa_pipe.analysis.compare import Compared, Comparison
from mvsa_pipe.metrics.paired import Paired
from mvsa_pipe.metrics.score_table import Score

# Adjusted p-values below this are called more than chance.
_LEVEL = 0.05
# Times whose ratio differs from 1 by at most this are called equal.
_EQUAL = 0.05


def sentences(comparison: Comparison) -> list[str]:
    """Summary sentences per run: score, time and significance against the first run."""
    first, *others = comparison.rows
    mixed = len({row.fine_tuned for row in comparison.rows}) > 1
    lines = []
    for other in others:
        called = [_called(row) if mixed else row.name for row in (first, other)]
        lines.append(f"{_score_sentence(first, other, *called)}{_time_sentence(first, other)}.")
        if other.paired is not None and other.p_holm is not None:
            lines.append(_significance_sentence(comparison, first, other.paired, other.p_holm))
    lines += _caveats(comparison)
    return lines


def _called(row: Compared) -> str:
    return f"{row.name} ({'fine-tuned' if row.fine_tuned else 'cached fit'})"


def _score_sentence(first: Compared, other: Compared, first_name: str, name: str) -> str:
    own, theirs = other.scores[Score.ACCURACY], first.scores[Score.ACCURACY]
    figures = f"({100 * own:.1f} against {100 * theirs:.1f} %)"
    if theirs == 0:
        return f"{name} reaches an accuracy of {100 * own:.1f} %, {first_name} none"
    share = f"{100 * own / theirs:.1f} %"
    return f"{name} reaches {share} of the accuracy of {first_name} {figures}"


def _time_sentence(first: Compared, other: Compared) -> str:
    own, theirs = other.cost.seconds, first.cost.seconds
    if not own or not theirs:
        return ""
    return f" {_ratio(own / theirs)} ({own:,.1f} s against {theirs:,.1f} s)"


def _ratio(ratio: float) -> str:
    if abs(ratio - 1) <= _EQUAL:
        return "in the same time"
    if ratio < 1:
        return f"at 1/{_plain(1 / ratio)} of the time"
    return f"at {_plain(ratio)} times the time"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _significance_sentence(
    comparison: Comparison, first: Compared, pair: Paired, p_holm: float
) -> str:
    difference = pair.differences[Score.ACCURACY.value]
    low, high = difference.interval
    figures = f"{100 * difference.value:+z.1f} points [{100 * low:+z.1f}, {100 * high:+z.1f}]"
    verdict = "is more than chance explains" if p_holm < _LEVEL else "may be chance"
    tests = len(comparison.rows) - 1
    adjusted = f", {p_holm:.3g} adjusted for {tests} tests" if tests > 1 else ""
    return (
        f"Its difference from {first.name}, {figures} of accuracy, {verdict}: over "
        f"{comparison.posts:,} posts McNemar's p = {pair.mcnemar.p_value:.3g}{adjusted} "
        f"({pair.mcnemar.only_second} posts right only by it, {pair.mcnemar.only_first} only by "
        f"{first.name})."
    )


def _caveats(comparison: Comparison) -> list[str]:
    rows, lines = comparison.rows, []
    if comparison.part == "val":
        lines.append("Scores are of validation posts, on which epochs were selected: optimistic.")
    if len({row.cost.device for row in rows}) > 1:
        named = "; ".join(f"{row.name} on {row.cost.device}" for row in rows)
        lines.append(f"Times are of different devices, so they also compare devices: {named}.")
    if len({row.fine_tuned for row in rows}) > 1:
        lines.append(
            "The time of a cached fit is that of training; its features were extracted before, "
            "once for all heads and seeds."
        )
    dependent = [row.name for row in rows if not row.batch_independent]
    if dependent:
        lines.append(f"Predictions depend on their batch, as published: {', '.join(dependent)}.")
    return lines
