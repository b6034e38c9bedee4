"""Compares runs by what their folders say: scores on the same posts, paired tests, costs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvsa_pipe.analysis.comparable_runs import Contender, comparable_posts, contenders
from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.paired import Paired, compare_paired, holm
from mvsa_pipe.metrics.scores import Counts, Reference, Scores, chance, majority_reference, score
from mvsa_pipe.runs import Run


@dataclass(frozen=True)
class Cost:
    """What a run cost to train, as its record says; ``None`` where it does not say.

    Attributes:
        seconds: Wall time of training. A cached fit's features were made before, at their own
            cost, which this does not hold.
        peak_memory_bytes: Most memory that the process held.
        peak_gpu_bytes: Most memory of the GPU that tensors held.
        parameters_trained: How many parameters were trained.
        energy_joules: What the device's counter counted meanwhile.
        device: Where it was trained.
    """

    seconds: float | None
    peak_memory_bytes: int | None
    peak_gpu_bytes: int | None
    parameters_trained: int | None
    energy_joules: float | None
    device: str


@dataclass(frozen=True)
class Compared:
    """One run among those that are compared.

    Attributes:
        name: What tables and sentences call it.
        path: Its folder.
        head: Its head.
        fine_tuned: Whether its backbones were trained too.
        batch_independent: Whether a post's prediction is free of its companions.
        scores: Its scores on the compared posts.
        cost: What it cost.
        paired: How it differs from the first run; ``None`` for the first itself.
        p_holm: The p-value of McNemar's test, adjusted for as many tests as there are.
    """

    name: str
    path: str
    head: str
    fine_tuned: bool
    batch_independent: bool
    scores: Scores
    cost: Cost
    paired: Paired | None
    p_holm: float | None


@dataclass(frozen=True)
class Comparison:
    """Runs compared on the same posts.

    Attributes:
        part: ``test``, or ``val`` where some run has no test part.
        protocols: The protocol tags of the runs; one, unless only shared posts are compared.
        posts: How many posts are compared.
        posts_of_first: How many the part has in the first run.
        rows: The runs, in the order in which they were named.
        references: Majority and chance, from the first run's training posts.
    """

    part: str
    protocols: tuple[str, ...]
    posts: int
    posts_of_first: int
    rows: list[Compared]
    references: list[Reference]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


def compare(runs: Sequence[Run], options: CompareOptions) -> Comparison:
    """Compares runs with the first of them on the posts that all were scored on.

    Raises:
        ConfigError: Fewer than two runs, or one of them twice.
        RunError: The runs cannot be compared, or a record is missing or damaged.
    """
    part, some = contenders(runs)
    first = some[0]
    posts = comparable_posts(part, some, shared_only=options.shared_posts)
    classes = first.classes
    labels = first.labels(posts, classes)
    answers = [contender.predictions(posts, classes) for contender in some]
    pairs = [_paired(labels, answers[0], other, len(classes), options) for other in answers[1:]]
    adjusted = holm([pair.mcnemar.p_value for pair in pairs])
    rows = [
        _row(contender, score(labels, predicted, classes), pair, p)
        for contender, predicted, pair, p in zip(
            some, answers, [None, *pairs], [None, *adjusted], strict=True
        )
    ]
    return Comparison(
        part=part,
        protocols=tuple(dict.fromkeys(run.metrics["protocol"] for run in runs)),
        posts=len(posts),
        posts_of_first=len(first.answers),
        rows=rows,
        references=_references(first, labels),
    )


def _paired(
    labels: Counts, first: Counts, second: Counts, classes: int, options: CompareOptions
) -> Paired:
    # A generator of its own: a pair's interval does not depend on what is compared beside it.
    generator = np.random.default_rng(options.seed)
    return compare_paired(labels, first, second, classes, generator, resamples=options.resamples)


def _row(
    contender: Contender, scores: Scores, pair: Paired | None, p_holm: float | None
) -> Compared:
    config, metrics = contender.run.config, contender.run.metrics
    return Compared(
        name=contender.name,
        path=str(contender.run.path),
        head=contender.run.title,
        fine_tuned="finetune" in config,
        batch_independent=bool(metrics.get("batch_independent", True)),
        scores=scores,
        cost=_cost(metrics),
        paired=pair,
        p_holm=p_holm,
    )


def _cost(metrics: dict[str, Any]) -> Cost:
    """What the record says; fine-tuned runs count what they trained apart from what they hold."""
    return Cost(
        seconds=metrics.get("seconds"),
        peak_memory_bytes=metrics.get("peak_memory_bytes"),
        peak_gpu_bytes=metrics.get("peak_gpu_bytes") or None,  # 0 where no GPU computed
        parameters_trained=_trained(metrics),
        energy_joules=metrics.get("energy_joules"),
        device=str(metrics.get("device", "unknown")),
    )


def _trained(metrics: dict[str, Any]) -> int | None:
    """Of a cached fit the head's parameters, of a fine-tuned run those of its backbones too."""
    parts = metrics.get("parameters_trained")
    if isinstance(parts, dict):
        return sum(int(count) for count in parts.values())
    found: int | None = metrics.get("parameters") if parts is None else parts
    return found


def _references(first: Contender, labels: Counts) -> list[Reference]:
    left_out = set(first.run.metrics.get("left_out", ()))
    members = [m for m in first.run.members() if m.split == "train" and m.post_id not in left_out]
    places = {name: number for number, name in enumerate(first.classes)}
    unknown = sorted({m.label for m in members} - places.keys())
    if unknown or not members:
        raise RunError(
            "This run's list of posts does not fit its record",
            where=first.run.path,
            found=f"labels {', '.join(map(repr, unknown))}" if unknown else "no training posts",
        )
    train = np.array([places[m.label] for m in members], np.int64)
    return [row(train, labels, len(places)) for row in (majority_reference, chance)]
