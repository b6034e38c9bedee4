"""Scores with intervals, and reference rows: majority and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.json_schema import validated
from mvsa_pipe.metrics.score_table import Score, class_values, score_confusion, score_posts
from mvsa_pipe.metrics.weighted import Answers, Classes, Floats, resampled_posts
from mvsa_pipe.tabular import Row, Tabular

Counts = Classes
Interval = tuple[float, float]


@dataclass(frozen=True, repr=False)
class Scores(Tabular):
    """Scores of predictions.

    Attributes:
        posts: Number of scored posts.
        values: Summary scores by name; without those that the posts do not define, such as the
            AUROC of one class.
        intervals: Their bootstrap intervals, low and high.
        confidence: Coverage of the intervals.
        per_class: Precision, recall, F1 and support of each class.
        confusion: Rows are true classes, columns predicted ones.
        classes: Names of the classes.
        per_class_intervals: Bootstrap intervals of ``per_class``; absent in older records.
    """

    posts: int
    values: dict[str, float]
    intervals: dict[str, Interval]
    confidence: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    classes: tuple[str, ...]
    per_class_intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Scores":
        """Scores from what ``as_record`` returns, as JSON keeps it.

        Raises:
            ValueError: The record is of another shape.
        """
        return validated(record, cls)

    def __getitem__(self, score: Score | str) -> float:
        return self.values[Score(score).value]

    def __repr__(self) -> str:
        shares = (
            f"{name} {self[name]:.4f} [{low:.4f}, {high:.4f}]"
            for name in (Score.ACCURACY, Score.F1_MACRO)
            for low, high in [self.intervals[name.value]]
        )
        return f"<Scores of {self.posts:,} posts: {', '.join(shares)}>"

    def table_rows(self) -> list[Row]:
        """Each summary score with its interval."""
        return [
            {"score": name, "value": value, "low": low, "high": high}
            for name, value in self.values.items()
            for low, high in [self.intervals[name]]
        ]

    def table_title(self) -> str:
        """How many posts were scored."""
        return f"{self.posts:,} posts"

    def table_notes(self) -> list[str]:
        """What the intervals are."""
        return [f"low, high: {self.confidence:.0%} bootstrap interval over posts"]

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def confusion_matrix(labels: Counts, predictions: Counts, classes: int) -> Counts:
    """Counts of (true, predicted) pairs ``[C, C]``."""
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def values_of(answers: Answers) -> dict[str, float]:
    """Every score that the posts define, by its name."""
    found = {s.value: float(value[0]) for s, value in score_posts(answers.plain()).items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def validation_scores(loss: float, answers: Answers) -> dict[str, float]:
    """Loss and scores on the validation posts, by their names in a history."""
    return {"val_loss": loss} | {f"val_{name}": value for name, value in values_of(answers).items()}


def score(
    labels: Counts,
    predictions: Counts,
    classes: Sequence[str],
    probabilities: NDArray[Any] | None = None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Scores:
    """Scores predictions against labels, with percentile bootstrap intervals over posts.

    Args:
        labels: True classes ``[N]``.
        predictions: Predicted classes ``[N]``.
        classes: Names of the classes.
        probabilities: One per class ``[N, C]``; without them their scores are left out.
        resamples: Bootstrap resamples of the posts.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are no posts.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    answers = Answers(labels, predictions, len(classes), probabilities)
    values = values_of(answers)
    summary: dict[str, list[Floats]] = {name: [] for name in values}
    each_class: dict[str, list[Floats]] = {}
    for weights in resampled_posts(len(labels), resamples, np.random.default_rng(seed)):
        drawn = answers.weighted(weights)
        for name, found in score_posts(drawn, map(Score, values)).items():
            summary[name.value].append(found)
        for column, of_classes in class_values(drawn.confusion).items():
            each_class.setdefault(column, []).append(of_classes)
    confusion = confusion_matrix(labels, predictions, len(classes))
    plain = class_values(confusion.astype(np.float64)) | {"support": confusion.sum(axis=1)}
    by_class = {column: np.concatenate(blocks) for column, blocks in each_class.items()}
    return Scores(
        posts=len(labels),
        values=values,
        intervals={
            name: percentile_interval(np.concatenate(blocks), confidence)
            for name, blocks in summary.items()
        },
        confidence=confidence,
        per_class={
            name: {column: float(numbers[c]) for column, numbers in plain.items()}
            for c, name in enumerate(classes)
        },
        per_class_intervals={
            name: {k: percentile_interval(v[:, c], confidence) for k, v in by_class.items()}
            for c, name in enumerate(classes)
        },
        confusion=confusion.tolist(),
        classes=tuple(classes),
    )


def percentile_interval(samples: Floats, confidence: float) -> Interval:
    """Middle part of some samples; those in which a score is not defined are left out."""
    defined = samples[np.isfinite(samples)]
    low, high = np.percentile(defined, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


@dataclass(frozen=True)
class Reference:
    """Scores of a method that reads no posts.

    Attributes:
        name: ``majority`` or ``chance``.
        values: Summary scores by name; means over draws for ``chance``.
        deviations: Standard deviations over draws; 0 for ``majority``.
    """

    name: str
    values: dict[str, float]
    deviations: dict[str, float]

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def majority_reference(train_labels: Counts, labels: Counts, classes: int) -> Reference:
    """Always predicts the most frequent class of the training posts.

    Its probabilities are the training posts' class shares, as in scikit-learn's ``prior``.
    """
    values = values_of(majority_answers(train_labels, labels, classes))
    return Reference("majority", values, dict.fromkeys(values, 0.0))


def majority_answers(train_labels: Counts, labels: Counts, classes: int) -> Answers:
    """Predictions of ``majority_reference`` for every post."""
    shares = np.bincount(train_labels, minlength=classes) / len(train_labels)
    every = np.tile(shares, (len(labels), 1))
    return Answers(labels, np.full_like(labels, int(shares.argmax())), classes, every)


def chance(
    train_labels: Counts, labels: Counts, classes: int, *, draws: int = 2000, seed: int = 0
) -> Reference:
    """Guesses each post from the training posts' class shares, which are its probabilities."""
    shares = np.bincount(train_labels, minlength=classes) / len(train_labels)
    support = np.bincount(labels, minlength=classes)
    generator = np.random.default_rng(seed)
    drawn = np.stack([generator.multinomial(n, shares, size=draws) for n in support], axis=1)
    guessed = score_confusion(drawn)
    by_shares = values_of(majority_answers(train_labels, labels, classes))
    # the calibration of a guess is not that of the likeliest class
    by_shares.pop(Score.ECE.value, None)
    return Reference(
        "chance",
        by_shares | {k.value: float(v.mean()) for k, v in guessed.items()},
        dict.fromkeys(by_shares, 0.0) | {k.value: float(v.std(ddof=1)) for k, v in guessed.items()},
    )


def mean_interval(
    runs: Sequence[Answers],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of scores averaged over runs (seeds) on the same posts: over posts and seeds.

    See ``mvsa_pipe.metrics.hierarchical``.

    Args:
        runs: Labels and predictions of each run.
        resamples: Bootstrap resamples.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling.
    """
    from mvsa_pipe.metrics.hierarchical import resampled_means

    samples = resampled_means([runs], resamples=resamples, seed=seed)
    return {
        name.value: percentile_interval(values[0], confidence) for name, values in samples.items()
    }


def defined_in_all(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of the scores that all of some rows have, in the order of the first."""
    return [name for name in rows[0] if all(name in row for row in rows)]
