"""Gradient boosted trees on the pooled vectors: a baseline of thresholds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mvsa_pipe.baselines.base import Baseline, BaselineOptions
from mvsa_pipe.options import option


@dataclass(frozen=True)
class BoostingOptions(BaselineOptions):
    """Options of the trees.

    Attributes:
        depth: Questions from a tree's root to its leaves.
        shrinkage: Factor of each tree's output, scikit-learn's ``learning_rate``.
        subsample: Share of the training posts that each tree is grown on.
    """

    depth: int = option(3, least=1, most=10)
    shrinkage: float = option(0.2, least=1e-4, below=1e4)
    subsample: float = option(0.5, least=0.01, below=1)


class Boosting(Baseline):
    """One small tree a class and round, each grown on what those before it got wrong.

    With ``terms`` the tf-idf of each is a feature like any other. The strength is the number of
    rounds.

    Source:
        scikit-learn's ``GradientBoostingClassifier`` (Friedman 2001), each tree on a share of the
        posts (Friedman 2002), each question about the best of ``√D`` features.

    Differs from source:
        ``shrinkage`` is 0.2 instead of 0.1: as good on validation posts of MVSA-Single with half
        the rounds. Classes that no training post has keep a column, of almost no probability.
    """

    Options = BoostingOptions
    # rounds; each count is grown anew, so that all of them cost twice the last
    strengths = (10.0, 20.0, 40.0, 80.0)
    title = "Gradient boosting"
    options: BoostingOptions

    def vectors(self) -> Any:  # noqa: ANN401
        """Centred entries, whose small differences single precision resolves best."""
        from sklearn.preprocessing import StandardScaler

        return StandardScaler(with_std=False)

    def classifier(self, strength: float) -> Any:  # noqa: ANN401
        """The trees, whose posts and features are drawn from the seed."""
        from sklearn.ensemble import GradientBoostingClassifier

        draws = torch.Generator().manual_seed(self.seed)
        return GradientBoostingClassifier(
            n_estimators=int(strength),
            learning_rate=self.options.shrinkage,
            max_depth=self.options.depth,
            subsample=self.options.subsample,
            max_features="sqrt",
            # scikit-learn only accepts 32-bit seeds
            random_state=int(torch.randint(2**31 - 1, (1,), generator=draws)),
        )

    def learned(self, classifier: Any) -> int:  # noqa: ANN401
        """Answers in leaves."""
        return int(np.sum([tree.get_n_leaves() for tree in classifier.estimators_.flat]))
