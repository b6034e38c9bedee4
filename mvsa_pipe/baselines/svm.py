"""Support vector machines on the pooled vectors: a non-linear kernel baseline."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC
from torch import Tensor

from mvsa_pipe.baselines.base import Baseline, BaselineOptions
from mvsa_pipe.options import option

# Parts that the training posts are cut into to see margins of posts that were not trained on.
_FOLDS = 3
# Bounds of the factor between margins and logits, and halvings of the space between them.
_SCALES = (0.05, 20.0)
_HALVINGS = 30


@dataclass(frozen=True)
class SvmOptions(BaselineOptions):
    """Options of the support vector machines.

    Attributes:
        gamma: How fast the kernel falls, in units of one over the number of features, which is
            scikit-learn's ``scale``; less was better on validation posts of MVSA-Single. Terms
            count as another such number of features, as they vary as much.
    """

    gamma: float = option(0.3, least=1e-4, below=1e4)


class Svm(Baseline):
    """Support vector machines with a Gaussian kernel, one for each pair of classes.

    With ``x`` standardised, ``k(x, s) = exp(-γ/D |x - s|²)``; with ``terms`` their tf-idf stands
    beside ``x``. The strength is what a post on the wrong side costs, scikit-learn's ``C``.

    Source:
        scikit-learn's ``SVC`` with an RBF kernel.

    Differs from source:
        As ``PairwiseSvc``. Classes that no training post has keep a column, of almost no
        probability.
    """

    Options = SvmOptions
    strengths = (1.0, 3.0, 10.0, 30.0)
    seeded = False
    title = "A support vector machine"
    side_by_side = False  # each fit holds kernels of N² numbers
    options: SvmOptions

    def vectors(self) -> Any:  # noqa: ANN401
        """Every entry at mean 0 and variance 1."""
        from sklearn.preprocessing import StandardScaler

        return StandardScaler()

    def classifier(self, strength: float) -> "PairwiseSvc":
        """The machines."""
        gamma = self.options.gamma / (self.width * (2 if self.reads_texts else 1))
        return PairwiseSvc(cost=strength, gamma=gamma, dense_columns=self.width)

    def learned(self, classifier: Any) -> int:  # noqa: ANN401
        """Support vectors without the zeros of their terms, weights and biases."""
        held = (
            classifier.support_vectors_,
            classifier.support_terms_,
            classifier.dual_coef_,
            classifier.intercept_,
        )
        return sum(int(values.size) for values in held)


class PairwiseSvc(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """``SVC`` with a Gaussian kernel, whose margins become probabilities by one factor.

    The margin of class ``a`` over ``b`` being ``f_ab(x) = Σ_s α_ab,s k(x, s) + β_ab = -f_ba(x)``,
    the logits are ``t/K Σ_b f_ab(x)``: as if every margin were the log-odds of its pair, up to one
    factor ``t``. It is the most likely one for margins of training posts that were left out in
    turn. Sums over pairs are folded into one weight a support vector and class.

    Args:
        cost: The penalty of margin violations, the ``C`` of ``SVC``.
        gamma: How fast the kernel falls, as of ``SVC``.
        dense_columns: The first columns of a sparse matrix that have hardly a zero.

    Differs from source:
        Margins of pairs are summed where ``SVC`` counts votes, which is continuous and knows no
        ties; probabilities come from one factor where Platt's method fits two numbers a pair.

    Axes beyond the common legend: ``K`` classes that training posts have, ``Q`` pairs of them,
    ``M`` support vectors.
    """

    def __init__(self, cost: float = 1.0, gamma: float = 1.0, dense_columns: int = 0) -> None:
        self.cost = cost
        self.gamma = gamma
        self.dense_columns = dense_columns

    def fit(
        self,
        x: Any,  # noqa: ANN401  # dense or sparse
        labels: Int[np.ndarray, " N"],
        sample_weight: Float[np.ndarray, " N"] | None = None,
    ) -> "PairwiseSvc":
        """Fits the machines, and the factor on posts that are left out in turn."""
        dense, rows = self._parts(x)
        kernel = self._kernel(dense, rows, dense, rows)
        model = SVC(C=self.cost, kernel="precomputed", decision_function_shape="ovo")
        scale = _scale(model, kernel, labels, sample_weight)
        model.fit(kernel, labels, sample_weight)
        dual, bias = _folded(model, len(model.classes_))
        self.classes_ = model.classes_
        self.support_vectors_ = dense[model.support_]
        if rows is None:
            rows = sparse.csr_matrix((len(labels), 0), dtype=np.float32)
        kept = rows[model.support_]
        # plain arrays, as they are saved
        self.support_terms_, self.term_columns_, self.term_bounds_ = (
            kept.data,
            kept.indices,
            kept.indptr,
        )
        self.dual_coef_ = scale * dual
        self.intercept_ = scale * bias
        return self

    def predict_proba(self, x: Any) -> Float[np.ndarray, "N K"]:  # noqa: ANN401
        """Probability of each class."""
        dense, rows = self._parts(x)
        kernel = self._kernel(dense, rows, self.support_vectors_, self._support_rows(rows))
        shares: np.ndarray = softmax(kernel @ self.dual_coef_ + self.intercept_, axis=1)
        return shares

    def predict(self, x: Any) -> Int[np.ndarray, " N"]:  # noqa: ANN401
        """The most probable class."""
        best: np.ndarray = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return best

    def _parts(self, x: Any) -> tuple[Float[np.ndarray, "N D"], Any]:  # noqa: ANN401
        """The dense columns, in single precision, and the sparse ones if there are any."""
        if not sparse.issparse(x):
            return np.ascontiguousarray(x, np.float32), None
        rows = x.tocsr()
        dense = np.ascontiguousarray(rows[:, : self.dense_columns].toarray(), np.float32)
        return dense, rows[:, self.dense_columns :].astype(np.float32)

    def _support_rows(self, rows: Any) -> Any:  # noqa: ANN401
        """Terms of the support vectors, as a sparse matrix as wide as that of posts."""
        if rows is None:
            return None
        entries = (self.support_terms_, self.term_columns_, self.term_bounds_)
        support = sparse.csr_matrix(entries, shape=(len(self.support_vectors_), rows.shape[1]))
        support.check_format(full_check=True)  # scipy itself reads places without a check
        return support

    def _kernel(
        self,
        dense: Float[np.ndarray, "N D"],
        rows: Any,  # noqa: ANN401
        support: Float[np.ndarray, "M D"],
        support_rows: Any,  # noqa: ANN401
    ) -> Float[np.ndarray, "N M"]:
        """The kernel of posts and support vectors.

        On few posts the solver stops elsewhere for another rounding of the kernel, by up to a
        thousandth of a margin; torch's rounding is that of the published figures.
        """
        squares = _squares(torch.from_numpy(dense), torch.from_numpy(support))
        if rows is not None:
            squares += torch.from_numpy(_sparse_squares(rows, support_rows))
        kernel: np.ndarray = torch.exp(-self.gamma * squares).double().numpy()
        return kernel


def _squares(x: Float[Tensor, "N D"], support: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """``|x - s|²`` for every pair."""
    # not torch.cdist, which computes otherwise for few rows than for many
    lengths = (x * x).sum(1)[:, None] + (support * support).sum(1)
    return (lengths - 2.0 * (x @ support.T)).clamp(min=0.0)


def _sparse_squares(rows: Any, support: Any) -> Float[np.ndarray, "N M"]:  # noqa: ANN401
    """``|t - s|²`` for every pair of rows of two sparse matrices."""
    own, others = (np.asarray(m.multiply(m).sum(axis=1)).ravel() for m in (rows, support))
    products = (rows @ support.T).toarray()
    squares: np.ndarray = np.maximum(own[:, None] + others - 2.0 * products, 0.0)
    return squares


def _pair_signs(classes: int) -> Float[np.ndarray, "Q K"]:
    """How the margin of each pair counts for each class: 1/K for its first, -1/K for its second."""
    pairs = list(combinations(range(classes), 2))
    signs = np.zeros((len(pairs), classes))
    for row, (first, second) in enumerate(pairs):
        signs[row, first], signs[row, second] = 1.0 / classes, -1.0 / classes
    return signs


def _folded(
    model: Any,  # noqa: ANN401  # scikit-learn has no types
    classes: int,
) -> tuple[Float[np.ndarray, "M K"], Float[np.ndarray, " K"]]:
    """One weight a support vector and class, and one bias a class, from those of the pairs."""
    signs = _pair_signs(classes)
    if classes == 2:  # scikit-learn turns the margin of a single pair around
        return -model.dual_coef_.T @ signs, -model.intercept_ @ signs
    owner = np.repeat(np.arange(classes), model.n_support_)
    pairs = np.zeros((len(owner), len(signs)))
    for row, (first, second) in enumerate(combinations(range(classes), 2)):
        # a class's row against another skips itself
        pairs[owner == first, row] = model.dual_coef_[second - 1, owner == first]
        pairs[owner == second, row] = model.dual_coef_[first, owner == second]
    return pairs @ signs, model.intercept_ @ signs


def _scale(
    model: Any,  # noqa: ANN401
    kernel: Float[np.ndarray, "N N"],
    labels: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"] | None,
) -> float:
    """The factor with which margins of held-out posts predict their classes best."""
    present, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < _FOLDS:
        return 1.0  # some part could not be judged by the others
    fold = np.empty(len(labels), np.int64)
    for place in range(len(present)):  # every part gets its share of every class
        fold[places == place] = np.arange(counts[place]) % _FOLDS
    logits = np.empty((len(labels), len(present)))
    for left_out in range(_FOLDS):
        inside, outside = fold != left_out, fold == left_out
        own = None if weights is None else weights[inside]
        model.fit(kernel[np.ix_(inside, inside)], labels[inside], own)
        margins = model.decision_function(kernel[np.ix_(outside, inside)])
        margins = -margins[:, None] if margins.ndim == 1 else margins
        logits[outside] = margins @ _pair_signs(len(present))
    counting = np.ones(len(labels)) if weights is None else weights
    return _likeliest_scale(logits, places, counting)


def _likeliest_scale(
    logits: Float[np.ndarray, "N K"],
    places: Int[np.ndarray, " N"],
    counting: Float[np.ndarray, " N"],
) -> float:
    """The factor of least cross-entropy, which is convex in it: where its slope changes sign."""
    low, high = _SCALES
    right = np.take_along_axis(logits, places[:, None], axis=1)[:, 0]
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(low * high))
        shares = softmax(middle * logits, axis=1)
        slope = counting @ ((shares * logits).sum(axis=1) - right)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.sqrt(low * high))
