"""Best possible accuracies on synthetic posts, by exact enumeration of every possible post.

A reader that sees some *view* of a post guesses the label that is most likely given the view. Its
accuracy is ``Σ_view max_label P(view, label)``, summed over all posts that can be drawn.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from mvsa_pipe.posts.synthetic.config import Relation
from mvsa_pipe.posts.synthetic.relations import Cues, classes_of_relation, outcomes, unordered
from mvsa_pipe.posts.synthetic.sums import best_sum


@dataclass(frozen=True)
class Ceilings:
    """Best possible accuracies; none is below those before it, apart from text and image.

    Attributes:
        majority: With neither modality.
        text: With the text alone.
        image: With the picture alone.
        additive: With both pooled vectors, if each modality has a logit of its own per class and
            both are added.
        pooled: With both pooled vectors and any function of them.
        fused: With all tokens of both and any function of them.
    """

    majority: float
    text: float
    image: float
    additive: float
    pooled: float
    fused: float


ViewT = TypeVar("ViewT", bound=Hashable)
Table = dict[ViewT, dict[str, float]]


def _pooled(cues: Cues) -> tuple[str, str]:
    return unordered(cues.text), unordered(cues.image)


_VIEWS: dict[str, Callable[[Cues], Hashable]] = {
    "majority": lambda _: (),
    "text": lambda cues: cues.text,
    "image": lambda cues: cues.image,
    "additive": _pooled,
    "pooled": _pooled,
    "fused": lambda cues: (cues.text, cues.image),
}


def expected_ceilings(relation: Relation, strength: float, noise: float) -> Ceilings:
    """The accuracies expected of the best readers, in closed form."""
    rules = _rules(relation, strength, noise)
    every = list(outcomes(relation, strength, noise))
    return Ceilings(
        **{
            name: math.fsum(p for cues, p in every if rules[name][view(cues)] == cues.label)
            for name, view in _VIEWS.items()
        }
    )


def scored_ceilings(
    posts: Iterable[Cues], relation: Relation, strength: float, noise: float
) -> Ceilings:
    """Accuracies of the same readers on given posts; the majority class is that of these posts.

    Raises:
        ValueError: There are no posts.
    """
    listed = list(posts)
    if not listed:
        raise ValueError("no posts to score")
    rules = _rules(relation, strength, noise)
    right = {
        name: sum(rules[name][view(cues)] == cues.label for cues in listed)
        for name, view in _VIEWS.items()
    }
    right["majority"] = max(Counter(cues.label for cues in listed).values())
    return Ceilings(**{name: count / len(listed) for name, count in right.items()})


@lru_cache(256)
def _rules(
    relation: Relation, strength: float, noise: float
) -> Mapping[str, Mapping[Hashable, str]]:
    """The best guess for each view; the first in class order on a tie."""
    classes = classes_of_relation(relation)
    every = list(outcomes(relation, strength, noise))
    rules: dict[str, Mapping[Hashable, str]] = {}
    for name, view in _VIEWS.items():
        if name == "additive":
            summed = best_sum(_table(_pooled, every, classes), classes)
            rules[name] = dict(summed.items())
            continue
        table = _table(view, every, classes)
        rules[name] = {
            seen: max(by_label, key=by_label.__getitem__) for seen, by_label in table.items()
        }
    return rules


def _table(
    view: Callable[[Cues], ViewT], every: Iterable[tuple[Cues, float]], classes: tuple[str, ...]
) -> Table[ViewT]:
    """The joint probability of each view with each label."""
    table: defaultdict[ViewT, dict[str, float]] = defaultdict(lambda: dict.fromkeys(classes, 0.0))
    for cues, probability in every:
        table[view(cues)][cues.label] += probability
    return dict(table)
