"""Compares runs by their records: scores on the same posts, paired tests, costs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvsa_pipe.analysis.comparable_runs import PartPredictions, comparable_posts, part_predictions
from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.paired import Paired, compare_paired, holm
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.scores import (
    Counts,
    Reference,
    Scores,
    chance,
    majority_reference,
    score,
)
from mvsa_pipe.runs import Run
from mvsa_pipe.tabular import Row, Tabular


@dataclass(frozen=True)
class Cost:
    """Recorded cost of a run's training; ``None`` if not recorded.

    Attributes:
        seconds: Wall time of training, without the extraction of cached features.
        peak_memory_bytes: Peak memory of the process.
        peak_gpu_bytes: Peak GPU memory of tensors.
        parameters_trained: Number of trained parameters.
        energy_joules: Energy by the device's counter.
        device: The device of the training.
    """

    seconds: float | None
    peak_memory_bytes: int | None
    peak_gpu_bytes: int | None
    parameters_trained: int | None
    energy_joules: float | None
    device: str


@dataclass(frozen=True)
class Compared:
    """One of the compared runs.

    Attributes:
        name: Its name in tables and sentences.
        path: Its folder.
        head: Its head.
        fine_tuned: Whether its backbones were trained too.
        batch_independent: Whether predictions are independent of their batch.
        scores: Its scores on the compared posts.
        cost: Cost of its training.
        paired: Difference from the first run; ``None`` for the first run.
        p_holm: The p-value of McNemar's test, Holm-adjusted for the number of tests.
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


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """Runs compared on the same posts.

    Attributes:
        part: ``test``, or ``val`` if a run has no test part.
        protocols: The protocol tags of the runs; several only if shared posts are compared.
        posts: Number of compared posts.
        posts_of_first: Number of posts of the part in the first run.
        rows: The runs, in the given order.
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

    def table_rows(self) -> list[Row]:
        """Scores of each run, and its difference from the first."""
        return [_table_row(row) for row in self.rows]

    def table_title(self) -> str:
        """What the runs are compared on."""
        return f"{' / '.join(self.protocols)}, {self.part}, {self.posts:,} posts"

    def table_notes(self) -> list[str]:
        """The comparison in sentences."""
        from mvsa_pipe.analysis.sentences import sentences  # reads comparisons itself

        return sentences(self)


def _table_row(row: "Compared") -> Row:
    low, high = row.scores.intervals[Score.ACCURACY.value]
    gain = None if row.paired is None else row.paired.differences[Score.ACCURACY.value]
    return {
        "run": row.name,
        "head": row.head,
        "accuracy": row.scores[Score.ACCURACY],
        "accuracy_low": low,
        "accuracy_high": high,
        "f1_macro": row.scores[Score.F1_MACRO],
        "f1_weighted": row.scores[Score.F1_WEIGHTED],
        "accuracy_gain": None if gain is None else gain.value,
        "gain_low": None if gain is None else gain.interval[0],
        "gain_high": None if gain is None else gain.interval[1],
        "p_mcnemar": None if row.paired is None else row.paired.mcnemar.p_value,
        "p_holm": row.p_holm,
        "seconds": row.cost.seconds,
        "parameters": row.cost.parameters_trained,
    }


def compare(runs: Sequence[Run], options: CompareOptions) -> Comparison:
    """Compares runs with the first one, on the posts that all were scored on.

    Raises:
        ConfigError: Fewer than two runs, or the same run twice.
        RunError: The runs cannot be compared, or a record is missing or damaged.
    """
    part, some = part_predictions(runs)
    first = some[0]
    posts = comparable_posts(part, some, shared_only=options.shared_posts)
    classes = first.classes
    labels = first.labels(posts, classes)
    answers = [run.answered(posts, classes) for run in some]
    pairs = [
        _paired(labels, answers[0].predicted, other.predicted, len(classes), options)
        for other in answers[1:]
    ]
    adjusted = holm([pair.mcnemar.p_value for pair in pairs])
    rows = [
        _row(run, score(labels, own.predicted, classes, own.probabilities), pair, p)
        for run, own, pair, p in zip(some, answers, [None, *pairs], [None, *adjusted], strict=True)
    ]
    return Comparison(
        part=part,
        protocols=tuple(dict.fromkeys(run.metrics["protocol"] for run in runs)),
        posts=len(posts),
        posts_of_first=len(first.rows),
        rows=rows,
        references=reference_rows(first.run, labels),
    )


def _paired(
    labels: Counts, first: Counts, second: Counts, classes: int, options: CompareOptions
) -> Paired:
    # One generator per pair: a pair's interval does not depend on the other pairs.
    generator = np.random.default_rng(options.seed)
    return compare_paired(labels, first, second, classes, generator, resamples=options.resamples)


def _row(
    part: PartPredictions, scores: Scores, pair: Paired | None, p_holm: float | None
) -> Compared:
    config, metrics = part.run.config, part.run.metrics
    return Compared(
        name=part.name,
        path=str(part.run.path),
        head=part.run.title,
        fine_tuned="finetune" in config,
        batch_independent=bool(metrics.get("batch_independent", True)),
        scores=scores,
        cost=cost_of(metrics),
        paired=pair,
        p_holm=p_holm,
    )


def cost_of(metrics: dict[str, Any]) -> Cost:
    """The recorded cost; fine-tuned runs record trained and all parameters separately."""
    return Cost(
        seconds=metrics.get("seconds"),
        peak_memory_bytes=metrics.get("peak_memory_bytes"),
        peak_gpu_bytes=metrics.get("peak_gpu_bytes") or None,  # 0 without a GPU
        parameters_trained=_trained(metrics),
        energy_joules=metrics.get("energy_joules"),
        device=str(metrics.get("device", "unknown")),
    )


def _trained(metrics: dict[str, Any]) -> int | None:
    """Trained parameters: the head's, and for a fine-tuned run those of its backbones too."""
    parts = metrics.get("parameters_trained")
    if isinstance(parts, dict):
        return sum(int(count) for count in parts.values())
    found: int | None = metrics.get("parameters") if parts is None else parts
    return found


def reference_rows(run: Run, labels: Counts) -> list[Reference]:
    """Majority and chance of a run's training posts, on posts of these true classes.

    Raises:
        RunError: The run's list of posts is missing, damaged, or contradicts its classes.
    """
    left_out = set(run.metrics.get("left_out", ()))
    members = [m for m in run.members() if m.split == "train" and m.post_id not in left_out]
    places = {name: number for number, name in enumerate(run.config["data"]["classes"])}
    unknown = sorted({m.label for m in members} - places.keys())
    if unknown or not members:
        raise RunError(
            "This run's list of posts does not fit its record",
            where=run.path,
            found=f"labels {', '.join(map(repr, unknown))}" if unknown else "no training posts",
        )
    train = np.array([places[m.label] for m in members], np.int64)
    return [row(train, labels, len(places)) for row in (majority_reference, chance)]
