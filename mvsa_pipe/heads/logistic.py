"""Logistic regression on the pooled vectors: the baseline that a neural head must beat."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvsa_pipe.features import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.solving import (
    ABSENT,
    JointHead,
    SolvingOptions,
    beside,
    present_classes,
    spread,
    weight_a_class,
)

# lbfgs stops by its tolerance long before; a warning of no convergence would be an error
_MAX_ITERATIONS = 20_000


class Logistic(JointHead):
    """One linear map over both pooled vectors: ``softmax(W [F_T; F_I] + b)``.

    ``solve`` fits it on standardised features and folds the standardisation into the map: with
    ``W'`` and ``b'`` fitted on ``(x - mean) / std``, ``W = W' / std`` and ``b = b' - W mean``.
    Trained by gradient steps it is the same map without standardisation. With ``terms`` their
    tf-idf ``t`` has a map of its own, ``softmax(W [F_T; F_I] + U t + b)``; it is not standardised.

    Source:
        scikit-learn's ``LogisticRegression`` with L2 penalty.

    Differs from source:
        Classes that no training post has keep a place in the logits, far below the others.
    """

    strengths = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0)
    grows = ("of_terms",)
    seeded = False

    def __init__(self, sizes: FeatureSizes, options: SolvingOptions) -> None:
        super().__init__(sizes, options)
        self.linear = nn.Linear(self.width, sizes.classes)
        if self.terms is not None:
            self.of_terms = nn.Parameter(torch.zeros(0, sizes.classes))

    def faults(self) -> Iterator[str]:
        """Weights of other terms than the vocabulary has."""
        if self.terms is not None and len(self.of_terms) != len(self.terms.get_buffer("idf")):
            yield "of_terms, which has not one row a term"

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both pooled vectors, and from terms where there are any."""
        logits: Tensor = self.linear(self.inputs(batch))
        return logits if self.terms is None else logits + self.terms(batch) @ self.of_terms

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
            strength: Inverse strength of the penalty, scikit-learn's ``C``.
            class_weights: How much a post of each class counts.

        Raises:
            DataError: All training posts have the same class, terms are asked of no words, or
                features are too large.
        """
        # only a run that asks for this head pays for the import
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        labels = train_labels.cpu().numpy()
        present = present_classes(labels, "Logistic regression")
        inputs = self.inputs(train).detach().cpu().double().numpy()
        mean, std = spread(inputs)
        x = (inputs - mean) / std
        if self.terms is not None:
            x = beside(x, self.terms.learn(train, variance=float(self.width)))
        model = LogisticRegression(
            C=strength,
            class_weight=weight_a_class(present, class_weights),
            max_iter=_MAX_ITERATIONS,
        )
        # BLAS threads gain nothing at this size, and lose much on a busy machine
        with threadpool_limits(1):
            model.fit(x, labels)
        weight, bias = _one_row_a_class(model.coef_, model.intercept_)
        if self.terms is not None:
            of_terms = np.zeros((x.shape[1] - self.width, self.sizes.classes))
            of_terms[:, present] = weight[:, self.width :].T
            self.assign("of_terms", of_terms)
        weight = weight[:, : self.width] / std
        self._assign(present, weight, bias - weight @ mean)

    @torch.no_grad()
    def _assign(
        self, present: np.ndarray, weight: Float[np.ndarray, "K D"], bias: Float[np.ndarray, " K"]
    ) -> None:
        self.linear.weight.zero_()
        self.linear.bias.fill_(ABSENT)
        # assigned in place: an optimiser or a graph may hold the parameters
        self.linear.weight[present] = torch.from_numpy(weight).to(self.linear.weight)
        self.linear.bias[present] = torch.from_numpy(bias).to(self.linear.bias)


def _one_row_a_class(
    weight: Float[np.ndarray, "R D"], bias: Float[np.ndarray, " R"]
) -> tuple[Float[np.ndarray, "K D"], Float[np.ndarray, " K"]]:
    """One centred row of weights a class; scikit-learn gives two classes a single row."""
    if len(weight) == 1:
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight - weight.mean(axis=0), bias - bias.mean()
