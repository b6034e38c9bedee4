"""Names of classes: which occur, and which are doubtful."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS

# Spellings of missing values in tables and programs.
_MISSING = frozenset(
    {"na", "n/a", "n-a", "n.a.", "#n/a", "#na", "<na>", "none", "(none)", "null", "<null>", "nil"}
    | {"nan", "undefined", "missing", "?", "--"}
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?")
_BETWEEN_WORDS = re.compile(r"[\s_\-'\"“”‘’]+")

# More numbers than these, some of them fractions, are measurements. Half stars from 0.5 to 5 are
# ten classes.
_MOST_CLASSES_ON_A_SCALE = 10


def label_key(label: str) -> str:
    """A label without differences in case, blanks and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def classes_of(
    labels: Sequence[str | None], where: str, rows: Sequence[int] = (), unit: str = "row"
) -> tuple[str, ...]:
    """The classes that occur: in the order of sentiments, in numeric order, or sorted.

    Args:
        labels: The label of each row; ``None`` for none.
        where: The table's name in messages.
        rows: The number of each row; by default counted from 1.
        unit: The unit of these numbers.

    Raises:
        DataError: Two labels differ only in case, blanks or Unicode form; the message names rows of
            the rarer one.
    """
    counts = Counter(label for label in labels if label is not None)
    twins: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        twins.setdefault(label_key(name), []).append(name)
    several = [names for names in twins.values() if len(names) > 1]
    if several:
        numbers = rows or range(1, len(labels) + 1)
        described = []
        for usual, *others in several:
            for other in others:
                found = [str(n) for n, own in zip(numbers, labels, strict=True) if own == other]
                described.append(f"{other!r} in {unit} {name_some(found, most=5)} beside {usual!r}")
        raise DataError(
            "Labels differ only in case or blanks",
            where=where,
            expected="one spelling of each label",
            found=name_some(described, most=5),
            hint="spell each label in one way",
        )
    if counts.keys() <= set(SENTIMENTS):
        return tuple(name for name in SENTIMENTS if name in counts)
    by_number = {name: number for name in counts if (number := _number(name)) is not None}
    if len(by_number) == len(counts):
        return tuple(sorted(by_number, key=lambda name: (by_number[name], name)))
    return tuple(sorted(counts))


def doubtful_labels(counts: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Descriptions of doubtful names of classes, with the classes of each.

    Args:
        counts: Posts per class; classes without posts are ignored.
    """
    names = [name for name, count in counts.items() if count]
    n_posts = sum(counts.values())
    numbers = {name: number for name in names if (number := _number(name)) is not None}
    words = [name for name in names if name not in numbers]
    on_a_scale = (
        len(numbers) == len(names) > _MOST_CLASSES_ON_A_SCALE
        and any(number != number.to_integral_value() for number in numbers.values())
    )  # fmt: skip
    found = {
        "Only one class, so there is nothing to classify": names if len(names) == 1 else [],
        "A class that is named like a missing value": [
            name for name in names if label_key(name) in _MISSING
        ],
        "Classes that are the same number": _alike(numbers, numbers.__getitem__),
        "Classes that differ only in blanks, hyphens or quotes": _alike(words, _bare),
        "Fractions on a scale for classes, where each value is a separate class": (
            names if on_a_scale else []
        ),
        "More classes than half the posts, as if the label column were another one": (
            names if n_posts >= 10 and len(names) > n_posts / 2 else []
        ),
    }
    return {phrase: tuple(about) for phrase, about in found.items() if about}


def _number(name: str) -> Decimal | None:
    # Longer ones are ids, which are compared as text.
    if len(name) > 40 or not _NUMBER.fullmatch(name):
        return None
    return Decimal(name.replace(",", "."))


def _bare(name: str) -> str:
    return _BETWEEN_WORDS.sub("", label_key(name)) or name


def _alike(names: Iterable[str], key: Callable[[str], Hashable]) -> list[str]:
    """Names of one key, joined by ``=``."""
    groups: dict[Hashable, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return [" = ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
