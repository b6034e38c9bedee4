"""What run folders say of one part of their posts, refused where it cannot be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.errors import ConfigError, RunError, name_some
from mvsa_pipe.metrics import Counts
from mvsa_pipe.runs import Recorded, Run

_TEST, _VAL = "test", "val"


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
    answers: dict[str, Recorded]

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
        RunError: Data sets, classes or labels differ; protocols or posts differ and may not; or
            no post is shared.
    """
    first, rest = some[0], some[1:]
    posts = [i for i in first.answers if all(i in other.answers for other in rest)]
    always: list[tuple[str, Callable[[Contender], object]]] = [
        ("data sets", lambda c: c.run.config["data"]["name"]),
        ("classes", lambda c: ", ".join(sorted(c.classes))),
    ]
    found = _differences(some, always)
    relabelled = [
        i for i in posts if any(c.answers[i].label != first.answers[i].label for c in rest)
    ]
    if relabelled:
        found.append(f"labels differ for {len(relabelled):,} posts: {name_some(relabelled)}")
    if found or not posts:
        found += [] if posts else [f"no {part} post is shared"]
        raise RunError(
            "These runs cannot be compared",
            where=name_some(c.name for c in some),
            expected="runs over the same posts with the same labels",
            found="; ".join(found),
            hint="mvsa fit with the same --data and --split makes runs that can be compared",
        )
    found = _differences(some, [("protocols", lambda c: c.run.metrics["protocol"])])
    if any(len(c.answers) > len(posts) for c in some):
        sizes = name_some(f"{c.name} {len(c.answers):,}" for c in some)
        found.append(f"{part} posts differ: {sizes}, of which {len(posts):,} are shared")
    if found and not shared_only:
        raise RunError(
            "These runs were not scored on the same posts under one protocol",
            where=name_some(c.name for c in some),
            expected="one protocol tag and the same posts",
            found="; ".join(found),
            hint=f"--shared-posts compares them on the {len(posts):,} {part} posts that all of "
            "them have",
        )
    return posts


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
