"""Logistic regression on the pooled vectors: the baseline that a neural head must beat."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import HeadOptions, SolvableHead

# A class that no training post has shall get no probability to speak of, yet a finite logit. The
# logits of the others are centred, so that the largest is at least 0.
_ABSENT = -30.0
# lbfgs stops by its tolerance long before; a warning of no convergence would be an error
_MAX_ITERATIONS = 20_000


class Logistic(SolvableHead):
    """One linear map over both pooled vectors: ``softmax(W [F_T; F_I] + b)``.

    ``solve`` fits it on standardised features and folds the standardisation into the map: with
    ``W'`` and ``b'`` fitted on ``(x - mean) / std``, ``W = W' / std`` and ``b = b' - W mean``.
    Trained by gradient steps it is the same map without standardisation.

    Source:
        scikit-learn's ``LogisticRegression`` with L2 penalty.

    Differs from source:
        Classes that no training post has keep a place in the logits, far below the others.
    """

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})

    def __init__(self, sizes: FeatureSizes, options: HeadOptions) -> None:
        super().__init__(sizes, options)
        self.linear = nn.Linear(sizes.text_width + sizes.image_width, sizes.classes)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both pooled vectors."""
        logits: Tensor = self.linear(self._inputs(batch))
        return logits

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
            DataError: All training posts have the same class.
        """
        # only a run that asks for this head pays for the import
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        labels = train_labels.cpu().numpy()
        present = np.unique(labels)
        if len(present) < 2:
            raise DataError(
                "Logistic regression needs at least two classes among the training posts",
                found=f"class {present.tolist()} alone",
            )
        inputs = self._inputs(train).detach().cpu().double().numpy()
        mean, std = inputs.mean(axis=0), inputs.std(axis=0)
        std[std == 0.0] = 1.0  # a constant feature tells nothing; dividing by 0 would say NaN
        weights = None if class_weights is None else class_weights.cpu().double().numpy()
        model = LogisticRegression(
            C=strength,
            class_weight=None if weights is None else {int(c): weights[c] for c in present},
            max_iter=_MAX_ITERATIONS,
        )
        # BLAS threads gain nothing at this size, and lose much on a busy machine
        with threadpool_limits(1):
            model.fit((inputs - mean) / std, labels)
        weight, bias = _one_row_a_class(model.coef_, model.intercept_)
        weight = weight / std
        self._assign(present, weight, bias - weight @ mean)

    def _inputs(self, batch: FeatureBatch) -> Float[Tensor, "B D"]:
        return torch.cat(
            [self.read(batch, Field.TEXT_POOLED), self.read(batch, Field.IMAGE_POOLED)], dim=-1
        )

    @torch.no_grad()
    def _assign(
        self, present: np.ndarray, weight: Float[np.ndarray, "K D"], bias: Float[np.ndarray, " K"]
    ) -> None:
        self.linear.weight.zero_()
        self.linear.bias.fill_(_ABSENT)
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
