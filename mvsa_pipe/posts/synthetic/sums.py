"""The best sum of logits: the most accurate of all readers that add what each modality says."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

Pair = tuple[str, str]
Joint = Mapping[Pair, Mapping[str, float]]

_NEVER = math.log(1e-300)
_EXACT = 1e-12


def best_sum(joint: Joint, classes: Sequence[str]) -> dict[Pair, str]:
    """Guesses ``argmax_c f_c(text) + g_c(image)`` with the highest accuracy over all ``f``, ``g``.

    Logarithms of naive Bayes are such a sum. Where their accuracy is that of the best reader of
    both, no sum is better; elsewhere the best one is found by integer programming.

    Args:
        joint: Probability of each pair of a text and an image view with each label.
        classes: The labels; the first is guessed on a tie.
    """
    guesses = _naive_bayes(joint, classes)
    if _accuracy(joint, guesses) >= sum(max(own.values()) for own in joint.values()) - _EXACT:
        return guesses
    return _by_integer_programming(joint, classes)


def _accuracy(joint: Joint, guesses: Mapping[Pair, str]) -> float:
    return math.fsum(joint[pair][guess] for pair, guess in guesses.items())


def _naive_bayes(joint: Joint, classes: Sequence[str]) -> dict[Pair, str]:
    """The label with the largest ``log P(c, text) + log P(c, image) - log P(c)``."""
    texts: defaultdict[tuple[str, str], float] = defaultdict(float)
    images: defaultdict[tuple[str, str], float] = defaultdict(float)
    labels: defaultdict[str, float] = defaultdict(float)
    for (text, image), by_label in joint.items():
        for label, probability in by_label.items():
            texts[text, label] += probability
            images[image, label] += probability
            labels[label] += probability

    def logit(text: str, image: str, label: str) -> float:
        return _log(texts[text, label]) + _log(images[image, label]) - _log(labels[label])

    return {
        (text, image): max(classes, key=lambda label: logit(text, image, label))
        for text, image in joint
    }


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else _NEVER


def _by_integer_programming(joint: Joint, classes: Sequence[str]) -> dict[Pair, str]:
    """One binary variable a pair and label: whether that label is guessed.

    A guess means that its sum of logits exceeds each other one by at least 1; any realisable set
    of guesses can be scaled to that margin.
    """
    # imports that take longer than writing a small data set
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    pairs, count = list(joint), len(classes)
    texts = {text: row for row, text in enumerate(dict.fromkeys(text for text, _ in pairs))}
    images = {image: row for row, image in enumerate(dict.fromkeys(image for _, image in pairs))}
    first_guess = (len(texts) + len(images)) * count
    most = 2.0 * (len(texts) + len(images))
    size = first_guess + len(pairs) * count
    rows, least = [], []
    for place, (text, image) in enumerate(pairs):
        of_text, of_image = texts[text] * count, (len(texts) + images[image]) * count
        own = first_guess + place * count
        for guess in range(count):
            for other in range(count):
                if other == guess:
                    continue
                row = np.zeros(size)
                row[[of_text + guess, of_image + guess]] = 1.0
                row[[of_text + other, of_image + other]] = -1.0
                row[own + guess] = -(4 * most + 1)
                rows.append(row)
                least.append(-4 * most)
    one_guess = np.zeros((len(pairs), size))
    for place in range(len(pairs)):
        one_guess[place, first_guess + place * count : first_guess + (place + 1) * count] = 1.0
    gain = [joint[pair][label] for pair in pairs for label in classes]
    found = milp(
        np.concatenate([np.zeros(first_guess), -np.array(gain)]),
        integrality=np.repeat([0, 1], [first_guess, len(pairs) * count]),
        bounds=Bounds(
            np.repeat([-most, 0], [first_guess, len(pairs) * count]),
            np.repeat([most, 1], [first_guess, len(pairs) * count]),
        ),
        constraints=[
            LinearConstraint(np.array(rows), np.array(least), np.inf),
            LinearConstraint(one_guess, 1, 1),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if not found.success:
        raise AssertionError(f"the best sum of logits was not found: {found.message}")
    chosen = found.x[first_guess:].reshape(len(pairs), count).argmax(axis=1)
    return {pair: classes[guess] for pair, guess in zip(pairs, chosen, strict=True)}
