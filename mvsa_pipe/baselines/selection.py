"""Fits a baseline with every strength, and keeps the best on validation."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.metrics.score_table import Score, is_better
from mvsa_pipe.metrics.scores import validation_scores
from mvsa_pipe.metrics.weighted import Answers

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class LabelledRows:
    """Posts with their classes.

    Attributes:
        frame: What a baseline reads of them.
        labels: Their classes.
    """

    frame: "DataFrame"
    labels: Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Selection:
    """The best baseline on validation.

    Attributes:
        baseline: The baseline.
        history: One entry a strength, in order.
        best: Index of the picked entry.
    """

    baseline: Baseline
    history: list[dict[str, Any]]
    best: int


def select(
    baseline: Baseline,
    train: LabelledRows,
    val: LabelledRows,
    class_weights: Float[np.ndarray, " C"] | None,
    score: Score,
    on_step: Callable[[], None],
    on_fitted: Callable[[Sequence[Mapping[str, Any]], int], None],
) -> Selection:
    """Fits a baseline with every strength, and keeps the best on validation.

    Args:
        baseline: What to fit.
        train: What it is fitted to.
        val: What picks the strength.
        class_weights: Weight of a post of each class.
        score: The score that picks; of equal ones the lower loss does.
        on_step: Callback before each strength; raise to cancel.
        on_fitted: Called after each strength with the entries so far and the index of the best.

    Raises:
        DataError: As ``Baseline.fit``.
    """
    from threadpoolctl import threadpool_limits

    history: list[dict[str, Any]] = []
    best, kept, transformed = 0, baseline, None
    # BLAS threads gain nothing at this size, and lose much on a busy machine
    with threadpool_limits(1):
        on_step()
        for place, fitted in enumerate(baseline.fit(train.frame, train.labels, class_weights)):
            if transformed is None:  # all strengths share inputs that are fitted once
                transformed = fitted.transform(val.frame)
            entry = _entry(fitted, val, transformed)
            history.append({"strength": baseline.strengths[place]} | entry)
            if place == 0 or is_better(history[place], history[best], score):
                best, kept = place, fitted
            on_fitted(history, best)
            if place + 1 < len(baseline.strengths):
                on_step()
    return Selection(kept, history, best)


def _entry(
    baseline: Baseline,
    val: LabelledRows,
    transformed: Any,  # noqa: ANN401
) -> dict[str, float]:
    shares = baseline.predict(val.frame, transformed)
    own = shares[np.arange(len(val.labels)), val.labels]
    loss = -math.fsum(np.log(own)) / len(own)
    known = shares if math.isfinite(loss) else None
    answers = Answers(val.labels, shares.argmax(axis=1), baseline.sizes.classes, known)
    return validation_scores(loss, answers)
