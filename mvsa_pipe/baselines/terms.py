"""tf-idf of the text, with a vocabulary that is learned from training posts alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline

from mvsa_pipe.errors import DataError

# Words and pairs of neighbouring words.
_LONGEST_TERM = 2


class ToVariance(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Multiplies sparse vectors by one number, so that their variances add up to a given sum.

    A penalty then weighs them like standardised vectors that they stand beside.

    Args:
        variance: The sum of the variances of all entries over the training posts.

    Attributes:
        factor_: The number.
    """

    def __init__(self, variance: float = 1.0) -> None:
        self.variance = variance

    def fit(self, rows: Any, labels: object = None) -> "ToVariance":  # noqa: ANN401, ARG002
        """Finds the number; 1 where all rows are the same."""
        varies = rows.multiply(rows).sum() / rows.shape[0] - np.square(rows.mean(axis=0)).sum()
        self.factor_ = float((self.variance / varies) ** 0.5) if varies > 1e-9 else 1.0
        return self

    def transform(self, rows: Any) -> Any:  # noqa: ANN401
        """The rows times the number, in their own precision."""
        return rows * rows.dtype.type(self.factor_)


def require_words(texts: Sequence[str]) -> None:
    """Refuses texts of which no vocabulary can be learned.

    Raises:
        DataError: No text has a word.
    """
    find = TfidfVectorizer().build_analyzer()
    if not any(find(text) for text in texts):
        raise DataError(
            "tf-idf terms need words of two letters or more in the training posts' texts",
            found=f"none in {len(texts):,} texts",
            hint="leave out --set terms=…",
        )


def make_terms(most: int, variance: float) -> Pipeline:
    """Words and pairs of words, weighed by how rare they are: ``(1 + ln n) · idf``, length 1.

    Args:
        most: The most frequent terms that are kept; others count for nothing later.
        variance: As of ``ToVariance``.

    Source:
        scikit-learn's ``TfidfVectorizer`` with ``sublinear_tf`` and ``ngram_range=(1, 2)``.
    """
    vectorizer = TfidfVectorizer(
        ngram_range=(1, _LONGEST_TERM), sublinear_tf=True, dtype=np.float32, max_features=most
    )
    return Pipeline([("tfidf", vectorizer), ("scale", ToVariance(variance))])
