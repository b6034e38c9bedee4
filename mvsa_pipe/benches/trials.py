"""A bench cut into tasks, each of which is trained as one, wherever that happens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.features.batch import HIDDEN
from mvsa_pipe.heads import HEADS
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.runs import RunContents
from mvsa_pipe.runs.fit import try_run_heads
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, needs_of, prepare
from mvsa_pipe.runs.save_result import run_contents
from mvsa_pipe.training.epochs import OnEpoch, ignore_epoch
from mvsa_pipe.training.options import RunSpec

# Runs that may share a stack: beyond it a step's memory grows and hardly any time is saved.
MOST_TOGETHER = 16


@dataclass(frozen=True)
class Trial:
    """One run of a bench.

    Attributes:
        spec: What is trained.
        setting: What was varied, as tables show it.
        pair: Its backbones, where several pairs are compared; else empty.
        digest: Digest of everything that decides its numbers.
        name: The name of its run folder.
    """

    spec: RunSpec
    setting: str = ""
    pair: str = ""
    digest: str = ""
    name: str = ""


def group_trials(trials: Iterable[Trial], *, on_cpu: bool) -> list[tuple[Trial, ...]]:
    """Trials that may be trained as one together, long ones first so that none is left at the end.

    On a CPU heads that read tokens are trained one by one (see ``stack_shape``), so that every
    core has a run of its own.
    """
    long: list[tuple[Trial, ...]] = []
    short: dict[str, list[Trial]] = {}
    for trial in trials:
        if HEADS.load(trial.spec.head).needs & HIDDEN and on_cpu:
            long.append((trial,))
        else:
            short.setdefault(trial.spec.head, []).append(trial)
    stacks = [
        tuple(same[start : start + MOST_TOGETHER])
        for same in short.values()
        for start in range(0, len(same), MOST_TOGETHER)
    ]
    return long + stacks


class LoadedBench:
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
        self._read: dict[tuple[int | None, str], Experiment] = {}

    def place(self, device: torch.device) -> None:
        """Moves the features to a device that has room for them, once for all tasks."""
        self.first = self.first.to(device)

    def experiment(self, split_seed: int | None) -> Experiment:
        """The same posts and features under the split of a seed."""
        if split_seed is None or split_seed == self._split_seed:
            return self.first
        if split_seed not in self._others:
            self._others[split_seed] = self.first.split_again(split_seed)
        return self._others[split_seed]

    def read_by(self, head: str, split_seed: int | None) -> Experiment:
        """As ``experiment``, with those caches alone that a head reads: what ``fit`` would load."""
        key = split_seed, head
        if key not in self._read:
            self._read[key] = self.experiment(split_seed).read_by(head)
        return self._read[key]

    def read_for(self, spec: RunSpec) -> Experiment:
        """What a run is trained and scored on."""
        return self.read_by(spec.head, spec.split_seed)

    def do(
        self,
        task: Iterable[Trial],
        on_step: OnStep = no_callback,
        threads: int | None = None,
        on_epoch: OnEpoch = ignore_epoch,
    ) -> Iterator[RunContents | MvsaError]:
        """Trains and scores the trials of a task; yields each one's files, or why it has none.

        Raises:
            CacheError: As ``try_run_heads``.
            StorageError: As ``try_run_heads``.
        """
        trials = list(task)
        planned = [(self.read_for(trial.spec), trial.spec) for trial in trials]
        results = try_run_heads(planned, on_step, threads, on_epoch)
        for trial, result in zip(trials, results, strict=True):
            if isinstance(result, MvsaError):
                yield result
            else:
                experiment = self.read_for(trial.spec)
                digest = {"spec_digest": trial.digest}
                yield run_contents(experiment, result, trial.spec.training, digest)
