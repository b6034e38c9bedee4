"""What heads with a solver of scikit-learn share: their inputs, classes and weights."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import SolvableHead
from mvsa_pipe.heads.options import HeadOptions, Range
from mvsa_pipe.heads.terms import Terms

# A class that no training post has shall get no probability to speak of, yet a finite logit. The
# logits of the others are centred, so that the largest is at least 0.
ABSENT = -30.0

# The square of it, and sums of thousands of those, are numbers of single precision.
_LARGEST = 1e15


@dataclass(frozen=True)
class SolvingOptions(HeadOptions):
    """Options of heads that a solver sets.

    Attributes:
        terms: The most frequent words and pairs of words that are read too, as tf-idf; 0 for none.
    """

    terms: Annotated[int, Range(least=0.0, below=100_001.0)] = 0


class JointHead(SolvableHead):
    """A solved head over both pooled vectors side by side, ``x = [F_T; F_I]``.

    With ``terms`` it reads tf-idf of the text too.

    Attributes:
        terms: Where the words are counted; ``None`` for a head that reads none.
    """

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
    Options = SolvingOptions

    def __init__(self, sizes: FeatureSizes, options: SolvingOptions) -> None:
        super().__init__(sizes, options)
        self.terms = Terms(options.terms) if options.terms else None
        if self.terms is not None:
            self.needs = self.needs | {Field.TEXTS}

    def inputs(self, batch: FeatureBatch) -> Float[Tensor, "B D"]:
        """Both pooled vectors side by side."""
        return torch.cat(
            [self.read(batch, Field.TEXT_POOLED), self.read(batch, Field.IMAGE_POOLED)], dim=-1
        )

    @property
    def width(self) -> int:
        """``D``, the width of the pooled vectors."""
        return self.sizes.text_width + self.sizes.image_width


def beside(dense: Float[np.ndarray, "B D"], rows: Any) -> Any:  # noqa: ANN401  # scipy has no types
    """A sparse matrix ``[B, D + V]`` of pooled vectors and terms."""
    from scipy import sparse

    return sparse.hstack([sparse.csr_matrix(dense), rows], format="csr")


def present_classes(labels: Int[np.ndarray, " B"], what: str) -> Int[np.ndarray, " K"]:
    """The classes that training posts have, in order.

    Args:
        labels: The training posts' classes.
        what: Who needs two of them, for the message.

    Raises:
        DataError: There is one alone.
    """
    present: np.ndarray = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{what} needs at least two classes among the training posts",
            found=f"class {present.tolist()} alone",
        )
    return present


def weight_a_class(
    present: Int[np.ndarray, " K"], class_weights: Float[Tensor, " C"] | None
) -> dict[int, float] | None:
    """The weight of each present class, as scikit-learn takes it."""
    if class_weights is None:
        return None
    weights = class_weights.cpu().double().numpy()
    return {int(c): float(weights[c]) for c in present}


def spread(
    inputs: Float[np.ndarray, "B D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Mean and standard deviation of every feature, 1 where it is constant.

    Raises:
        DataError: Features are so large that single precision does not hold what is made of them.
    """
    require_bounded(inputs)
    mean, std = inputs.mean(axis=0), inputs.std(axis=0)
    std[std == 0.0] = 1.0  # a constant feature tells nothing; dividing by 0 would say NaN
    return mean, std


def require_bounded(inputs: Float[np.ndarray, "B D"]) -> None:
    """Refuses features of which no solver makes a finite weight.

    Raises:
        DataError: They are NaN, infinite, or beyond what single precision squares.
    """
    largest = np.abs(inputs).max(initial=0.0)
    if not largest <= _LARGEST:
        raise DataError(
            "These features are too large for a solver",
            expected=f"numbers up to {_LARGEST:g}",
            found=f"{largest:g}",
            hint="take features of another backbone, or of another layer",
        )
