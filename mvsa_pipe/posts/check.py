"""Checks a data set for faults that would affect a result."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.images import ImageFault, inspect_image
from mvsa_pipe.posts.duplicates import image_keys, joined, members, stand_ins, text_keys
from mvsa_pipe.posts.labels import doubtful_labels
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.splits.split import PARTS, TEST, TRAIN, Split, protocol_tag
from mvsa_pipe.posts.storage.base import TooLargeError
from mvsa_pipe.progress import NO_PROGRESS, Progress
from mvsa_pipe.tabular import Row, Tabular

_MOST_THREADS = 8

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Leakage:
    """Content that more than one part of a split contains.

    Attributes:
        texts: Ids of each group of posts with one normalised text, across parts.
        images: Ids of each group of posts with the same picture, across parts.
        test_ids: Test posts whose text or picture also occurs in train.
    """

    texts: Groups = ()
    images: Groups = ()
    test_ids: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class CheckReport(Tabular):
    """The contents and faults of a data set.

    Attributes:
        name: The data set's name.
        tag: Its protocol tag, with the split if there is one.
        n_posts: Posts kept.
        dropped: Posts left out, by reason.
        notes: Number of repairs of the reader, by kind.
        labels: Posts per class.
        n_unlabelled: Posts without a label.
        label_pairs: How often annotators gave each ``text label,image label``.
        encodings: Number of texts in each encoding.
        missing_texts: Ids of posts without a text.
        empty_texts: Ids of posts whose text is empty.
        images: Ids by the fault of their picture; contains every kind of fault.
        duplicates: Ids of each group that shares a text or a picture, largest first.
        conflicting: Those groups whose posts have different labels.
        split_labels: Posts per part and class; empty without a split.
        stand_ins: Ids of the posts of each placeholder picture, by the picture's name.
        odd_ids: Ids with invisible characters, or with leading, trailing or repeated blanks.
        spaced_ids: Ids with single blanks, which are allowed.
        doubtful_labels: Classes with doubtful names, by the reason.
        absent_classes: Classes that a part of the split lacks, by part.
        sought: Pictures that were not found, with similar names, by post.
        guesses: Guesses of the reader, one sentence each.
        leakage: Content that two parts of the split contain.
        spoilers: Faults that would affect a result, one sentence each; may be empty.
    """

    name: str
    tag: str
    n_posts: int
    dropped: dict[str, int]
    notes: dict[str, int]
    labels: dict[str, int]
    n_unlabelled: int
    label_pairs: dict[str, int]
    encodings: dict[str, int]
    missing_texts: tuple[str, ...]
    empty_texts: tuple[str, ...]
    images: dict[str, tuple[str, ...]]
    duplicates: Groups
    conflicting: Groups
    split_labels: dict[str, dict[str, int]]
    stand_ins: dict[str, tuple[str, ...]]
    odd_ids: tuple[str, ...]
    spaced_ids: tuple[str, ...]
    doubtful_labels: dict[str, tuple[str, ...]]
    absent_classes: dict[str, tuple[str, ...]]
    sought: dict[str, str] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()
    leakage: Leakage = field(default_factory=Leakage)
    spoilers: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def table_rows(self) -> list[Row]:
        """Posts of each class, in all and in each part of the split."""
        return [
            {"label": name, "posts": count}
            | {part: counts[name] for part, counts in self.split_labels.items()}
            for name, count in self.labels.items()
        ]

    def table_title(self) -> str:
        """The protocol tag, and how many posts there are."""
        return f"{self.tag}: {self.n_posts:,} posts"

    def table_notes(self) -> tuple[str, ...]:
        """What would spoil a result."""
        return self.spoilers or ("nothing here would spoil a result",)


def check_posts(
    posts: PostSet,
    split: Split | None = None,
    progress: Progress = NO_PROGRESS,
) -> CheckReport:
    """Counts the content of a data set and finds its faults; decodes every picture.

    Args:
        posts: The data set.
        split: Its split; without one, leakage is not checked.
        progress: Shown the pictures that are compared, then those that are decoded.
    """
    progress.start("comparing pictures", len(posts.posts), "posts")
    texts, pictures = text_keys(posts), image_keys(posts, progress.advance)
    ignored = stand_ins(texts, pictures)
    pictures = [None if key in ignored else key for key in pictures]
    groups = members(joined(texts, pictures))
    label_of = [post.label for post in posts.posts]
    conflicting = [group for group in groups if len({label_of[at] for at in group}) > 1]
    labels = posts.label_counts()
    split_labels = {} if split is None else _split_labels(posts, split)
    odd_ids = tuple(post.id for post in posts.posts if _is_odd(post.id))
    report = CheckReport(
        name=posts.name,
        tag=posts.protocol if split is None else protocol_tag(posts, split),
        n_posts=len(posts),
        dropped=dict(posts.dropped),
        notes=dict(posts.notes),
        labels=labels,
        n_unlabelled=label_of.count(None),
        label_pairs=_label_pairs(posts),
        encodings=dict(Counter(post.encoding for post in posts.posts if post.text is not None)),
        missing_texts=tuple(post.id for post in posts.posts if post.text is None),
        empty_texts=tuple(post.id for post in posts.posts if post.text == ""),
        images=_image_faults(posts, progress),
        duplicates=_ids(posts, groups),
        conflicting=_ids(posts, conflicting),
        split_labels=split_labels,
        stand_ins={
            posts.posts[sharing[0]].image or "": tuple(posts.posts[at].id for at in sharing)
            for sharing in ignored.values()
        },
        odd_ids=odd_ids,
        spaced_ids=tuple(p.id for p in posts.posts if " " in p.id and not _is_odd(p.id)),
        doubtful_labels=doubtful_labels(labels),
        absent_classes=_absent_classes(labels, split_labels),
        sought={post.id: post.sought for post in posts.posts if post.sought},
        guesses=posts.findings,
        leakage=Leakage() if split is None else _leakage(posts, split, texts, pictures),
    )
    return replace(report, spoilers=tuple(_spoilers(report)))


def _is_odd(post_id: str) -> bool:
    # not printable: control characters, marks without a glyph, blanks other than a space
    return not post_id.isprintable() or "  " in post_id or post_id != post_id.strip()


def _image_faults(posts: PostSet, progress: Progress) -> dict[str, tuple[str, ...]]:
    progress.start("decoding pictures", len(posts.posts), "posts")
    faults: dict[str, list[str]] = {fault.value: [] for fault in ImageFault}
    n_threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        found = pool.map(lambda post: _image_fault(posts, post), posts.posts)
        for post, fault in zip(posts.posts, found, strict=True):
            if fault is not None:
                faults[fault.value].append(post.id)
            progress.advance(1)
    return {fault: tuple(ids) for fault, ids in faults.items()}


def _image_fault(posts: PostSet, post: Post) -> ImageFault | None:
    if post.image is None or not posts.storage.has(post.image):
        return ImageFault.MISSING
    try:
        data = posts.storage.read(post.image)
    except TooLargeError:
        return ImageFault.OVERSIZED
    except DataError:
        return ImageFault.TRUNCATED
    return inspect_image(data, posts.storage.where(post.image))


def _label_pairs(posts: PostSet) -> dict[str, int]:
    pairs = Counter(",".join(pair) for post in posts.posts for pair in post.annotations)
    return dict(sorted(pairs.items()))


def _split_labels(posts: PostSet, split: Split) -> dict[str, dict[str, int]]:
    counts = Counter((split.parts.get(post.id), post.label) for post in posts.posts)
    return {part: {name: counts[part, name] for name in posts.classes} for part in PARTS}


def _absent_classes(
    labels: dict[str, int], split_labels: dict[str, dict[str, int]]
) -> dict[str, tuple[str, ...]]:
    """Classes with posts in the data set and none in a part that has posts."""
    return {
        part: tuple(name for name, count in counts.items() if labels[name] and not count)
        for part, counts in split_labels.items()
        if any(counts.values())
    }


def _ids(posts: PostSet, groups: Sequence[Sequence[int]]) -> Groups:
    return tuple(tuple(posts.posts[at].id for at in group) for group in groups)


def _leakage(
    posts: PostSet, split: Split, texts: Sequence[str | None], pictures: Sequence[bytes | None]
) -> Leakage:
    parts = [split.parts.get(post.id) for post in posts.posts]

    def crossing(groups: list[list[int]]) -> list[list[int]]:
        return [group for group in groups if len({parts[at] for at in group} - {None}) > 1]

    by_text, by_image = crossing(members(joined(texts))), crossing(members(joined(pictures)))
    tested = {
        at
        for group in (*by_text, *by_image)
        if any(parts[other] == TRAIN for other in group)
        for at in group
        if parts[at] == TEST
    }
    return Leakage(
        texts=_ids(posts, by_text),
        images=_ids(posts, by_image),
        test_ids=tuple(posts.posts[at].id for at in sorted(tested)),
    )


_FAULT_PHRASES = {
    ImageFault.MISSING: "No picture",
    ImageFault.ZERO_BYTE: "An empty file for a picture",
    ImageFault.NOT_AN_IMAGE: "A file that is no picture",
    ImageFault.TRUNCATED: "A picture that is cut short or damaged",
    ImageFault.OVERSIZED: "A picture too large to decode safely",
    ImageFault.NARROW: "A picture too narrow for a backbone to see",
}
# Fewer groups of duplicates with different labels may be chance.
_FEWEST_CONFLICTS = 5
_CONFLICT_PHRASE = "The same text or picture under different labels, as in most duplicates"
_STAND_IN_PHRASE = (
    "A picture that many posts with different texts share, probably a placeholder (it "
    "makes no duplicates)"
)


def _spoilers(report: CheckReport) -> list[str]:
    across = "occurs in more than one part of the split"
    leakage = report.leakage
    shared = [f"{name}: {len(ids):,} posts" for name, ids in report.stand_ins.items()]
    every_text_empty = len(report.empty_texts) == report.n_posts > 0
    images = {fault: report.images[fault.value] for fault in ImageFault}
    images[ImageFault.MISSING] = tuple(
        f"{post_id}: {report.sought[post_id]}" if post_id in report.sought else post_id
        for post_id in images[ImageFault.MISSING]
    )
    findings = [
        *((_FAULT_PHRASES[fault], "post", names) for fault, names in images.items()),
        ("No text", "post", report.missing_texts),
        ("Every text is empty", "post", report.empty_texts if every_text_empty else ()),
        (_STAND_IN_PHRASE, "picture", shared),
        ("An id with invisible characters or odd blanks", "post", [*map(repr, report.odd_ids)]),
        *((phrase, "class", names) for phrase, names in report.doubtful_labels.items()),
        *_class_sizes(report),
        (f"A text that {across}", "text", _joined_ids(leakage.texts)),
        (f"A picture that {across}", "picture", _joined_ids(leakage.images)),
        ("Tested although train holds the same text or picture", "post", leakage.test_ids),
        (_CONFLICT_PHRASE, "group", _prevailing_conflicts(report)),
    ]
    sentences = [_sentence(phrase, noun, names) for phrase, noun, names in findings if names]
    return [*report.guesses, *sentences]


def _prevailing_conflicts(report: CheckReport) -> list[str]:
    """Groups of duplicates with different labels, if most duplicates are such.

    A few are noise of annotators. If most duplicates conflict, and they are a tenth of the posts or
    more, labels depend on something that is not read, such as the target of a text about several.
    """
    groups, posts = len(report.conflicting), sum(map(len, report.conflicting))
    prevail = 2 * groups > len(report.duplicates) and 10 * posts >= report.n_posts
    return _joined_ids(report.conflicting) if prevail and groups >= _FEWEST_CONFLICTS else []


def _class_sizes(report: CheckReport) -> list[tuple[str, str, Sequence[str]]]:
    """Classes that are too small for any split, or for the checked one."""
    if not any(report.labels.values()):
        return []
    found: list[tuple[str, str, Sequence[str]]] = []
    small = [f"{name}: {count:,}" for name, count in report.labels.items() if count < 2]
    found.append(("Fewer than two posts, so it cannot be divided", "class", small))
    if report.split_labels:
        for part, names in report.absent_classes.items():
            found.append((f"Without a post in {part}", "class", names))
    else:
        pairs = [f"{name}: {count:,}" for name, count in report.labels.items() if count == 2]
        found.append(("Fewer than three posts, so absent from val or test", "class", pairs))
    return found


def _joined_ids(groups: Groups) -> list[str]:
    return ["+".join(group[:3]) + ("+..." if len(group) > 3 else "") for group in groups]


def _sentence(phrase: str, noun: str, names: Sequence[str]) -> str:
    plural = {"class": "classes"}.get(noun, f"{noun}s")
    count = f"1 {noun}" if len(names) == 1 else f"{len(names):,} {plural}"
    return f"{phrase}: {count} ({name_some(names)})."
