"""Logistic regression on the pooled vectors: the baseline that a neural head must beat."""

from typing import Any

from mvsa_pipe.baselines.base import Baseline

# lbfgs stops by its tolerance long before; a warning of no convergence would be an error
_MAX_ITERATIONS = 20_000


class Logistic(Baseline):
    """One linear map over both standardised vectors: ``softmax(W [F_T; F_I] + b)``.

    With ``terms`` their tf-idf ``t`` has a map of its own, ``softmax(W [F_T; F_I] + U t + b)``.
    The strength is the inverse of the penalty's, scikit-learn's ``C``.

    Source:
        scikit-learn's ``LogisticRegression`` with L2 penalty.

    Differs from source:
        Classes that no training post has keep a column, of almost no probability.
    """

    strengths = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0)
    seeded = False
    title = "Logistic regression"

    def vectors(self) -> Any:  # noqa: ANN401
        """Every entry at mean 0 and variance 1."""
        from sklearn.preprocessing import StandardScaler

        return StandardScaler()

    def classifier(self, strength: float) -> Any:  # noqa: ANN401
        """The regression."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)

    def learned(self, classifier: Any) -> int:  # noqa: ANN401
        """Weights and biases."""
        return int(classifier.coef_.size + classifier.intercept_.size)
