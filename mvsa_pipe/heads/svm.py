"""Support vector machines on the pooled vectors: a baseline that bends."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvsa_pipe.features import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.options import Range
from mvsa_pipe.heads.solving import (
    ABSENT,
    JointHead,
    SolvingOptions,
    present_classes,
    spread,
    weight_a_class,
)

# Parts that the training posts are cut into to see margins of posts that were not trained on.
_FOLDS = 3
# Bounds of the factor between margins and logits, and halvings of the space between them.
_SCALES = (0.05, 20.0)
_HALVINGS = 30


@dataclass(frozen=True)
class SvmOptions(SolvingOptions):
    """Options of the support vector machines.

    Attributes:
        gamma: How fast the kernel falls, in units of one over the number of features, which is
            scikit-learn's ``scale``; less was better on validation posts of MVSA-Single. Terms
            count as another such number of features, as they vary as much.
    """

    gamma: Annotated[float, Range(least=1e-4, below=1e4)] = 0.3


class Svm(JointHead):
    """Support vector machines with a Gaussian kernel, one for each pair of classes.

    With ``x`` standardised, ``k(x, s) = exp(-γ/D |x - s|²)`` and the margin of class ``a`` over
    ``b`` being ``f_ab(x) = Σ_s α_ab,s k(x, s) + β_ab = -f_ba(x)``, the logits are
    ``t/K Σ_b f_ab(x)``: as if every margin were the log-odds of its pair, up to one factor ``t``.
    ``t`` makes probabilities of margins; it is the most likely one for margins of training posts
    that were left out in turn. Sums over pairs are folded into one weight a support vector and
    class, which with the support vectors themselves is all that is kept. With ``terms`` the square
    of the distance is the sum of two: between pooled vectors and between tf-idf, which is kept of
    support vectors as its entries alone.

    Source:
        scikit-learn's ``SVC`` with an RBF kernel.

    Differs from source:
        Margins of pairs are summed where ``SVC`` counts votes, which is continuous and knows no
        ties; probabilities come from one factor where Platt's method fits two numbers a pair.
    """

    Options = SvmOptions
    strengths = (1.0, 3.0, 10.0, 30.0)
    grows = ("support", "dual", "term_posts", "term_places", "term_values")
    seeded = False

    def __init__(self, sizes: FeatureSizes, options: SvmOptions) -> None:
        super().__init__(sizes, options)
        self.gamma = options.gamma / (self.width * (1 if self.terms is None else 2))
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("std", torch.ones(self.width))
        self.support = nn.Parameter(torch.zeros(0, self.width))
        self.dual = nn.Parameter(torch.zeros(0, sizes.classes))
        self.bias = nn.Parameter(torch.zeros(sizes.classes))
        if self.terms is not None:
            self.register_buffer("term_posts", torch.zeros(0, dtype=torch.int64))
            self.register_buffer("term_places", torch.zeros(0, dtype=torch.int64))
            self.register_buffer("term_values", torch.zeros(0))

    def faults(self) -> Iterator[str]:
        """Support vectors without weights, or terms of none of them."""
        if len(self.support) != len(self.dual):
            yield "support and dual of different numbers of support vectors"
        if self.terms is None:
            return
        posts, places = self.get_buffer("term_posts"), self.get_buffer("term_places")
        if not len(posts) == len(places) == len(self.get_buffer("term_values")):
            yield "term_posts, term_places and term_values of different lengths"
        ends = (
            ("term_posts", posts, len(self.support)),
            ("term_places", places, len(self.terms.get_buffer("idf"))),
        )
        for name, values, there in ends:
            if values.numel() and not bool(((values >= 0) & (values < there)).all()):
                yield f"{name}, which names others than the {there:,} that there are"

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from the kernel between posts and support vectors."""
        x = (self.inputs(batch) - self.get_buffer("mean")) / self.get_buffer("std")
        squares = squared_distances(x, self.support)
        if self.terms is not None:
            squares = squares + self._apart(self.terms(batch))
        return torch.exp(-self.gamma * squares) @ self.dual + self.bias

    def _apart(self, terms: Float[Tensor, "B V"]) -> Float[Tensor, "B S"]:
        """Squared distances between the terms of posts and of support vectors."""
        posts, places = self.get_buffer("term_posts"), self.get_buffer("term_places")
        values, count = self.get_buffer("term_values"), len(self.support)
        sparse = torch.sparse_coo_tensor(
            torch.stack([posts, places]), values, (count, terms.shape[1]), check_invariants=True
        )
        squares = values.new_zeros(count).index_add(0, posts, values * values)
        products = torch.sparse.mm(sparse, terms.T).T
        return _squares(terms, squares, products)

    def solve(
        self,
        train: FeatureBatch,
        train_labels: Int[Tensor, " B"],
        strength: float,
        class_weights: Float[Tensor, " C"] | None,
    ) -> None:
        """Sets the weights from all training posts at once.

        Args:
            train: The training posts.
            train_labels: Their classes.
            strength: What a post on the wrong side costs, scikit-learn's ``C``.
            class_weights: How much a post of each class counts.

        Raises:
            DataError: All training posts have the same class, terms are asked of no words, or
                features are too large.
        """
        # only a run that asks for this head pays for the import
        from sklearn.svm import SVC
        from threadpoolctl import threadpool_limits

        labels = train_labels.cpu().numpy()
        present = present_classes(labels, "A support vector machine")
        weights = weight_a_class(present, class_weights)
        inputs = self.inputs(train).detach().cpu()
        mean, std = spread(inputs.double().numpy())
        x = ((inputs - torch.from_numpy(mean)) / torch.from_numpy(std)).float()
        # BLAS threads gain nothing at this size, and lose much on a busy machine
        with threadpool_limits(1):
            squares = squared_distances(x, x)
            if self.terms is not None:
                rows = self.terms.learn(train, variance=float(self.width))
                squares += _sparse_squares(rows)
            kernel = torch.exp(-self.gamma * squares).double().numpy()
            model = SVC(
                C=strength,
                kernel="precomputed",
                class_weight=weights,
                decision_function_shape="ovo",
            )
            scale = _scale(model, kernel, labels, weights)
            model.fit(kernel, labels)
        dual, bias = _folded(model, len(present))
        self.assign("mean", mean)
        self.assign("std", std)
        self.assign("support", x[torch.from_numpy(model.support_).long()])
        if self.terms is not None:
            kept = rows[model.support_].tocoo()
            self.assign("term_posts", kept.row)
            self.assign("term_places", kept.col)
            self.assign("term_values", kept.data)
        every = np.zeros((len(dual), self.sizes.classes))
        every[:, present] = scale * dual
        self.assign("dual", every)
        shift = np.full(self.sizes.classes, ABSENT)
        shift[present] = scale * bias
        self.assign("bias", shift)


def squared_distances(
    x: Float[Tensor, "B D"], support: Float[Tensor, "S D"]
) -> Float[Tensor, "B S"]:
    """``|x - s|²`` for every pair."""
    # not torch.cdist, which computes otherwise for few rows than for many
    return _squares(x, (support * support).sum(1), x @ support.T)


def _squares(
    x: Float[Tensor, "B D"], squares: Float[Tensor, " S"], products: Float[Tensor, "B S"]
) -> Float[Tensor, "B S"]:
    return ((x * x).sum(1)[:, None] + squares - 2.0 * products).clamp(min=0.0)


def _sparse_squares(rows: Any) -> Float[Tensor, "B B"]:  # noqa: ANN401  # scipy has no types
    """``|t - s|²`` for every pair of rows of a sparse matrix."""
    lengths = torch.from_numpy(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    products = torch.from_numpy((rows @ rows.T).toarray())
    return (lengths[:, None] + lengths - 2.0 * products).clamp(min=0.0)


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
) -> tuple[Float[np.ndarray, "S K"], Float[np.ndarray, " K"]]:
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
    kernel: Float[np.ndarray, "B B"],
    labels: Int[np.ndarray, " B"],
    weights: dict[int, float] | None,
) -> float:
    """The factor under which margins of posts that were left out tell their classes best."""
    present, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < _FOLDS:
        return 1.0  # some part could not be judged by the others
    fold = np.empty(len(labels), np.int64)
    for place in range(len(present)):  # every part gets its share of every class
        fold[places == place] = np.arange(counts[place]) % _FOLDS
    logits = np.empty((len(labels), len(present)))
    for left_out in range(_FOLDS):
        inside, outside = fold != left_out, fold == left_out
        model.fit(kernel[np.ix_(inside, inside)], labels[inside])
        margins = model.decision_function(kernel[np.ix_(outside, inside)])
        margins = -margins[:, None] if margins.ndim == 1 else margins
        logits[outside] = margins @ _pair_signs(len(present))
    counting = np.ones(len(labels)) if weights is None else np.array([weights[c] for c in labels])
    return _likeliest_scale(logits, places, counting)


def _likeliest_scale(
    logits: Float[np.ndarray, "B K"],
    places: Int[np.ndarray, " B"],
    counting: Float[np.ndarray, " B"],
) -> float:
    """The factor of least cross-entropy, which is convex in it: where its slope changes sign."""
    low, high = _SCALES
    right = np.take_along_axis(logits, places[:, None], axis=1)[:, 0]
    for _ in range(_HALVINGS):
        middle = float(np.sqrt(low * high))
        shares = torch.from_numpy(middle * logits).softmax(dim=1).numpy()
        slope = counting @ ((shares * logits).sum(axis=1) - right)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.sqrt(low * high))
