"""Means over folds or random splits, whose training posts overlap: the corrected t-test.

Scores of folds are not independent, as any two share most of their training posts. The variance of
their mean is taken as ``(1/J + n_test/n_train) · s²`` in the place of ``s²/J``, with ``J - 1``
degrees of freedom.

Source:
    Nadeau and Bengio 2003, Inference for the Generalization Error, Machine Learning 52, section 5;
    for cross-validation as in Bouckaert and Frank 2004, PAKDD.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from mvsa_pipe.metrics.scores import Interval


@dataclass(frozen=True)
class CorrectedMean:
    """Mean of a number over folds.

    Attributes:
        mean: The mean.
        error: Its corrected standard error.
        interval: The mean and ``error`` times the quantile of Student's t.
        p_value: Two-sided, of the hypothesis that the mean is zero.
    """

    mean: float
    error: float
    interval: Interval
    p_value: float


def corrected_mean(
    values: Sequence[float], test_to_train: float, confidence: float = 0.95
) -> CorrectedMean:
    """Mean, interval and test of one number per fold.

    Args:
        values: One per fold or split, such as the difference of two heads' scores there.
        test_to_train: Posts that a fold tests on, as a share of those that it trains on.
        confidence: Coverage of the interval.

    Raises:
        ValueError: Fewer than two values, of which no variance is known.
    """
    from scipy.stats import t

    numbers = np.asarray(values, np.float64)
    mean, freedom = float(numbers.mean()), len(numbers) - 1
    if freedom < 1:
        raise ValueError("a corrected t-test needs two folds or more")
    error = sqrt((1 / len(numbers) + test_to_train) * float(numbers.var(ddof=1)))
    if error == 0:
        return CorrectedMean(mean, 0.0, (mean, mean), 1.0 if mean == 0 else 0.0)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(mean) / error, freedom))
    return CorrectedMean(mean, error, (mean - reach, mean + reach), p_value)
