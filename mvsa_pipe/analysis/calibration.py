"""Whether probabilities can be trusted, before and after a temperature; sets and abstention."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.contest import Entry, contest_of_runs
from mvsa_pipe.analysis.finding import (
    Cell,
    Estimate,
    Finding,
    FindingTable,
    ForestPlot,
    ForestRow,
    LinePlot,
    Plot,
    Series,
)
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import CalibrationOptions
from mvsa_pipe.analysis.resampling import Resampler, estimated, p_value_of_difference
from mvsa_pipe.analysis.selective import (
    RiskCoverage,
    prediction_sets,
    risk_coverage,
    set_threshold,
)
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.paired import holm
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import LEVEL
from mvsa_pipe.metrics.weighted import Answers, Floats
from mvsa_pipe.posts.splits.split import TEST
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.temperature import temperature_of, tempered, validation_predictions

_SCORES = (Score.ECE, Score.BRIER, Score.LOG_LOSS)
# Bins of the reliability diagram; those with fewer posts than this are not drawn.
_BINS, _LEAST_POSTS = 10, 5
_ANSWERED = np.round(np.linspace(0.1, 1.0, 19), 2)
# Temperatures up to this, and down to its inverse, are called even.
_EVEN = 1.05
# Heads whose reliability is drawn before and after the temperature; of more, only after.
_MOST_TWICE = 1

_METHOD = (
    (
        "Temperature: p_T = softmax(ln p / T), T of least log-loss on the validation part alone "
        "(Guo et al. 2017); classes stay the same. The run keeps it in calibration.json; mvsa "
        "predict and mvsa evaluate apply it with --calibrated."
    ),
    (
        "Sets: all classes with 1 − p_T(c) ≤ q, q the ⌈(n+1)·coverage⌉-th smallest 1 − p_T(true) "
        "of n validation posts (split conformal: Angelopoulos and Bates 2023). Epochs were "
        "selected and T was fitted on the same posts, so that q may be a little too small. "
        "Coverage is over all posts, not for each class."
    ),
    (
        "Abstention: posts are answered from the highest p_T downwards; AURC is the mean error "
        "over all shares of answered posts (Geifman et al. 2019), lower is better."
    ),
    (
        "Intervals: bootstrap over posts and seeds, 95 %, paired. ECE grows with noise, so that "
        "its resamples lie above its value."
    ),
)


@dataclass(frozen=True)
class Calibrated:
    """One head before and after its temperature.

    Attributes:
        name: Its name in tables.
        temperatures: One per seed.
        before: Answers of each seed.
        after: The same at the temperature.
        covered: Whether the set of each post has the true class, per seed ``[N]``.
        sizes: Classes in the set of each post, per seed ``[N]``.
        curve: Errors by the share of answered posts ``[1 + R]``, a mean over seeds.
    """

    name: str
    temperatures: list[float]
    before: Sequence[Answers]
    after: list[Answers]
    covered: list[Floats]
    sizes: list[Floats]
    curve: RiskCoverage


def calibration(runs: Sequence[Run], options: CalibrationOptions, progress: Progress) -> Finding:
    """Calibrates heads on validation posts, and scores their probabilities on test posts.

    Recorded predictions are read: no head computes.

    Args:
        runs: The runs.
        options: The coverage of sets, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: A run has no validation or no test posts, or runs are not over the same posts.
    """
    contest = contest_of_runs(runs, shared_only=options.shared_posts, at_least=1)
    if contest.part != TEST:
        raise RunError(
            "Calibration needs posts to fit on and others to score on",
            where=runs[0].path,
            expected="runs that were scored on validation and test posts",
            found=f"scores of the part {contest.part} alone",
            hint="mvsa fit --split random-8:1:1 has both parts",
        )
    labels = contest.entries[0].folds[0][0].labels
    resampler = Resampler(len(labels), options)
    progress.start("calibration", len(contest.entries), "heads")
    heads = []
    for entry in contest.entries:
        heads.append(_calibrated(entry, resampler, options))
        progress.advance(1)
    changes = [_changes(head, resampler) for head in heads]
    return finding_of(
        "calibration",
        runs,
        options,
        question="Can the probabilities be trusted, and when should a head abstain?",
        verdict=_verdict(heads, changes, resampler, options),
        tables=[
            _temperature_table(heads, changes),
            _set_table(heads, resampler, options),
            _area_table(heads),
            _answered_table(heads),
        ],
        plots=_plots(heads, changes, resampler),
        method=list(_METHOD),
        posts=len(labels),
        values={
            head.name: {
                "temperatures": head.temperatures,
                "aurc": float(head.curve.area[0]),
                **{score.value: [rows[0].value, rows[1].value] for score, rows in own.items()},
            }
            for head, own in zip(heads, changes, strict=True)
        },
    )


def _calibrated(
    entry: Entry,
    resampler: Resampler,
    options: CalibrationOptions,
) -> Calibrated:
    before, after, temperatures, covered, sizes = entry.folds[0], [], [], [], []
    for run, answers in zip(entry.runs, before, strict=True):
        temperature = temperature_of(run).temperature
        calibrated = Answers(
            answers.labels,
            answers.predicted,
            answers.classes,
            tempered(answers.shares, temperature),
        )
        shares, labels = validation_predictions(run)
        # in the run's own order of classes, on which the threshold does not depend
        threshold = set_threshold(tempered(shares, temperature), labels, options.coverage)
        chosen = prediction_sets(calibrated.shares, threshold)
        temperatures.append(temperature)
        after.append(calibrated)
        covered.append(chosen[np.arange(len(chosen)), answers.labels].astype(np.float64))
        sizes.append(chosen.sum(axis=1).astype(np.float64))
    curves = [risk_coverage(answers, resampler.weights, _ANSWERED) for answers in after]
    risks = np.stack([curve.risks for curve in curves])
    curve = RiskCoverage(
        risks=np.stack([resampler.over_seeds(risks[:, :, g]) for g in range(len(_ANSWERED))], 1),
        area=resampler.over_seeds(np.stack([curve.area for curve in curves])),
    )
    return Calibrated(entry.name, temperatures, before, after, covered, sizes, curve)


def _changes(head: Calibrated, resampler: Resampler) -> dict[Score, list[Estimate]]:
    """Each score before, after, and their paired difference."""
    before = resampler.scores(head.before, _SCORES)
    after = resampler.scores(head.after, _SCORES)
    return {
        score: [
            estimated(before[score]),
            estimated(after[score]),
            estimated(after[score] - before[score]),
        ]
        for score in _SCORES
    }


def _temperature_table(
    heads: Sequence[Calibrated], changes: Sequence[dict[Score, list[Estimate]]]
) -> FindingTable:
    rows: list[list[Cell]] = [
        [head.name, score.row.title, *own[score]]
        for head, own in zip(heads, changes, strict=True)
        for score in _SCORES
    ]
    fitted = ", ".join(
        f"{head.name} {'/'.join(f'{t:.2f}' for t in head.temperatures)}" for head in heads
    )
    return FindingTable(
        "before and after the temperature, lower is better",
        ["head", "score", "before", "after", "change"],
        rows,
        f"temperature of each seed: {fitted}",
    )


def _set_table(
    heads: Sequence[Calibrated], resampler: Resampler, options: CalibrationOptions
) -> FindingTable:
    rows: list[list[Cell]] = [
        [
            head.name,
            estimated(resampler.means(head.covered)),
            estimated(resampler.means(head.sizes)),
            estimated(resampler.means([(sizes == 1).astype(float) for sizes in head.sizes])),
        ]
        for head in heads
    ]
    return FindingTable(
        f"prediction sets at a coverage of {100 * options.coverage:g} %",
        ["head", "covered", "classes in a set", "one class"],
        rows,
        "covered: posts whose set has the true class; one class: posts whose set is sure",
        ["covered", "one class"],
    )


def _area_table(heads: Sequence[Calibrated]) -> FindingTable:
    best = min(heads, key=lambda head: float(head.curve.area[0]))
    others = [head for head in heads if head is not best]
    adjusted = holm([p_value_of_difference(head.curve.area - best.curve.area) for head in others])
    p_values = {head.name: p for head, p in zip(others, adjusted, strict=True)}
    rows: list[list[Cell]] = [
        [
            head.name,
            estimated(head.curve.area),
            None if head is best else estimated(head.curve.area - best.curve.area),
            None if head is best else f"{p_values[head.name]:.2g}",
        ]
        for head in sorted(heads, key=lambda head: float(head.curve.area[0]))
    ]
    return FindingTable(
        "area under the risk-coverage curve (AURC), lower is better",
        ["head", "AURC", f"minus {best.name}", "p"],
        rows,
        "p: of the paired bootstrap, adjusted for all heads (Holm)" if others else "",
        ["AURC", f"minus {best.name}"],
    )


def _answered_table(heads: Sequence[Calibrated]) -> FindingTable:
    shares = (1.0, 0.8, 0.5)
    places = [int(np.argmin(abs(_ANSWERED - share))) for share in shares]
    columns = ["all posts", *(f"surest {100 * share:g}" for share in shares[1:])]
    rows: list[list[Cell]] = [
        [head.name, *(estimated(1 - head.curve.risks[:, place]) for place in places)]
        for head in heads
    ]
    return FindingTable(
        "accuracy where the head answers",
        ["head", *columns],
        rows,
        "surest 80: the 80 % of the posts with the highest probability; others are left open",
        columns,
    )


def _plots(
    heads: Sequence[Calibrated],
    changes: Sequence[dict[Score, list[Estimate]]],
    resampler: Resampler,
) -> list[Plot]:
    reliability = []
    for head in heads:
        if len(heads) <= _MOST_TWICE:
            reliability.append(_reliability(f"{head.name}, before", head.before, resampler))
        reliability.append(_reliability(f"{head.name}, after", head.after, resampler))
    curves = [_curve(head) for head in heads]
    errors = [
        ForestRow(f"{head.name}, {when}", own[Score.ECE][place], when)
        for head, own in zip(heads, changes, strict=True)
        for place, when in enumerate(("before", "after"))
    ]
    return [
        LinePlot(
            "reliability: accuracy of posts by their highest probability",
            "mean probability of the predicted class",
            "accuracy",
            reliability,
            diagonal=True,
        ),
        LinePlot(
            "errors among the posts that a head is surest of",
            "share of posts that are answered",
            "share of errors",
            curves,
        ),
        ForestPlot("calibration error before and after the temperature", "ECE", errors),
    ]


def _curve(head: Calibrated) -> Series:
    every = [estimated(head.curve.risks[:, place]) for place in range(len(_ANSWERED))]
    return Series(
        head.name,
        _ANSWERED.tolist(),
        [each.value for each in every],
        [each.low for each in every],
        [each.high for each in every],
    )


def _reliability(name: str, seeds: Sequence[Answers], resampler: Resampler) -> Series:
    """Accuracy by the highest probability, in bins of equal width."""
    sums = []
    for answers in seeds:
        surest = answers.shares.max(axis=1)
        bins = np.clip(np.ceil(surest * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
        members = np.eye(_BINS)[bins]
        hits = (answers.predicted == answers.labels)[:, None] * members
        sums.append(
            resampler.weights @ np.concatenate([members, hits, surest[:, None] * members], 1)
        )
    stacked = np.stack(sums)
    means = np.stack([resampler.over_seeds(stacked[:, :, k]) for k in range(3 * _BINS)], axis=1)
    count, hit, sure = np.split(means, 3, axis=1)
    shown = [b for b in range(_BINS) if count[0, b] >= _LEAST_POSTS]
    accuracy = np.divide(hit, count, out=np.full_like(hit, np.nan), where=count > 0)
    every = [estimated(accuracy[:, b]) for b in shown]
    return Series(
        name,
        [float(sure[0, b] / count[0, b]) for b in shown],
        [each.value for each in every],
        [each.low for each in every],
        [each.high for each in every],
    )


def _verdict(
    heads: Sequence[Calibrated],
    changes: Sequence[dict[Score, list[Estimate]]],
    resampler: Resampler,
    options: CalibrationOptions,
) -> list[str]:
    lines = []
    for head, own in zip(heads, changes, strict=True):
        before, after, change = own[Score.ECE]
        mean = float(np.mean(head.temperatures))
        sure = "too sure" if mean > _EVEN else "not sure enough" if mean < 1 / _EVEN else "even"
        told = "can be told from" if change.high < 0 or change.low > 0 else "may be"
        lines.append(
            f"{head.name} is {sure} on validation posts (temperature {mean:.2f}): at its "
            f"temperature the calibration error of test posts is {100 * after.value:.1f} instead "
            f"of {100 * before.value:.1f} %, which {told} chance."
        )
        covered = estimated(resampler.means(head.covered))
        sizes = estimated(resampler.means(head.sizes))
        wanted = options.coverage
        missed = " That is less than wanted." if covered.high < wanted else ""
        lines.append(
            f"Its sets at {100 * wanted:g} % cover {100 * covered.value:.1f} % "
            f"[{100 * covered.low:.1f}, {100 * covered.high:.1f}] of the posts with "
            f"{sizes.value:.2f} classes on average.{missed}"
        )
    table = _area_table(heads)
    if len(heads) > 1:
        beaten = [str(row[0]) for row in table.rows[1:] if float(str(row[3])) < LEVEL]
        lines.append(
            f"{table.rows[0][0]} makes the fewest errors where it may abstain, "
            + (f"told apart from {', '.join(beaten)}." if beaten else "told apart from none.")
        )
    return lines
