"""The ensemble of a head's seeds, from the records of its runs alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvsa_pipe.heads import HEADS
from mvsa_pipe.metrics import score


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
