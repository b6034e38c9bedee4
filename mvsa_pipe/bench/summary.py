"""A bench summed up: one row a head and setting, from the records of its runs alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mvsa_pipe.bench.failures import FailedRun, has_failed
from mvsa_pipe.heads import HEADS
from mvsa_pipe.metrics.scores import mean_interval, score
from mvsa_pipe.provenance import now, package_versions
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.records import references


@dataclass(frozen=True)
class EnsembleSummary:
    """A head in one setting whose seeds answer together, by the mean of their probabilities.

    Attributes:
        head: Its name.
        pair: Its backbones, where several pairs are compared; else empty.
        setting: What was varied; empty where nothing was.
        part: ``test``, or ``val`` where the split has no test part.
        seeds: The seeds that are averaged.
        values: Each score.
        interval: Its bootstrap interval over posts.
    """

    head: str
    pair: str
    setting: str
    part: str
    seeds: tuple[int, ...]
    values: dict[str, float]
    interval: dict[str, tuple[float, float]]


def average_runs(
    runs: Sequence[dict[str, Any]], part: str, classes: Sequence[str], pair: str = ""
) -> EnsembleSummary | None:
    """What a head's runs say together; ``None`` where there is nothing to average.

    That is so of a single run, of runs that were scored on different posts, and of a head that is
    the same for every seed.

    Args:
        runs: The records of one head in one setting, one a seed.
        part: The part to score.
        classes: Names of the classes.
        pair: Their backbones, as the summary shall name them.
    """
    first = runs[0]
    alike = all(
        run["ids"][part] == first["ids"][part] and run["labels"][part] == first["labels"][part]
        for run in runs
    )
    if len(runs) < 2 or not alike or not HEADS.load(first["head"]).seeded:
        return None
    shares = np.mean([run["probabilities"][part] for run in runs], axis=0)
    scores = score(np.array(first["labels"][part]), shares.argmax(axis=1), classes)
    return EnsembleSummary(
        head=first["head"],
        pair=pair,
        setting=first["setting"],
        part=part,
        seeds=tuple(run["seed"] for run in runs),
        values=scores.values,
        interval=scores.intervals,
    )


@dataclass(frozen=True)
class HeadSummary:
    """One row of the table: a head in one setting over its seeds, on one part.

    Attributes:
        head: Its name.
        pair: Its backbones, where several pairs are compared; else empty.
        setting: What was varied; empty where nothing was.
        part: ``test``, or ``val`` where the split has no test part.
        mean: Mean of each score over seeds.
        deviation: Sample standard deviation over seeds.
        interval: Bootstrap interval of the mean over posts.
        seconds: Mean seconds of one training.
        parameters: Trained numbers.
        batch_independent: Whether a post's prediction is free of its companions.
        seeds: Runs that it sums up.
        failed: Runs of the same head and setting that came to nothing.
    """

    head: str
    pair: str
    setting: str
    part: str
    mean: dict[str, float]
    deviation: dict[str, float]
    interval: dict[str, tuple[float, float]]
    seconds: float
    parameters: int
    batch_independent: bool
    seeds: int = 1
    failed: int = 0


@dataclass(frozen=True)
class Bench:
    """All runs of a bench and their summary.

    Attributes:
        protocol: The protocol tag; with ``resplit`` the seed's place says so.
        part: The part that the table shows.
        pairs: The backbone of each modality, of every pair that is compared.
        rows: One summary a pair, head and setting, in the order asked for; none where all runs
            failed.
        references: Majority and chance rows of the first split.
        records: Every run's record, with its predictions, or with the reason why it has none.
        seconds: Where the time went: ``loading`` and ``wall`` by the clock; ``training`` and
            ``scoring`` summed over runs, some of which ran side by side or were recorded before.
        ensembles: One a row whose seeds can be averaged: of none with ``resplit``, as every seed
            is then tested on other posts.
        failed: The runs that came to nothing, in the order asked for.
    """

    protocol: str
    part: str
    pairs: list[dict[str, str]]
    rows: list[HeadSummary]
    references: list[dict[str, Any]]
    records: list[dict[str, Any]]
    seconds: dict[str, float]
    ensembles: list[EnsembleSummary] = field(default_factory=list)
    failed: list[FailedRun] = field(default_factory=list)

    @property
    def backbones(self) -> dict[str, str]:
        """All backbones of each modality, each once, with commas between them."""
        names = {modality: [pair[modality] for pair in self.pairs] for modality in self.pairs[0]}
        return {modality: ", ".join(dict.fromkeys(every)) for modality, every in names.items()}

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "backbones": self.backbones,
            "pairs": self.pairs,
            "written": now(),
            "versions": package_versions(),
            "rows": [vars(row) for row in self.rows],
            "ensembles": [vars(row) for row in self.ensembles],
            "failed": [vars(run) for run in self.failed],
            "references": self.references,
            "seconds": self.seconds,
            "runs": self.records,
        }


@dataclass(frozen=True)
class Ground:
    """What all runs of a bench share, without their features.

    Attributes:
        protocol: The protocol tag of the first split.
        part: The part that is summed up: test where there is one.
        classes: Names of the classes.
        references: Majority and chance rows of the first split.
    """

    protocol: str
    part: str
    classes: tuple[str, ...]
    references: list[dict[str, Any]]

    @classmethod
    def of(cls, experiment: Experiment) -> "Ground":
        """That of an experiment under the first split."""
        part = "test" if len(experiment.indices["test"]) else "val"
        return cls(
            experiment.protocol, part, experiment.posts.classes, references(experiment, part)
        )


@dataclass(frozen=True)
class Group:
    """The runs of one row.

    Attributes:
        pair: Their backbones, where several pairs are compared; else empty.
        records: Their records, one a seed.
    """

    pair: str
    records: list[dict[str, Any]]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The records of runs that have a result."""
        return [record for record in self.records if not has_failed(record)]

    @property
    def failed(self) -> list[FailedRun]:
        """The others."""
        return [FailedRun.of(record, self.pair) for record in self.records if has_failed(record)]


def summarise(
    ground: Ground,
    pairs: list[dict[str, str]],
    groups: Sequence[Group],
    seconds: dict[str, float],
    *,
    resplit: bool = False,
) -> Bench:
    """Sums up runs a pair, head and setting at a time, on the test part where there is one.

    Args:
        ground: What they share.
        pairs: The backbone of each modality, of every pair.
        groups: The runs of each row.
        seconds: ``loading`` and ``wall``.
        resplit: Whether every seed had a split of its own.
    """
    part, protocol = ground.part, ground.protocol
    some = [group for group in groups if group.runs]
    averaged = [average_runs(group.runs, part, ground.classes, group.pair) for group in some]
    runs = [run for group in some for run in group.runs]
    spent = {
        "training": sum(run["seconds"] for run in runs),
        "scoring": sum(run["scoring_seconds"] for run in runs),
    }
    return Bench(
        protocol=f"{protocol.rpartition('/')[0]}/seed-varied" if resplit else protocol,
        part=part,
        pairs=pairs,
        rows=[_row(group, part, len(ground.classes)) for group in some],
        references=ground.references,
        records=[record for group in groups for record in group.records],
        seconds={name: round(value, 3) for name, value in (seconds | spent).items()},
        ensembles=[] if resplit else [row for row in averaged if row is not None],
        failed=[run for group in groups for run in group.failed],
    )


def _row(group: Group, part: str, classes: int) -> HeadSummary:
    runs = group.runs
    scores = [run["scores"][part]["values"] for run in runs]
    values = {name: [row[name] for row in scores] for name in scores[0]}
    pairs = [(np.array(run["labels"][part]), np.array(run["predicted"][part])) for run in runs]
    return HeadSummary(
        head=runs[0]["head"],
        pair=group.pair,
        setting=runs[0]["setting"],
        part=part,
        mean=_each(values, lambda v: float(np.mean(v))),
        deviation=_each(values, lambda v: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0),
        interval=mean_interval(pairs, classes),
        seconds=float(np.mean([run["seconds"] for run in runs])),
        parameters=int(runs[0]["parameters"]),
        batch_independent=bool(runs[0]["batch_independent"]),
        seeds=len(runs),
        failed=len(group.failed),
    )


def _each(
    values: dict[str, list[float]], reduce: Callable[[list[float]], float]
) -> dict[str, float]:
    return {name: reduce(seeds) for name, seeds in values.items()}
