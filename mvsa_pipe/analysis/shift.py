"""Scores under other distributions of classes, with and without knowledge of the shift.

A test post of class ``c`` counts ``w_c = q(c) / p(c)``, where ``p`` are the class shares of the
test part and ``q`` those of the target: what the head would score where only the shares of classes
differ. A head that knows ``q`` multiplies its probabilities by ``q(c) / t(c)``, where ``t`` are the
shares of the training part, each times the weight of its class in the loss.

Source:
    Saerens, Latinne and Decaestecker 2002, Adjusting the Outputs of a Classifier to New a Priori
    Probabilities, Neural Computation 14, equation 2.4.
"""

from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.contest import Entry, contest_of_runs
from mvsa_pipe.analysis.finding import (
    Cell,
    Estimate,
    Finding,
    FindingTable,
    ForestPlot,
    ForestRow,
)
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import ShiftOptions
from mvsa_pipe.analysis.resampling import Resampler, estimated, in_points
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Answers, Classes, Floats, Weights
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.training.options import parse_class_weights

_SCORES = (Score.ACCURACY, Score.F1_MACRO)
# How much more frequent a class becomes in the default distributions.
_FACTOR = 3.0
_METHOD = (
    (
        "Posts of class c count q(c)/p(c), with the class shares p of the test part and q of the "
        "target; a head that knows the target multiplies its probabilities by q(c)/t(c), with the "
        "shares t of the training part, each times its class weight (Saerens et al. 2002, "
        "equation 2.4)."
    ),
    "Intervals: bootstrap over posts and seeds, 95 %.",
)


def shift(runs: Sequence[Run], options: ShiftOptions, progress: Progress) -> Finding:
    """Scores heads under other class distributions, from their recorded predictions.

    Args:
        runs: The runs.
        options: The distributions, and the resampling.
        progress: Receives progress.

    Raises:
        ConfigError: A distribution cannot be used.
        RunError: The runs are not over the same posts.
    """
    contest = contest_of_runs(runs, shared_only=options.shared_posts, at_least=1)
    classes = [str(name) for name in runs[0].config["data"]["classes"]]
    (fold,) = contest.folds
    labels = contest.entries[0].folds[0][0].labels
    actual = np.bincount(labels, minlength=len(classes)) / len(labels)
    counts = np.bincount(fold.train_labels, minlength=len(classes))
    targets = _targets(options, classes, actual)
    resampler = Resampler(len(labels), options)
    learnt = [_trained_shares(entry, classes, counts) for entry in contest.entries]
    unshifted = [
        resampler.scores(entry.folds[0], [Score.ACCURACY])[Score.ACCURACY]
        for entry in contest.entries
    ]
    progress.start("shifted class distributions", len(targets) * len(contest.entries), "scores")
    rows: list[list[Cell]] = []
    plotted: list[ForestRow] = []
    losses: list[tuple[str, str, Estimate]] = []
    for title, target in targets.items():
        for entry, trained, before in zip(contest.entries, learnt, unshifted, strict=True):
            weights = (target / actual)[labels].astype(np.float32)
            plain, known = _shifted(entry.folds[0], weights, trained, target, resampler)
            shown = [estimated(plain[score]) for score in _SCORES]
            losing, knowing = estimated(plain[Score.ACCURACY] - before), estimated(known)
            rows.append([entry.name, title, *shown, losing, knowing])
            plotted.append(ForestRow(f"{entry.name}, {title}", shown[0], entry.name))
            losses.append((entry.name, title, losing))
            progress.advance(1)
    change = "change of accuracy"
    shares = ["accuracy", "macro-F1", change, "accuracy if known"]
    table = FindingTable(
        "scores by class distribution",
        ["head", "distribution", *shares],
        rows,
        "if known: the head's probabilities are adjusted to the distribution",
        shares,
    )
    return finding_of(
        "shift",
        runs,
        options,
        question="What would the heads score where classes are distributed differently?",
        verdict=_verdict(losses),
        tables=[table],
        plots=[ForestPlot("accuracy by class distribution", "accuracy", plotted)],
        method=list(_METHOD),
        posts=len(labels),
    )


def _trained_shares(entry: Entry, classes: Sequence[str], counts: Classes) -> Floats:
    """Class shares ``[C]`` that a head learnt: of its training posts, as weighted in the loss."""
    weights = str(entry.runs[0].config["training"].get("class_weights", "none"))
    weighted = counts * np.array(parse_class_weights(weights, classes, counts.tolist()))
    shares: Floats = weighted / weighted.sum()
    return shares


def _targets(options: ShiftOptions, classes: Sequence[str], actual: Floats) -> dict[str, Floats]:
    """Distributions of classes by title."""
    if (actual == 0).any():
        missing = [name for name, share in zip(classes, actual, strict=True) if not share]
        raise ConfigError(
            "The test part has no post of some class, so that no distribution can be simulated",
            expected="posts of every class",
            found=f"none of {', '.join(missing)}",
        )
    if options.distribution:
        return {text: _parsed(text, classes) for text in options.distribution}
    targets = {"as tested": actual, "equal shares": np.full(len(classes), 1 / len(classes))}
    for place, name in enumerate(classes):
        raised = actual.copy()
        raised[place] *= _FACTOR
        targets[f"{_FACTOR:g} × {name}"] = raised / raised.sum()
    return targets


def _parsed(text: str, classes: Sequence[str]) -> Floats:
    refused = ConfigError(
        "--distribution cannot be used",
        expected="one share a class, which add up to 1: "
        + ",".join(f"{name}={1 / len(classes):.2g}" for name in classes),
        found=text,
    )
    shares = {}
    for pair in text.split(","):
        name, equals, value = pair.rpartition("=")
        try:
            shares[name.strip()] = float(value)
        except ValueError:
            raise refused from None
        if not equals:
            raise refused
    values = np.array([shares.get(name, np.nan) for name in classes])
    given = {*shares} == {*classes} and len(text.split(",")) == len(classes)
    if not given or not (values >= 0).all() or abs(values.sum() - 1) > 0.01:
        raise refused
    target: Floats = values / values.sum()
    return target


def _shifted(
    seeds: Sequence[Answers],
    weights: Weights,
    trained: Floats,
    target: Floats,
    resampler: Resampler,
) -> tuple[dict[Score, Floats], Floats]:
    """Scores of posts weighted to a target, and accuracy if the target is known ``[1 + R]``."""
    factors = np.divide(target, trained, out=np.zeros_like(target), where=trained > 0)
    knowing = [_adjusted(answers, factors) for answers in seeds]
    known = resampler.scores(knowing, [Score.ACCURACY], weights)[Score.ACCURACY]
    return resampler.scores(seeds, _SCORES, weights), known


def _adjusted(answers: Answers, factors: Floats) -> Answers:
    shares = answers.shares * factors
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=answers.shares.copy(), where=total > 0)
    return Answers(answers.labels, shares.argmax(axis=1), answers.classes, shares)


def _verdict(losses: Sequence[tuple[str, str, Estimate]]) -> list[str]:
    worst: dict[str, tuple[str, Estimate]] = {}
    for name, title, loss in losses:
        if name not in worst or loss.value < worst[name][1].value:
            worst[name] = (title, loss)
    return [
        f"{name} changes most with {title}: {in_points(loss)} of accuracy."
        for name, (title, loss) in worst.items()
    ]
