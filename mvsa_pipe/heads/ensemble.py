"""An ensemble of trained heads of one kind."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.base import FusionHead


class Ensemble(FusionHead):
    """The mean of the probabilities of ``K`` heads: ``p = 1/K Σ_k softmax(head_k(x))``.

    The logits are ``log p``, so an ensemble can be scored and used like any head. It consists of
    heads that were trained separately and has no row in the registry.

    Args:
        members: Heads of the same kind, sizes and options, from different seeds.

    Source:
        Lakshminarayanan et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using
        Deep Ensembles", arXiv 1612.01474, section 2.4.

    Differs from source:
        No adversarial training.
    """

    def __init__(self, members: Sequence[FusionHead]) -> None:
        first = members[0]
        super().__init__(first.sizes, first.options)
        # each member subtracts the means that it was trained with
        for name, _ in list(self.named_buffers()):
            delattr(self, name)
        self.needs = first.needs
        self.members = nn.ModuleList(members)

    @property
    def batch_independent(self) -> bool:  # type: ignore[override]  # as its members are
        """Whether logits are independent of the batch."""
        return all(member.batch_independent for member in self.heads)

    @property
    def heads(self) -> list[FusionHead]:
        """The members."""
        return [member for member in self.members if isinstance(member, FusionHead)]

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """The logarithm of the mean of the members' probabilities."""
        shares = torch.stack([head(batch).float().log_softmax(dim=1) for head in self.heads])
        return torch.logsumexp(shares, dim=0) - math.log(len(self.heads))
