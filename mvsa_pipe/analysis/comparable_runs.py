"""Predictions of runs for one part of their posts, refused where they cannot be compared."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.errors import ConfigError, RunError, name_some
from mvsa_pipe.metrics.scores import Counts
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Prediction, Run

_TEST, _VAL = "test", "val"

# What a protocol tag has of the ids and labels of its posts.
_DIGEST = re.compile(r"@[0-9a-f]{8}(?=/)")


@dataclass(frozen=True)
class Contender:
    """One run's answers on the part that is compared.

    Attributes:
        name: What tables and sentences call it.
        run: The run.
        answers: Label and prediction of every post of the part, by post id.
    """

    name: str
    run: Run
    answers: dict[str, Prediction]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the run's order."""
        return tuple(self.run.config["data"]["classes"])

    def predictions(self, posts: Sequence[str], classes: Sequence[str]) -> Counts:
        """Predicted classes of some posts ``[N]``."""
        return _numbers([self.answers[post].prediction for post in posts], classes)

    def labels(self, posts: Sequence[str], classes: Sequence[str]) -> Counts:
        """True classes of some posts ``[N]``."""
        return _numbers([self.answers[post].label for post in posts], classes)


def _numbers(names: Sequence[str], classes: Sequence[str]) -> Counts:
    places = {name: number for number, name in enumerate(classes)}
    return np.array([places[name] for name in names], np.int64)


def contenders(runs: Sequence[Run]) -> tuple[str, list[Contender]]:
    """The part that all runs were scored on, test where all have one, and their answers there.

    Raises:
        ConfigError: Fewer than two runs, or one of them twice.
        RunError: Predictions are missing or damaged, or there is no part that all have.
    """
    _refuse_too_few(runs)
    recorded = [run.predictions() for run in runs]
    parts = [{row.split for row in rows} for rows in recorded]
    shared = set.intersection(*parts)
    part = _TEST if _TEST in shared else _VAL
    if part not in shared:
        held = "; ".join(
            f"{run.path.name}: {name_some(sorted(p)) or 'none'}"
            for run, p in zip(runs, parts, strict=True)
        )
        raise RunError("These runs were scored on no part that all of them have", found=held)
    names = _names(runs)
    return part, [
        Contender(name, run, {row.post_id: row for row in rows if row.split == part})
        for name, run, rows in zip(names, runs, recorded, strict=True)
    ]


def _refuse_too_few(runs: Sequence[Run]) -> None:
    paths = [run.path.resolve() for run in runs]
    if len(runs) < 2 or len(set(paths)) < len(paths):
        raise ConfigError(
            "A comparison needs two different runs or more",
            found=name_some(str(run.path) for run in runs),
        )


def _names(runs: Sequence[Run]) -> list[str]:
    """Names of the folders, or their whole paths where two share a name."""
    short = [run.path.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.path) for run in runs]


def comparable_posts(part: str, some: Sequence[Contender], *, shared_only: bool) -> list[str]:
    """The posts that runs are compared on, in the first one's order.

    Args:
        part: What is compared, for messages.
        some: The runs.
        shared_only: Whether protocols and posts may differ, as long as some posts are shared.

    Raises:
        RunError: Data sets or classes differ; protocols, posts, labels or contents differ and may
            not; or no post is shared.
    """
    first, rest = some[0], some[1:]
    posts = [i for i in first.answers if all(i in other.answers for other in rest)]
    relabelled = [
        i for i in posts if any(c.answers[i].label != first.answers[i].label for c in rest)
    ]
    changed = _changed(some, posts)
    found = _differences(
        some,
        [
            ("data sets", lambda c: c.run.config["data"]["name"]),
            ("classes", lambda c: ", ".join(sorted(c.classes))),
        ],
    )
    others = {*relabelled, *changed}
    same = [i for i in posts if i not in others]
    other = [
        f"{what} differ for {len(ids):,} posts: {name_some(ids)}"
        for what, ids in (("labels", relabelled), ("texts or pictures", changed))
        if ids
    ]
    other = _differences(some, [("protocols", _protocol_of(some))]) + other
    if found or not same:
        found += other
        found += [] if posts else [f"no {part} post is shared"]
        raise RunError(
            "These runs cannot be compared",
            where=name_some(c.name for c in some),
            expected="runs over the same posts with the same labels",
            found="; ".join(found),
            hint="mvsa fit with the same --data and --split makes runs that can be compared",
        )
    found = other
    if any(len(c.answers) > len(posts) for c in some):
        sizes = name_some(f"{c.name} {len(c.answers):,}" for c in some)
        found.append(f"{part} posts differ: {sizes}, of which {len(posts):,} are shared")
    if found and not shared_only:
        raise RunError(
            "These runs were not scored on the same posts under one protocol",
            where=name_some(c.name for c in some),
            expected="one protocol tag and the same posts",
            found="; ".join(found),
            hint=f"--shared-posts compares them on the {len(same):,} {part} posts that all of "
            "them have alike",
        )
    return same


def _changed(some: Sequence[Contender], posts: Sequence[str]) -> list[str]:
    """Posts of which two runs that read the same half have read other contents.

    Runs of 0.1 recorded no contents.
    """
    contents = [{m.post_id: m.contents for m in c.run.members()} for c in some]
    halves = [
        {half: {of[i][half] for of in contents if half in of.get(i, {})} for half in Modality}
        for i in posts
    ]
    return [
        i for i, read in zip(posts, halves, strict=True) if any(len(d) > 1 for d in read.values())
    ]


def _protocol_of(some: Sequence[Contender]) -> Callable[[Contender], str]:
    """The protocol of each run; without digests of posts where a run of 0.1 has none."""
    tags = {c.name: str(c.run.metrics["protocol"]) for c in some}
    if all(_DIGEST.search(tag) for tag in tags.values()):
        return lambda c: tags[c.name]
    return lambda c: _DIGEST.sub("", tags[c.name])


def _differences(
    some: Sequence[Contender], views: Sequence[tuple[str, Callable[[Contender], object]]]
) -> list[str]:
    lines = []
    for what, view in views:
        values = [str(view(contender)) for contender in some]
        if len(set(values)) > 1:
            pairs = (f"{c.name} has {v}" for c, v in zip(some, values, strict=True))
            lines.append(f"{what} differ: {', '.join(pairs)}")
    return lines
