"""How text, picture and label of synthetic posts relate: every kind of post, with its probability.

A post of a relation is drawn in three steps, each of which can be enumerated:

1. One ``Kind`` is drawn: what text and picture show, and the label that follows from both.
2. With probability ``1 - strength`` text and picture show what another, independent post shows.
3. Each modality shows nothing of it, the neutral cue, with probability ``noise``.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from mvsa_pipe.posts.readers.mvsa import NEUTRAL, SENTIMENTS, consolidate
from mvsa_pipe.posts.synthetic.config import Relation

NEGATIVE, _, POSITIVE = SENTIMENTS
# A picture of two cues shows them in this order; a text names one of the sides.
SIDES = ("left", "right")
BETWEEN_SIDES = ","

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
class Kind:
    """One kind of post.

    Attributes:
        text: The cue of the text: a sentiment, or the side that it names.
        image: The cue of the picture: a sentiment, or those of its sides, joined by a comma.
        label: The post's label.
        pair: The labels of text and picture, as MVSA has them; ``None`` if neither has one.
    """

    text: str
    image: str
    label: str
    pair: tuple[str, str] | None


@dataclass(frozen=True)
class Cues:
    """The cues of one post's text and image, and its label.

    Attributes:
        text: What the words show.
        image: What the picture shows.
        label: The post's label, from its kind before any cue became neutral.
    """

    text: str
    image: str
    label: str


def consolidated_label(text_label: str, image_label: str) -> str:
    """The post's label by MVSA's rule; ``JOINT`` contains no pair that it drops."""
    label = consolidate(text_label, image_label)
    if label is None:
        raise AssertionError("JOINT contains an opposing pair")
    return label


def kinds(relation: Relation) -> dict[Kind, float]:
    """The kinds of posts of a relation with their probabilities, which sum to 1."""
    if relation is Relation.ADDITIVE:
        return {_labelled(pair, consolidated_label(*pair)): p for pair, p in JOINT.items()}
    if relation is Relation.ALIGNED:
        found = [_labelled((label, label), label) for label in SENTIMENTS]
    elif relation is Relation.OPPOSED:
        found = [
            _labelled((text, image), POSITIVE if text == image else NEGATIVE)
            for text, image in product((NEGATIVE, POSITIVE), repeat=2)
        ]
    else:
        found = [
            Kind(side, BETWEEN_SIDES.join(picture), shown, None)
            for picture in permutations((NEGATIVE, POSITIVE))
            for side, shown in zip(SIDES, picture, strict=True)
        ]
    return dict.fromkeys(found, 1 / len(found))


def _labelled(pair: tuple[str, str], label: str) -> Kind:
    return Kind(*pair, label, pair)


def classes_of_relation(relation: Relation) -> tuple[str, ...]:
    """The labels that occur, in the order of sentiments."""
    occurring = {kind.label for kind in kinds(relation)}
    return tuple(label for label in SENTIMENTS if label in occurring)


def unordered(cue: str) -> str:
    """What is left of a cue in a mean over tokens: what is shown, not where."""
    return BETWEEN_SIDES.join(sorted(cue.split(BETWEEN_SIDES)))


def outcomes(relation: Relation, strength: float, noise: float) -> Iterator[tuple[Cues, float]]:
    """Every possible post with its probability; probabilities sum to 1."""
    possible = kinds(relation)
    shown: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for kind, probability in possible.items():
        shown[kind.text, kind.image, kind.label] += strength * probability
        for other, chance in possible.items() if strength < 1 else ():
            cues = (other.text, other.image, kind.label)
            shown[cues] += (1 - strength) * probability * chance
    for (text, image, label), probability in shown.items():
        for text_cue, text_chance in ((text, 1 - noise), (NEUTRAL, noise)):
            for image_cue, image_chance in ((image, 1 - noise), (NEUTRAL, noise)):
                yield Cues(text_cue, image_cue, label), probability * text_chance * image_chance


def draw(
    relation: Relation, strength: float, noise: float, count: int, generator: np.random.Generator
) -> list[tuple[Kind, Cues]]:
    """The kinds of some posts, and what each shows."""
    possible = kinds(relation)
    listed, chances = list(possible), list(possible.values())
    own = generator.choice(len(listed), size=count, p=chances)
    unclear = generator.random((count, 2)) < noise
    shown = own
    if strength < 1:
        other = generator.choice(len(listed), size=count, p=chances)
        shown = np.where(generator.random(count) < strength, own, other)
    found = []
    for kind, seen, (no_text, no_image) in zip(own, shown, unclear, strict=True):
        text = NEUTRAL if no_text else listed[seen].text
        image = NEUTRAL if no_image else listed[seen].image
        found.append((listed[kind], Cues(text, image, listed[kind].label)))
    return found
