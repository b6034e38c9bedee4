"""Damage to texts. Stronger damage contains weaker damage, as both compare the same draws."""

import math
import string

import numpy as np

_LETTERS = string.ascii_lowercase


def cut(text: str, strength: float, generator: np.random.Generator) -> str:  # noqa: ARG001
    """The first words of a text, at least one.

    Args:
        text: The text.
        strength: Share of its words that are kept.
        generator: Not used.
    """
    words = text.split()
    return " ".join(words[: math.ceil(strength * len(words))])


def drop(text: str, strength: float, generator: np.random.Generator) -> str:
    """A text without some of its words; one word always stays.

    Args:
        text: The text.
        strength: Probability with which a word is left out.
        generator: Draws the words.

    Source:
        Random deletion of Wei and Zou 2019, EDA, arXiv:1901.11196, section 2.
    """
    words = text.split()
    draws = generator.random(len(words))
    kept = [word for word, draw in zip(words, draws, strict=True) if draw >= strength]
    if words and not kept:
        kept = [words[int(draws.argmax())]]
    return " ".join(kept)


def typos(text: str, strength: float, generator: np.random.Generator) -> str:
    """A text with typing errors: a letter is swapped with the next, lost, doubled or replaced.

    Args:
        text: The text.
        strength: Probability of an error at a letter.
        generator: Draws letters and errors.

    Source:
        The synthetic noise of Belinkov and Bisk 2018, arXiv:1711.02173, section 4.
    """
    size = len(text)
    draws, kinds = generator.random(size), generator.integers(0, 4, size)
    others = generator.integers(0, len(_LETTERS), size)
    typed: list[str] = []
    place = 0
    while place < size:
        letter, after = text[place], text[place + 1 : place + 2]
        hit = letter.isalpha() and draws[place] < strength
        place += 1
        if not hit:
            typed.append(letter)
        elif kinds[place - 1] == 0 and after.isalpha():
            typed += [after, letter]
            place += 1
        elif kinds[place - 1] == 2:
            typed += [letter, letter]
        elif kinds[place - 1] == 3:
            typed.append(_LETTERS[others[place - 1]])
    return "".join(typed)
