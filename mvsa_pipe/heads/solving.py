"""What heads with a solver of scikit-learn share: their inputs, classes and weights."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, Field
from mvsa_pipe.heads.base import SolvableHead

# A class that no training post has shall get no probability to speak of, yet a finite logit. The
# logits of the others are centred, so that the largest is at least 0.
ABSENT = -30.0


class JointHead(SolvableHead):
    """A solved head over both pooled vectors side by side, ``x = [F_T; F_I]``."""

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})

    def inputs(self, batch: FeatureBatch) -> Float[Tensor, "B D"]:
        """Both pooled vectors side by side."""
        return torch.cat(
            [self.read(batch, Field.TEXT_POOLED), self.read(batch, Field.IMAGE_POOLED)], dim=-1
        )

    @property
    def width(self) -> int:
        """``D``, the width of the inputs."""
        return self.sizes.text_width + self.sizes.image_width


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
    """Mean and standard deviation of every feature, 1 where it is constant."""
    mean, std = inputs.mean(axis=0), inputs.std(axis=0)
    std[std == 0.0] = 1.0  # a constant feature tells nothing; dividing by 0 would say NaN
    return mean, std
