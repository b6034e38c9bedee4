"""Posts to try: synthetic, written and painted by the package."""

from dataclasses import dataclass

import numpy as np

from mvsa_pipe.posts.synthetic.art import picture, tweet

_SEED, _PICTURE_PX = 0, 256
_CUES = (
    ("positive", "positive"),
    ("negative", "negative"),
    ("positive", "negative"),
    ("negative", "positive"),
    ("neutral", "positive"),
)


@dataclass(frozen=True)
class Example:
    """A synthetic post.

    Attributes:
        shows: What text and picture show.
        text: The text.
        picture: The bytes of a JPEG file.
    """

    shows: str
    text: str
    picture: bytes


def examples() -> list[Example]:
    """Posts whose text and picture show the same, or the opposite; the same ones every time."""
    generator = np.random.default_rng(_SEED)
    return [
        Example(
            f"{words} text, {colours} picture",
            tweet(words, generator),
            picture(colours, _PICTURE_PX, generator),
        )
        for words, colours in _CUES
    ]
