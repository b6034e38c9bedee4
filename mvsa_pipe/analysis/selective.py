"""Prediction sets at a chosen coverage, and scores of a head that may abstain.

Axes beyond the common legend: ``R`` resamples, ``G`` shares of answered posts.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.metrics.weighted import Answers, Classes, Floats


def set_threshold(shares: Floats, labels: Classes, coverage: float) -> float:
    """The largest score ``s = 1 - p(class)`` of the classes in a prediction set.

    It is the ``⌈(n + 1) · coverage⌉``-th smallest score of the true classes of ``n`` posts, and
    infinite where there are too few posts for the coverage: sets then contain every class. New
    posts of the same distribution are covered with a probability of ``coverage`` or more.

    Args:
        shares: Probabilities of posts that the head was not trained on ``[n, C]``.
        labels: Their classes ``[n]``.
        coverage: The share of posts whose set contains the true class.

    Source:
        Split conformal prediction: Angelopoulos and Bates 2023, Conformal Prediction: A Gentle
        Introduction, Foundations and Trends in Machine Learning 16, section 1. The score: Sadinle,
        Lei and Wasserman 2019, JASA 114.
    """
    scores = np.sort(1 - shares[np.arange(len(labels)), labels])
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def prediction_sets(shares: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether each class is in the set of each post ``[N, C]``."""
    return np.asarray(1 - shares <= threshold + 1e-9)


@dataclass(frozen=True)
class RiskCoverage:
    """Errors of a head that answers the posts that it is surest of.

    Attributes:
        risks: Share of errors among the answered posts ``[R, G]``.
        area: Mean share of errors over all shares of answered posts ``[R]``.
    """

    risks: Floats
    area: Floats


def risk_coverage(answers: Answers, weights: NDArray[np.float32], answered: Floats) -> RiskCoverage:
    """The risk-coverage curve and the area under it (AURC).

    Posts are answered from the highest probability downwards. The area is the mean over posts of
    the error among the posts up to each.

    Args:
        answers: Predictions with probabilities.
        weights: Weightings of the posts ``[R, N]``.
        answered: Shares of answered posts ``[G]``.

    Source:
        El-Yaniv and Wiener 2010, JMLR 11; Geifman, Uziel and El-Yaniv 2019, ICLR.
    """
    order = np.argsort(-answers.shares.max(axis=1), kind="stable")
    own = weights[:, order].astype(np.float64)
    wrong = (answers.predicted != answers.labels)[order]
    totals, errors = np.cumsum(own, axis=1), np.cumsum(own * wrong, axis=1)
    running = np.divide(errors, totals, out=np.zeros_like(errors), where=totals > 0)
    whole = totals[:, -1]
    places = [(totals < share * whole[:, None] - 1e-6).sum(axis=1) for share in answered]
    risks = np.stack([running[np.arange(len(own)), place] for place in places], axis=1)
    return RiskCoverage(risks, (own * running).sum(axis=1) / whole)
