"""From an annotator's pair of labels (text, image) to the one label of a post."""

from collections import Counter
from collections.abc import Sequence

SENTIMENTS = ("negative", "neutral", "positive")
NEUTRAL = "neutral"


def consolidate(text_label: str, image_label: str) -> str | None:
    """The label of a post whose text and image were labelled apart; ``None`` drops the post.

    Equal labels stand; a polar label wins over neutral; positive against negative is dropped.

    Source:
        Xu and Mao, "MultiSentiNet", CIKM 2017.
    """
    if text_label == image_label:
        return text_label
    if text_label == NEUTRAL:
        return image_label
    if image_label == NEUTRAL:
        return text_label
    return None


def agreed(text_label: str, image_label: str) -> str | None:
    """The label on which text and image agree; ``None`` drops the post."""
    return text_label if text_label == image_label else None


def majority(labels: Sequence[str]) -> str | None:
    """The label that more than half of the annotators gave, ``None`` when there is none."""
    (label, count), *_ = Counter(labels).most_common(1)
    return label if 2 * count > len(labels) else None


def majority_pair(annotations: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The majority's text label and image label; ``None`` when either modality has none."""
    text_label = majority([text for text, _ in annotations])
    image_label = majority([image for _, image in annotations])
    if text_label is None or image_label is None:
        return None
    return text_label, image_label
