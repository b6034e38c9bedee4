"""Predictions of runs for one part of their posts; raises if they cannot be compared."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.run_labels import run_labels
from mvsa_pipe.errors import ConfigError, RunError, name_some
from mvsa_pipe.metrics.scores import Counts
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Prediction, Run

_TEST, _VAL = "test", "val"

# The digest of ids and labels in a protocol tag.
_DIGEST = re.compile(r"@[0-9a-f]{8}(?=/)")


@dataclass(frozen=True)
class PartPredictions:
    """One run's predictions on the compared part.

    Attributes:
        name: Its name in tables and sentences.
        run: The run.
        rows: Label and prediction of every post of the part, by id.
    """

    name: str
    run: Run
    rows: dict[str, Prediction]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the run's order."""
        return tuple(self.run.config["data"]["classes"])

    def predictions(self, posts: Sequence[str], classes: Sequence[str]) -> Counts:
        """Predicted classes of some posts ``[N]``."""
        return _numbers([self.rows[post].prediction for post in posts], classes)

    def answered(self, posts: Sequence[str], classes: Sequence[str]) -> Answers:
        """Labels, predicted classes and probabilities of some posts."""
        places = [self.classes.index(name) for name in classes]
        shares = np.array([self.rows[post].probabilities for post in posts], np.float64)
        return Answers(
            self.labels(posts, classes),
            self.predictions(posts, classes),
            len(classes),
            shares[:, places],
        )

    def labels(self, posts: Sequence[str], classes: Sequence[str]) -> Counts:
        """True classes of some posts ``[N]``."""
        return _numbers([self.rows[post].label for post in posts], classes)


def _numbers(names: Sequence[str], classes: Sequence[str]) -> Counts:
    places = {name: number for number, name in enumerate(classes)}
    return np.array([places[name] for name in names], np.int64)


def part_predictions(runs: Sequence[Run], at_least: int = 2) -> tuple[str, list[PartPredictions]]:
    """The part that all runs were scored on, preferably test, and their predictions there.

    Args:
        runs: The runs.
        at_least: The fewest runs.

    Raises:
        ConfigError: There are fewer runs, or the same run twice.
        RunError: Predictions are missing or damaged, or no part is common to all runs.
    """
    _refuse_too_few(runs, at_least)
    recorded = [run.predictions() for run in runs]
    parts = [{row.split for row in rows} for rows in recorded]
    shared = set.intersection(*parts)
    part = _TEST if _TEST in shared else _VAL
    if part not in shared:
        scored = "; ".join(
            f"{run.path.name}: {name_some(sorted(p)) or 'none'}"
            for run, p in zip(runs, parts, strict=True)
        )
        raise RunError("These runs were not scored on a common part", found=scored)
    names = run_labels(runs)
    return part, [
        PartPredictions(name, run, {row.post_id: row for row in rows if row.split == part})
        for name, run, rows in zip(names, runs, recorded, strict=True)
    ]


def _refuse_too_few(runs: Sequence[Run], at_least: int) -> None:
    paths = [run.path.resolve() for run in runs]
    if len(runs) < at_least or len(set(paths)) < len(paths):
        raise ConfigError(
            "A comparison needs two different runs or more"
            if at_least == 2
            else f"This needs {at_least} run{'s' if at_least > 1 else ''} or more, each once",
            found=name_some(str(run.path) for run in runs),
        )


def comparable_posts(part: str, some: Sequence[PartPredictions], *, shared_only: bool) -> list[str]:
    """The posts that runs are compared on, in the first one's order.

    Args:
        part: The compared part, for messages.
        some: The runs.
        shared_only: Whether protocols and posts may differ, as long as some posts are shared.

    Raises:
        RunError: Data sets or classes differ; protocols, posts, labels or contents differ without
            ``shared_only``; or no post is shared.
    """
    first, rest = some[0], some[1:]
    posts = [i for i in first.rows if all(i in other.rows for other in rest)]
    relabelled = [i for i in posts if any(c.rows[i].label != first.rows[i].label for c in rest)]
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
    if any(len(c.rows) > len(posts) for c in some):
        sizes = name_some(f"{c.name} {len(c.rows):,}" for c in some)
        found.append(f"{part} posts differ: {sizes}, of which {len(posts):,} are shared")
    if found and not shared_only:
        raise RunError(
            "These runs were not scored on the same posts under one protocol",
            where=name_some(c.name for c in some),
            expected="one protocol tag and the same posts",
            found="; ".join(found),
            hint=f"--shared-posts compares them on the {len(same):,} {part} posts that are the "
            "same in all of them",
        )
    return same


def _changed(some: Sequence[PartPredictions], posts: Sequence[str]) -> list[str]:
    """Posts whose recorded contents differ between runs that read the same modality.

    Runs of 0.1 recorded no contents.
    """
    contents = [{m.post_id: m.contents for m in c.run.members()} for c in some]
    return [
        i
        for i in posts
        if any(len({of[i][m] for of in contents if m in of.get(i, {})}) > 1 for m in Modality)
    ]


def _protocol_of(some: Sequence[PartPredictions]) -> Callable[[PartPredictions], str]:
    """The protocol of each run; without digests of posts if a run of 0.1 has none."""
    tags = {c.name: str(c.run.metrics["protocol"]) for c in some}
    if all(_DIGEST.search(tag) for tag in tags.values()):
        return lambda c: tags[c.name]
    return lambda c: _DIGEST.sub("", tags[c.name])


def _differences(
    some: Sequence[PartPredictions],
    views: Sequence[tuple[str, Callable[[PartPredictions], object]]],
) -> list[str]:
    lines = []
    for what, view in views:
        values = [str(view(run)) for run in some]
        if len(set(values)) > 1:
            pairs = (f"{c.name} has {v}" for c, v in zip(some, values, strict=True))
            lines.append(f"{what} differ: {', '.join(pairs)}")
    return lines
