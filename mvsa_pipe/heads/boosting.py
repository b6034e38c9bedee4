"""Gradient boosted trees on the pooled vectors: a baseline of thresholds."""

from collections.abc import Iterator
from dataclasses import dataclass
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
    beside,
    present_classes,
    require_bounded,
    weight_a_class,
)


@dataclass(frozen=True)
class BoostingOptions(SolvingOptions):
    """Options of the trees.

    Attributes:
        depth: Questions from a tree's root to its leaves.
        shrinkage: What each tree's answer is multiplied with, scikit-learn's ``learning_rate``.
        subsample: Share of the training posts that each tree is grown on.
    """

    depth: Annotated[int, Range(least=1.0, below=11.0)] = 3
    shrinkage: Annotated[float, Range(least=1e-4, below=1e4)] = 0.2
    subsample: Annotated[float, Range(least=0.01, below=1.0)] = 0.5


class Boosting(JointHead):
    """One small tree a class and round, each grown on what those before it got wrong.

    The logits of class ``c`` are ``b_c + Σ_r tree_rc(x)``. Every tree is kept as a full one of
    ``depth`` levels, whose node ``n`` asks ``x[feature] > threshold`` and goes on to node
    ``2n + 1`` or ``2n + 2``; branches that ended earlier answer alike on both sides. With ``terms``
    the tf-idf of each is a feature like any other.

    Source:
        scikit-learn's ``GradientBoostingClassifier`` (Friedman 2001), each tree on a share of the
        posts (Friedman 2002), each question about the best of ``√D`` features.

    Differs from source:
        ``shrinkage`` is 0.2 instead of 0.1: as good on validation posts of MVSA-Single with half
        the rounds. Two classes get a tree each, with opposite answers.
    """

    Options = BoostingOptions
    # rounds; each count is grown anew, so that all of them cost twice the last
    strengths = (10.0, 20.0, 40.0, 80.0)
    grows = ("features", "thresholds", "leaves")
    unbounded = frozenset({"thresholds"})  # of branches that ended early

    def __init__(self, sizes: FeatureSizes, options: BoostingOptions) -> None:
        super().__init__(sizes, options)
        self.trees = options
        nodes, classes = 2**options.depth - 1, sizes.classes
        # drawn like weights: the seed decides which posts and features each tree may see
        self.register_buffer("draw", torch.randint(2**31 - 1, (1,)))
        self.register_buffer("features", torch.zeros(0, classes, nodes, dtype=torch.int64))
        self.register_buffer("thresholds", torch.zeros(0, classes, nodes))
        self.leaves = nn.Parameter(torch.zeros(0, classes, nodes + 1))
        self.bias = nn.Parameter(torch.zeros(classes))

    def faults(self) -> Iterator[str]:
        """Trees that differ in number, or ask for features that there are not."""
        features, thresholds = self.get_buffer("features"), self.get_buffer("thresholds")
        if not len(features) == len(thresholds) == len(self.leaves):
            yield "features, thresholds and leaves of different numbers of trees"
        there = self.width + (0 if self.terms is None else len(self.terms.get_buffer("idf")))
        if features.numel() and not bool(((features >= 0) & (features < there)).all()):
            yield f"features, which names others than the {there:,} that there are"

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from the leaves that each post falls into."""
        x = self.inputs(batch)
        if self.terms is not None:
            x = torch.cat([x, self.terms(batch)], dim=1)
        features, thresholds = self.get_buffer("features"), self.get_buffer("thresholds")
        rounds, classes, nodes = features.shape
        first = torch.arange(rounds * classes, device=x.device) * nodes  # of every tree
        posts = x.shape[0]  # not len(): a traced graph would keep the number
        node = first.new_zeros(posts, rounds * classes)
        for _ in range(self.trees.depth):
            asked = first + node
            right = x.gather(1, features.flatten()[asked]) > thresholds.flatten()[asked]
            node = 2 * node + 1 + right
        leaf = first // max(nodes, 1) * (nodes + 1) + node - nodes
        answers = self.leaves.flatten()[leaf].view(posts, rounds, classes)
        return answers.sum(dim=1) + self.bias

    def solve(
        self,
        train: FeatureBatch,
        train_labels: Int[Tensor, " B"],
        strength: float,
        class_weights: Float[Tensor, " C"] | None,
    ) -> None:
        """Grows the trees on all training posts.

        Args:
            train: The training posts.
            train_labels: Their classes.
            strength: Rounds.
            class_weights: How much a post of each class counts.

        Raises:
            DataError: All training posts have the same class, terms are asked of no words, or
                features are too large.
        """
        # only a run that asks for this head pays for the import
        from sklearn.ensemble import GradientBoostingClassifier

        labels = train_labels.cpu().numpy()
        present = present_classes(labels, "Gradient boosting")
        weights = weight_a_class(present, class_weights)
        options = self.trees
        model = GradientBoostingClassifier(
            n_estimators=int(strength),
            learning_rate=options.shrinkage,
            max_depth=options.depth,
            subsample=options.subsample,
            max_features="sqrt",
            random_state=int(self.get_buffer("draw")),
        )
        x = self.inputs(train).detach().cpu().float().numpy()
        require_bounded(x)
        if self.terms is not None:
            x = beside(x, self.terms.learn(train, variance=float(self.width)))
        model.fit(
            x,
            labels,
            sample_weight=None if weights is None else np.array([weights[c] for c in labels]),
        )
        self._assign(present, model)

    def _assign(self, present: Int[np.ndarray, " K"], model: Any) -> None:  # noqa: ANN401
        classes, nodes = self.sizes.classes, 2**self.trees.depth - 1
        rounds = len(model.estimators_)
        features = np.zeros((rounds, classes, nodes), np.int64)
        thresholds = np.full((rounds, classes, nodes), np.inf, np.float32)
        leaves = np.zeros((rounds, classes, nodes + 1))
        for r, row in enumerate(model.estimators_):
            # two classes have one tree, for the second
            for c, tree in zip(present[-len(row) :], row, strict=True):
                features[r, c], thresholds[r, c], leaves[r, c] = _full(tree.tree_, nodes)
        leaves *= model.learning_rate
        start = np.log(model.init_.class_prior_)
        if len(present) == 2:
            first, second = present
            features[:, first], thresholds[:, first] = features[:, second], thresholds[:, second]
            leaves[:, second] /= 2.0
            leaves[:, first] = -leaves[:, second]
        bias = np.full(classes, ABSENT)
        bias[present] = start - start.mean()
        self.assign("features", features)
        self.assign("thresholds", thresholds)
        self.assign("leaves", leaves)
        self.assign("bias", bias)


def _full(
    tree: Any,  # noqa: ANN401  # scikit-learn has no types
    nodes: int,
) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"], Float[np.ndarray, " L"]]:
    """A tree's questions and answers, laid out as a full tree's."""
    features = np.zeros(nodes, np.int64)
    thresholds = np.full(nodes, np.inf, np.float32)
    leaves = np.zeros(nodes + 1)
    waiting = [(0, 0)]  # a node of the tree and its place in the full one
    while waiting:
        node, place = waiting.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if place >= nodes:
            leaves[place - nodes] = tree.value[node, 0, 0]
            continue
        if left < 0:  # ended early: whatever is asked, both sides answer as this node does
            left = right = node
        else:
            features[place] = tree.feature[node]
            thresholds[place] = _below(tree.threshold[node])
        waiting += [(left, 2 * place + 1), (right, 2 * place + 2)]
    return features, thresholds, leaves


def _below(threshold: float) -> np.float32:
    """The greatest single-precision number not above a threshold: no input changes its side."""
    near = np.float32(threshold)
    # as Python floats: numpy would compare in single precision
    return near if float(near) <= float(threshold) else np.nextafter(near, np.float32(-np.inf))
