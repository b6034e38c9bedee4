"""Scores with intervals, and reference rows: majority and chance.

Every score is a function of the confusion matrix, so the bootstrap draws matrices: resampling posts
with replacement and counting (true, predicted) cells is one multinomial draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.json_schema import validated
from mvsa_pipe.tabular import Row, Tabular

Counts = NDArray[np.int64]

# Scores of every table, with their names.
SHOWN_SCORES = {"accuracy": "accuracy", "f1_macro": "macro-F1", "f1_weighted": "weighted F1"}


class Score(StrEnum):
    """The summary scores; all are in [0, 1] and higher is better."""

    ACCURACY = "accuracy"
    PRECISION_MACRO = "precision_macro"
    RECALL_MACRO = "recall_macro"
    F1_MACRO = "f1_macro"
    PRECISION_WEIGHTED = "precision_weighted"
    RECALL_WEIGHTED = "recall_weighted"
    F1_WEIGHTED = "f1_weighted"


@dataclass(frozen=True, repr=False)
class Scores(Tabular):
    """Scores of predictions.

    Attributes:
        posts: Number of scored posts.
        values: Summary scores by name.
        intervals: Their bootstrap intervals, low and high.
        confidence: Coverage of the intervals.
        per_class: Precision, recall, F1 and support of each class.
        confusion: Rows are true classes, columns predicted ones.
        classes: Names of the classes.
    """

    posts: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    confidence: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    classes: tuple[str, ...]

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


def score_confusion(confusion: NDArray[Any]) -> dict[Score, NDArray[np.float64]]:
    """Summary scores of matrices ``[..., C, C]``.

    A class that occurs in neither labels nor predictions is left out of macro means; a class that
    is never predicted has precision 0, as in scikit-learn with ``zero_division=0``.
    """
    counts = confusion.astype(np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    support, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    total = counts.sum(axis=(-2, -1))
    occurs = (support + predicted) > 0
    out = {Score.ACCURACY: _ratio(hits.sum(axis=-1), total)}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        macro = _ratio((values * occurs).sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))
        weighted = _ratio((values * support).sum(axis=-1), total)
        out[Score(f"{name}_macro")] = macro
        out[Score(f"{name}_weighted")] = weighted
    return out


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part, np.float64), where=whole > 0)


def validation_scores(
    loss: float, labels: Counts, predictions: Counts, classes: int
) -> dict[str, float]:
    """Loss and scores on the validation posts, by their names in a history."""
    scores = score_confusion(confusion_matrix(labels, predictions, classes))
    return {"val_loss": loss} | {f"val_{n.value}": float(value) for n, value in scores.items()}


def is_better(entry: Mapping[str, Any], than: Mapping[str, Any], select: Score) -> bool:
    """Whether an entry of a history has a higher score, or an equal score and a lower loss."""
    key = f"val_{select.value}"
    return bool((entry[key], -entry["val_loss"]) > (than[key], -than["val_loss"]))


def score(
    labels: Counts,
    predictions: Counts,
    classes: Sequence[str],
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
        resamples: Bootstrap resamples of the posts.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are no posts.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if not len(labels):
        raise ValueError("no posts to score")
    confusion = confusion_matrix(labels, predictions, len(classes))
    values = score_confusion(confusion)
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    drawn = _resampled(confusion, resamples, seed)
    intervals = {
        name.value: (float(low), float(high))
        for name, samples in score_confusion(drawn).items()
        for low, high in [np.percentile(samples, tails)]
    }
    return Scores(
        posts=len(labels),
        values={name.value: float(value) for name, value in values.items()},
        intervals=intervals,
        confidence=confidence,
        per_class=_per_class(confusion, classes),
        confusion=confusion.tolist(),
        classes=tuple(classes),
    )


def _resampled(confusion: Counts, resamples: int, seed: int) -> Counts:
    total = int(confusion.sum())
    shares = confusion.ravel() / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=resamples)
    return drawn.reshape(resamples, *confusion.shape)


def _per_class(confusion: Counts, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    hits = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    columns = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
        "support": support.astype(np.float64),
    }
    return {
        name: {column: float(values[c]) for column, values in columns.items()}
        for c, name in enumerate(classes)
    }


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
    """Always predicts the most frequent class of the training posts."""
    top = int(np.bincount(train_labels, minlength=classes).argmax())
    values = score_confusion(confusion_matrix(labels, np.full_like(labels, top), classes))
    return Reference(
        "majority", {k.value: float(v) for k, v in values.items()}, {k.value: 0.0 for k in values}
    )


def chance(
    train_labels: Counts, labels: Counts, classes: int, *, draws: int = 2000, seed: int = 0
) -> Reference:
    """Guesses each post from the training posts' class shares."""
    shares = np.bincount(train_labels, minlength=classes) / len(train_labels)
    support = np.bincount(labels, minlength=classes)
    generator = np.random.default_rng(seed)
    drawn = np.stack([generator.multinomial(n, shares, size=draws) for n in support], axis=1)
    values = score_confusion(drawn)
    return Reference(
        "chance",
        {k.value: float(v.mean()) for k, v in values.items()},
        {k.value: float(v.std(ddof=1)) for k, v in values.items()},
    )


def mean_interval(
    runs: Sequence[tuple[Counts, Counts]],
    classes: int,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of scores averaged over runs.

    Runs that scored the same posts share each resample of them, as their errors are correlated;
    runs on other posts are resampled separately.

    Args:
        runs: True and predicted classes of each run.
        classes: Number of classes.
        resamples: Bootstrap resamples of the posts.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling.
    """
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    generator = np.random.default_rng(seed)
    weights: dict[bytes, NDArray[np.float32]] = {}
    sums: dict[Score, NDArray[np.float64]] = {}
    for labels, predictions in runs:
        size = len(labels)
        key = labels.tobytes()
        if key not in weights:
            shares = np.full(size, 1.0 / size)
            weights[key] = generator.multinomial(size, shares, size=resamples).astype(np.float32)
        cells = np.eye(classes * classes, dtype=np.float32)[labels * classes + predictions]
        confusion = (weights[key] @ cells).reshape(resamples, classes, classes)
        for name, values in score_confusion(confusion).items():
            sums[name] = sums.get(name, 0.0) + values / len(runs)
    return {
        name.value: (float(low), float(high))
        for name, values in sums.items()
        for low, high in [np.percentile(values, tails)]
    }
