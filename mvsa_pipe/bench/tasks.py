"""A bench cut into tasks, each of which is trained as one, wherever that happens."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.features.batch import HIDDEN
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.progress import Pulse, no_pulse
from mvsa_pipe.runs.fit import Assignment, Result, try_run_heads
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, needs_of, prepare
from mvsa_pipe.training.options import TrainingOptions

# Runs that may share a stack: beyond it a step's memory grows and hardly any time is saved.
MOST_TOGETHER = 16


@dataclass(frozen=True)
class Trial:
    """One run of a bench.

    Attributes:
        head: The head's name.
        setting: What was varied, as tables show it.
        training: How it is trained, its seed included.
        head_options: Options of the head that differ from their defaults.
        split_seed: Seed of its own random split; ``None`` takes the split of the whole bench.
        record: The name of its record.
    """

    head: str
    setting: str
    training: TrainingOptions
    head_options: Mapping[str, OptionValue] = field(default_factory=dict)
    split_seed: int | None = None
    record: str = ""


def cut(trials: Iterable[Trial], *, on_cpu: bool) -> list[tuple[Trial, ...]]:
    """Trials that may be trained as one together, long ones first so that none is left at the end.

    On a CPU heads that read tokens are trained one by one (see ``stack_shape``), so that every
    core has a run of its own.
    """
    long: list[tuple[Trial, ...]] = []
    short: dict[str, list[Trial]] = {}
    for trial in trials:
        if HEADS.load(trial.head).needs & HIDDEN and on_cpu:
            long.append((trial,))
        else:
            short.setdefault(trial.head, []).append(trial)
    stacks = [
        tuple(same[start : start + MOST_TOGETHER])
        for same in short.values()
        for start in range(0, len(same), MOST_TOGETHER)
    ]
    return long + stacks


class Workshop:
    """Posts and features, loaded once, on which tasks are done.

    Args:
        data: The posts and their split.
        caches: Their features.
        heads: The heads that will be trained.
        split_seed: Seed of the first split; ``None`` takes the one that ``data`` names.
        without: Posts that are left out, as another pair of backbones lacks them.

    Attributes:
        first: The experiment under the first split.

    Raises:
        MvsaError: As ``prepare``.
    """

    def __init__(
        self,
        data: DataChoice,
        caches: CacheChoice,
        heads: Iterable[str],
        split_seed: int | None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.first = prepare(data, caches, needs_of(heads), split_seed, without)
        self._split_seed = split_seed
        self._others: dict[int, Experiment] = {}

    def experiment(self, split_seed: int | None) -> Experiment:
        """The same posts and features under the split of a seed."""
        if split_seed is None or split_seed == self._split_seed:
            return self.first
        if split_seed not in self._others:
            self._others[split_seed] = self.first.split_again(split_seed)
        return self._others[split_seed]

    def do(
        self, task: Iterable[Trial], pulse: Pulse = no_pulse, threads: int | None = None
    ) -> Iterator[dict[str, Any] | MvsaError]:
        """Trains and scores the trials of a task; yields each one's record, or why it has none.

        Raises:
            CacheError: As ``try_run_heads``.
            StorageError: As ``try_run_heads``.
        """
        trials = list(task)
        assignments = [
            Assignment(self.experiment(trial.split_seed), trial.training, trial.head_options)
            for trial in trials
        ]
        results = try_run_heads(trials[0].head, assignments, pulse, threads)
        for trial, assignment, result in zip(trials, assignments, results, strict=True):
            if isinstance(result, MvsaError):
                yield result
            else:
                yield _record(assignment.experiment, trial, result)


def _record(experiment: Experiment, trial: Trial, result: Result) -> dict[str, Any]:
    """Everything that comparing runs needs: predictions post by post, and the way there."""
    ids = experiment.material.features.post_ids
    parts = result.predicted
    return {
        **result.record,
        "setting": trial.setting,
        "history": result.fitted.history,
        "ids": {p: [ids[i] for i in experiment.indices[p].tolist()] for p in parts},
        "labels": {part: classes.tolist() for part, classes in result.labels.items()},
        "predicted": {part: classes.tolist() for part, classes in parts.items()},
        "probabilities": {
            part: [[round(share, 6) for share in row] for row in rows.tolist()]
            for part, rows in result.probabilities.items()
        },
    }
