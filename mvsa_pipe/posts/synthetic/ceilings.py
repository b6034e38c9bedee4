"""Best possible accuracies on synthetic posts, by exact enumeration.

A synthetic post has a text label and an image label, drawn together from ``JOINT``; MVSA's rule
combines them to its label. Each modality shows one *cue*: its label or, with probability
``ambiguity``, the neutral one instead. All accuracies below follow from these rules.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from mvsa_pipe.posts.readers.mvsa import NEUTRAL, SENTIMENTS, consolidate

# Chosen so that either modality alone reaches 0.70 and both together 1.00 when nothing is
# ambiguous: neutral in one modality says nothing about the post.
JOINT: dict[tuple[str, str], float] = {
    ("positive", "neutral"): 0.18,
    ("neutral", "positive"): 0.18,
    ("negative", "neutral"): 0.18,
    ("neutral", "negative"): 0.18,
    ("neutral", "neutral"): 0.12,
    ("positive", "positive"): 0.08,
    ("negative", "negative"): 0.08,
}


@dataclass(frozen=True)
class Cues:
    """The cues of one post's text and image, and its label.

    Attributes:
        text: Sentiment of the words.
        image: Sentiment of the picture.
        label: The post's label, from its labels before any became ambiguous.
    """

    text: str
    image: str
    label: str


@dataclass(frozen=True)
class Ceilings:
    """Best possible accuracies.

    Attributes:
        text: With the text alone.
        image: With the picture alone.
        fused: With both.
        majority: With neither.
    """

    text: float
    image: float
    fused: float
    majority: float


View = Callable[[Cues], Hashable]
_VIEWS: dict[str, View] = {
    "text": lambda cues: cues.text,
    "image": lambda cues: cues.image,
    "fused": lambda cues: (cues.text, cues.image),
}


def consolidated_label(text_label: str, image_label: str) -> str:
    """The post's label by MVSA's rule; ``JOINT`` contains no pair that it drops."""
    label = consolidate(text_label, image_label)
    if label is None:
        raise AssertionError("JOINT contains an opposing pair")
    return label


def outcomes(ambiguity: float) -> Iterator[tuple[Cues, float]]:
    """Every possible post with its probability; probabilities sum to 1."""
    for (text_label, image_label), probability in JOINT.items():
        for text_cue, text_chance in ((text_label, 1 - ambiguity), (NEUTRAL, ambiguity)):
            for image_cue, image_chance in ((image_label, 1 - ambiguity), (NEUTRAL, ambiguity)):
                cues = Cues(text_cue, image_cue, consolidated_label(text_label, image_label))
                yield cues, probability * text_chance * image_chance


def expected_ceilings(ambiguity: float) -> Ceilings:
    """The accuracies expected of the Bayes-optimal readers, in closed form."""
    scores = {}
    for name, view in _VIEWS.items():
        rule = _best_guesses(view, ambiguity)
        right = (p for cues, p in outcomes(ambiguity) if rule[view(cues)] == cues.label)
        scores[name] = math.fsum(right)
    labels: defaultdict[str, float] = defaultdict(float)
    for cues, probability in outcomes(ambiguity):
        labels[cues.label] += probability
    return Ceilings(majority=max(labels.values()), **scores)


def scored_ceilings(posts: Iterable[Cues], ambiguity: float) -> Ceilings:
    """Accuracies of the same readers on given posts; the majority class is that of these posts.

    Raises:
        ValueError: There are no posts.
    """
    listed = list(posts)
    if not listed:
        raise ValueError("no posts to score")
    scores = {}
    for name, view in _VIEWS.items():
        rule = _best_guesses(view, ambiguity)
        scores[name] = sum(rule[view(cues)] == cues.label for cues in listed) / len(listed)
    most = max(Counter(cues.label for cues in listed).values())
    return Ceilings(majority=most / len(listed), **scores)


def _best_guesses(view: View, ambiguity: float) -> dict[Hashable, str]:
    """Most likely label per view; the first in class order on a tie."""
    weights: defaultdict[Hashable, dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(SENTIMENTS, 0.0)
    )
    for cues, probability in outcomes(ambiguity):
        weights[view(cues)][cues.label] += probability
    return {seen: max(by_label, key=by_label.__getitem__) for seen, by_label in weights.items()}
