"""The table of scores: one row is one function with its direction and its title.

``--select``, ``--scores``, records and tables read it; another score is one more row.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, Generic, Self, TypeVar

import numpy as np

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.weighted import Answers, Floats, Weighted

# What a score is computed from.
InputT = TypeVar("InputT")

# Equally wide bins of the highest probability, as in Guo et al. 2017.
ECE_BINS = 15

# A probability below what predictions.csv can hold counts as this much.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True)
class ScoreRow(Generic[InputT]):
    """How a score is named, computed and shown.

    Attributes:
        name: As in records and options.
        title: As in tables.
        compute: Its values from what it is computed from.
        higher_is_better: Its direction.
        least: Its lowest possible value.
        most: Its highest possible value.
        percent: Whether tables show it as a percentage.
    """

    name: str
    title: str
    compute: Callable[[InputT], Floats]
    higher_is_better: bool = True
    least: float = 0.0
    most: float = 1.0
    percent: bool = True


class LabelScore(ScoreRow[Floats]):
    """A score of predicted classes.

    Computes values ``[...]`` of confusion matrices ``[..., C, C]``, whose rows are true classes.
    """


class ProbabilityScore(ScoreRow[Weighted]):
    """A score of probabilities.

    Computes values ``[R]`` of weighted posts; NaN where the posts do not define the score.
    """


def _accuracy(confusion: Floats) -> Floats:
    return _ratio(_hits(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def _balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall of the classes that have posts."""
    support = confusion.sum(axis=-1)
    recalls = _ratio(_hits(confusion), support).sum(axis=-1)
    return _ratio(recalls, (support > 0).sum(axis=-1).astype(np.float64))


def class_values(confusion: Floats) -> dict[str, Floats]:
    """Precision, recall and F1 of every class ``[..., C]``.

    A class that is never predicted has precision 0, as in scikit-learn with ``zero_division=0``.
    """
    hits, support, predicted = _hits(confusion), confusion.sum(axis=-1), confusion.sum(axis=-2)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
    }


def _macro(name: str) -> Callable[[Floats], Floats]:
    """Mean over the classes that occur among labels or predictions."""

    def compute(confusion: Floats) -> Floats:
        occurs = (confusion.sum(axis=-1) + confusion.sum(axis=-2)) > 0
        values = (class_values(confusion)[name] * occurs).sum(axis=-1)
        return _ratio(values, occurs.sum(axis=-1).astype(np.float64))

    return compute


def _weighted(name: str) -> Callable[[Floats], Floats]:
    """Mean over classes, each weighted by its posts."""

    def compute(confusion: Floats) -> Floats:
        support = confusion.sum(axis=-1)
        return _ratio((class_values(confusion)[name] * support).sum(axis=-1), support.sum(axis=-1))

    return compute


def _mcc(confusion: Floats) -> Floats:
    """Matthews' coefficient of several classes (Gorodkin 2004); 0 where one side is constant."""
    total = confusion.sum(axis=(-2, -1))
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    together = total * _hits(confusion).sum(axis=-1) - (support * predicted).sum(axis=-1)
    spread = (total**2 - (support**2).sum(axis=-1)) * (total**2 - (predicted**2).sum(axis=-1))
    return _ratio(together, np.sqrt(spread))


def _kappa(confusion: Floats) -> Floats:
    """Cohen's kappa: agreement beyond that of equal class shares; 0 where that is complete."""
    total = confusion.sum(axis=(-2, -1))
    by_chance = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1)
    found = total * _hits(confusion).sum(axis=-1)
    return _ratio(found - by_chance, total**2 - by_chance)


def _hits(confusion: Floats) -> Floats:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _auroc(posts: Weighted) -> Floats:
    """Area under the ROC curve, one class against the rest, mean over the classes that occur."""
    return _mean_of_defined(posts.curves.areas)


def _average_precision(posts: Weighted) -> Floats:
    """Area under the precision-recall curve by steps, mean over the classes that occur."""
    return _mean_of_defined(posts.curves.precisions)


def _mean_of_defined(values: Floats) -> Floats:
    defined = np.isfinite(values)
    count = defined.sum(axis=1).astype(np.float64)
    mean: Floats = np.full(len(values), np.nan)
    np.divide(np.where(defined, values, 0.0).sum(axis=1), count, out=mean, where=count > 0)
    return mean


def _own_shares(answers: Answers) -> Floats:
    own: Floats = answers.shares[np.arange(len(answers.labels)), answers.labels]
    own /= answers.shares.sum(axis=1)
    return own


def _log_loss(posts: Weighted) -> Floats:
    """Mean of ``-ln p(true class)``; a probability counts as 1e-6 at least."""
    return posts.mean(-np.log(np.maximum(_own_shares(posts.answers), _LEAST_SHARE)))


def _brier(posts: Weighted) -> Floats:
    """Mean squared distance of probabilities and truth, summed over classes (Brier 1950)."""
    answers = posts.answers
    truth = np.eye(answers.classes)[answers.labels]
    return posts.mean(((answers.shares - truth) ** 2).sum(axis=1))


def _ece(posts: Weighted) -> Floats:
    """Expected calibration error of the highest probability in 15 equally wide bins.

    ``Σ_b |Σ_{i in b} (right_i - p_i)| / N`` (Guo et al. 2017, ICML, section 2).
    """
    answers = posts.answers
    surest = answers.shares.max(axis=1)
    gaps = (answers.predicted == answers.labels) - surest
    bins = np.clip(np.ceil(surest * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    sums = posts.sums(np.eye(ECE_BINS)[bins] * gaps[:, None])
    return np.asarray(np.abs(sums).sum(axis=1) / posts.totals)


class Score(StrEnum):
    """The scores; macro means are over the classes that occur."""

    row: LabelScore | ProbabilityScore

    def __new__(cls, row: Any) -> Self:  # noqa: ANN401  # a row here, a name in Score("accuracy")
        """Makes a member that is equal to its name."""
        member = str.__new__(cls, row.name)
        member._value_ = row.name
        member.row = row
        return member

    ACCURACY = LabelScore("accuracy", "accuracy", _accuracy)
    BALANCED_ACCURACY = LabelScore("balanced_accuracy", "balanced accuracy", _balanced_accuracy)
    PRECISION_MACRO = LabelScore("precision_macro", "macro precision", _macro("precision"))
    RECALL_MACRO = LabelScore("recall_macro", "macro recall", _macro("recall"))
    F1_MACRO = LabelScore("f1_macro", "macro-F1", _macro("f1"))
    PRECISION_WEIGHTED = LabelScore(
        "precision_weighted", "weighted precision", _weighted("precision")
    )
    RECALL_WEIGHTED = LabelScore("recall_weighted", "weighted recall", _weighted("recall"))
    F1_WEIGHTED = LabelScore("f1_weighted", "weighted F1", _weighted("f1"))
    MCC = LabelScore("mcc", "MCC", _mcc, least=-1.0, percent=False)
    KAPPA = LabelScore("kappa", "Cohen's kappa", _kappa, least=-1.0, percent=False)
    AUROC = ProbabilityScore("auroc", "AUROC", _auroc)
    AVERAGE_PRECISION = ProbabilityScore(
        "average_precision", "average precision", _average_precision
    )
    LOG_LOSS = ProbabilityScore(
        "log_loss", "log-loss", _log_loss, higher_is_better=False, most=inf, percent=False
    )
    BRIER = ProbabilityScore(
        "brier", "Brier", _brier, higher_is_better=False, most=2.0, percent=False
    )
    ECE = ProbabilityScore("ece", "ECE", _ece, higher_is_better=False)

    @property
    def heading(self) -> str:
        """Its title over a column of numbers."""
        return f"{self.row.title} %" if self.row.percent else self.row.title

    def shown(self, value: float) -> str:
        """A value as tables show it."""
        return f"{100 * value:.1f}" if self.row.percent else f"{value:.3f}"

    def within(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """An interval cut to the values that the score can have."""
        low, high = (min(max(bound, self.row.least), self.row.most) for bound in bounds)
        return low, high

    def gain(self, value: float) -> float:
        """The value, with its sign turned where lower is better: the higher, the better."""
        return value if self.row.higher_is_better else -value


LABEL_SCORES = tuple(s for s in Score if isinstance(s.row, LabelScore))


def score_confusion(confusion: Any) -> dict[Score, Floats]:  # noqa: ANN401  # any array of counts
    """All scores of predicted classes, of confusion matrices ``[..., C, C]``."""
    counts = np.asarray(confusion, np.float64)
    return {s: s.row.compute(counts) for s in Score if isinstance(s.row, LabelScore)}


def score_posts(posts: Weighted, scores: Iterable[Score] = Score) -> dict[Score, Floats]:
    """Scores ``[R]`` of weighted posts; those of probabilities only where these are known."""
    known = posts.answers.probabilities is not None
    found: dict[Score, Floats] = {}
    for name in scores:
        if isinstance(name.row, LabelScore):
            found[name] = name.row.compute(posts.confusion)
        elif known:
            found[name] = name.row.compute(posts)
    return found


def is_better(entry: Mapping[str, Any], than: Mapping[str, Any], select: Score) -> bool:
    """Whether an entry of a history has the better score; of equal ones, the lower loss.

    Raises:
        ConfigError: The validation posts do not define the score.
    """
    key = f"val_{select.value}"
    if key not in entry:
        raise ConfigError(
            f"--select {select.value} is not defined for these validation posts",
            expected="a score that they define, such as accuracy",
            found="validation posts of one class alone",
        )
    own, others = (select.gain(each[key]) for each in (entry, than))
    return bool((own, -entry["val_loss"]) > (others, -than["val_loss"]))
