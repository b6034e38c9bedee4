"""twitter-roberta: RoBERTa, pretrained on tweets and tuned on their sentiment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.huggingface import HuggingFaceText
from mvsa_pipe.backbones.options import BackboneOptions, Pooling


def normalise_tweet(text: str) -> str:
    """The model card's ``preprocess``: names of users become ``@user``, links become ``http``.

    Words are what single spaces separate, as there; a lone ``@`` stays.

    Source: model card of cardiffnlp/twitter-roberta-base-sentiment-latest.
    """
    return " ".join(map(_normalise_word, text.split(" ")))


def _normalise_word(word: str) -> str:
    if word.startswith("@") and len(word) > 1:
        return "@user"
    return "http" if word.startswith("http") else word


class TwitterRoberta(HuggingFaceText):
    """RoBERTa base, 12 layers, 768 wide, tuned on TweetEval's sentiment (Loureiro et al. 2022).

    Texts are normalised as in the model's training, which is part of the fingerprint. The pooled
    vector is ``<s>``'s last hidden state, which its own classifier reads.
    """

    default_pooling = Pooling.CLS

    def _published(self, options: BackboneOptions) -> str:
        return options.argument or "cardiffnlp/twitter-roberta-base-sentiment-latest"

    def _own_preprocessing(self) -> dict[str, str | int | float]:
        return {"normalisation": "@user, http"}

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of every normalised text, uncut, special tokens included."""
        return super().tokenize([normalise_tweet(text) for text in texts])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each kept token in the text; of a replaced word, those of the word."""
        starts, ends = _places(text)
        return [
            (starts[start], ends[end - 1]) if start < end else (0, 0)
            for start, end in super().spans(normalise_tweet(text))
        ]


def _places(text: str) -> tuple[list[int], list[int]]:
    """Where each character of the normalised text starts and ends in the text."""
    starts, ends = list[int](), list[int]()
    before = 0
    for word in text.split(" "):
        after, length = before + len(word), len(_normalise_word(word))
        whole = _normalise_word(word) != word
        starts += [before] * length if whole else range(before, after)
        ends += [after] * length if whole else range(before + 1, after + 1)
        starts, ends, before = [*starts, after], [*ends, after + 1], after + 1
    return starts, ends
