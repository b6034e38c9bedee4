"""What several annotators of the same posts agree on, and how well one of them predicts the others.

Source:
    Fleiss 1971, Measuring Nominal Scale Agreement Among Many Raters, Psychological Bulletin 76.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from mvsa_pipe.analysis.finding import Estimate, FindingTable, MatrixPlot, estimate
from mvsa_pipe.metrics.scores import percentile_interval
from mvsa_pipe.metrics.weighted import Classes, Floats
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS, consolidate, majority_label, majority_pair

# One (text label, image label) pair an annotator.
Annotations = tuple[tuple[str, str], ...]


class Target(StrEnum):
    """What annotators label."""

    TEXT = "text"
    IMAGE = "picture"
    POST = "post"


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree on one target.

    Attributes:
        target: The target.
        posts: Posts with several annotators.
        unanimous: Share of posts on which all agree.
        pairwise: Share of pairs of annotators that agree.
        kappa: Fleiss' kappa; ``None`` where all labels are equal.
        ceiling: Share of an annotator's labels that equal the majority of the others, where these
            have a majority; ``None`` where they never do.
        decided: Share of labels for which the others have a majority.
    """

    target: Target
    posts: int
    unanimous: Estimate | None
    pairwise: Estimate | None
    kappa: Estimate | None
    ceiling: Estimate | None
    decided: float


def agreement(
    annotated: Sequence[Annotations], target: Target, resamples: int, seed: int
) -> Agreement:
    """Agreement of annotators on one target, with intervals over posts.

    The label of a post is that of the rule of MVSA, by each annotator alone. Where an annotator
    calls the text positive and the picture negative, or the reverse, that annotator's post has no
    label: a fourth category, which equals no label of the others.

    Args:
        annotated: The annotators' labels of each post; as many annotators for all, two or more.
        target: What they label.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa

    judged = [_judged(annotations, target) for annotations in annotated]
    counts = np.array([each.counts for each in judged], np.float64)
    raters = counts[0].sum()
    pairs = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))
    hits = np.array([each.hits for each in judged], np.float64)
    decided = np.array([each.decided for each in judged], np.float64)

    def over_posts(value: Callable[[Classes], float]) -> Estimate | None:
        generator = np.random.default_rng(seed)
        every = np.arange(len(judged))
        if not np.isfinite(value(every)):
            return None
        drawn = [value(generator.integers(0, len(every), len(every))) for _ in range(resamples)]
        return estimate(value(every), percentile_interval(np.array(drawn), 0.95))

    def kappa(places: Classes) -> float:
        chosen = counts[places]
        # where all labels are equal, kappa is 0 / 0
        one_label = int((chosen.sum(axis=0) > 0).sum()) == 1
        return float("nan") if one_label else float(fleiss_kappa(chosen))

    return Agreement(
        target,
        len(judged),
        over_posts(lambda places: float((pairs[places] == 1).mean())),
        over_posts(lambda places: float(pairs[places].mean())),
        over_posts(kappa),
        over_posts(lambda places: _ratio(hits[places], decided[places])),
        float(decided.sum() / counts.sum()),
    )


def _ratio(hits: Floats, decided: Floats) -> float:
    total = decided.sum()
    return float(hits.sum() / total) if total else float("nan")


@dataclass(frozen=True)
class _Judged:
    """One post's labels of one target.

    Attributes:
        counts: Annotators of each category; the last is that of no label.
        hits: Annotators who agree with the majority of the others.
        decided: Number of labels whose post has a majority among the other annotators.
    """

    counts: tuple[int, ...]
    hits: int
    decided: int


@lru_cache(4096)
def _judged(annotations: Annotations, target: Target) -> _Judged:
    own = [_majority((pair,), target) for pair in annotations]
    others = [
        _majority(annotations[:at] + annotations[at + 1 :], target)
        for at in range(len(annotations))
    ]
    known = [(mine, theirs) for mine, theirs in zip(own, others, strict=True) if theirs is not None]
    return _Judged(
        tuple(own.count(name) for name in (*SENTIMENTS, None)),
        sum(mine == theirs for mine, theirs in known),
        len(known),
    )


def _majority(annotations: Annotations, target: Target) -> str | None:
    """The majority's label of one target; ``None`` if there is none."""
    if target is Target.POST:
        pair = majority_pair(annotations)
        return None if pair is None else consolidate(*pair)
    place = 0 if target is Target.TEXT else 1
    return majority_label([pair[place] for pair in annotations])


def agreement_table(agreements: Sequence[Agreement]) -> FindingTable:
    """How far annotators agree, one row a target."""
    return FindingTable(
        f"annotators of {agreements[0].posts:,} posts",
        ["label of", "unanimous", "pairs that agree", "kappa", "ceiling"],
        [[a.target.value, a.unanimous, a.pairwise, a.kappa, a.ceiling] for a in agreements],
        "ceiling: one annotator's labels against the majority of the others; the others have one "
        + ", ".join(f"for {a.decided:.1%} ({a.target})" for a in agreements),
        ["unanimous", "pairs that agree", "ceiling"],
    )


def modality_plot(annotated: Sequence[Annotations]) -> MatrixPlot:
    """Numbers of posts by the majority's label of the text and of the picture."""
    pairs = Counter(pair for each in annotated if (pair := majority_pair(each)) is not None)
    return MatrixPlot(
        "posts by their two labels",
        "label of the text",
        "label of the picture",
        list(SENTIMENTS),
        list(SENTIMENTS),
        [[float(pairs[text, image]) for image in SENTIMENTS] for text in SENTIMENTS],
    )
