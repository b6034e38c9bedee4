"""Posts and features of a bench, loaded once for all its trials; trains groups of trials."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mvsa_pipe.benches.trial_digest import experiment_digest, spec_digest
from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads.own import add_same_head, head_origin
from mvsa_pipe.posts.splits.make_split import AUTO, PUBLISHED
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.runs import RunContents
from mvsa_pipe.runs.fit import try_run_heads
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, prepare_heads
from mvsa_pipe.runs.save_result import run_contents
from mvsa_pipe.training.epochs import OnEpoch, ignore_epoch
from mvsa_pipe.training.options import RunSpec
from mvsa_pipe.user_code import Origin


class LoadedBench:
    """Posts and features of one pair of backbones, loaded once.

    Args:
        first: The experiment under the first split.
        split_seed: Seed of that split; ``None`` if it is the seed of the choice of posts.

    Attributes:
        first: The experiment under the first split.
    """

    def __init__(self, first: Experiment, split_seed: int | None = None) -> None:
        self.first = first
        self._split_seed = split_seed
        self._others: dict[tuple[int | None, str], Experiment] = {}
        self._read: dict[tuple[int | None, str, str], Experiment] = {}
        self._digests: dict[tuple[int | None, str, str], str] = {}

    def without_test(self) -> "LoadedBench":
        """The same posts and features without the test part."""
        return LoadedBench(self.first.without_test(), self._split_seed)

    def to(self, device: torch.device) -> None:
        """Moves the features to a device if they fit there, once for all trials."""
        self.first = self.first.to(device)

    def experiment(self, split_seed: int | None, fold: str = "") -> Experiment:
        """The same posts and features under the split of a seed, or a fold."""
        key = split_seed, fold
        if split_seed in (None, self._split_seed) and fold in ("", self.first.data.split):
            return self.first
        if key not in self._others:
            seed = self.first.data.split_seed if split_seed is None else split_seed
            self._others[key] = self.first.split_as(fold or self.first.data.split, seed)
        return self._others[key]

    def read_by(self, head: str, split_seed: int | None, fold: str = "") -> Experiment:
        """The experiment with only the caches that a head reads, as ``fit`` loads it."""
        key = split_seed, fold, head
        if key not in self._read:
            self._read[key] = self.experiment(split_seed, fold).read_by(head)
        return self._read[key]

    def digest_by(self, head: str, split_seed: int | None, fold: str = "") -> str:
        """The ``experiment_digest`` of ``read_by``, made once for all runs."""
        key = split_seed, fold, head
        if key not in self._digests:
            self._digests[key] = experiment_digest(self.read_by(head, split_seed, fold))
        return self._digests[key]

    def digest_for(self, spec: RunSpec) -> str:
        """The ``spec_digest`` of a run."""
        return spec_digest(self.digest_by(spec.head, spec.split_seed, spec.fold), spec)

    def read_for(self, spec: RunSpec) -> Experiment:
        """The experiment of a run."""
        return self.read_by(spec.head, spec.split_seed, spec.fold)

    def train(
        self,
        group: Iterable[Trial],
        on_step: OnStep = no_callback,
        threads: int | None = None,
        on_epoch: OnEpoch = ignore_epoch,
    ) -> Iterator[RunContents | MvsaError]:
        """Trains and scores a group of trials; yields the files or the error of each.

        Raises:
            CacheError: From ``try_run_heads``.
            StorageError: From ``try_run_heads``.
        """
        trials = list(group)
        planned = [(self.read_for(trial.spec), trial.spec) for trial in trials]
        results = try_run_heads(planned, on_step, threads, on_epoch)
        for trial, result in zip(trials, results, strict=True):
            if isinstance(result, MvsaError):
                yield result
            else:
                experiment = self.read_for(trial.spec)
                more: dict[str, Any] = {"spec_digest": trial.digest}
                if trial.budget:
                    more["parameter_budget"] = trial.budget
                yield run_contents(experiment, result, trial.spec.training, more)


@dataclass(frozen=True)
class LoadSpec:
    """Specification of a ``LoadedBench``, for this process or for workers.

    Attributes:
        data: The posts and their split.
        caches: Their features.
        heads: The heads of the bench.
        split_seed: Seed of the first split; by default that of ``data``.
        without: Posts to leave out.
        own: Origins of the classes of users' own heads, for other processes.
    """

    data: DataChoice
    caches: CacheChoice
    heads: tuple[str, ...]
    split_seed: int | None
    without: frozenset[str] = frozenset()
    own: tuple[Origin, ...] = ()

    def load(self) -> LoadedBench:
        """Loads posts and features.

        Raises:
            MvsaError: From ``prepare``.
            ConfigError: The class of a user's own head differs here.
        """
        for origin in self.own:
            add_same_head(origin)
        first = prepare_heads(self.data, self.caches, self.heads, self.split_seed, self.without)
        return LoadedBench(first, self.split_seed)

    def anywhere(self) -> "LoadSpec":
        """The specification with absolute paths, for processes with another working directory."""
        data, split = self.data, self.data.split
        if split not in (AUTO, PUBLISHED) and not split.startswith("random"):
            split = str(Path(split).resolve())
        return replace(
            self,
            data=replace(data, path=data.path.resolve(), split=split),
            caches=replace(self.caches, folder=self.caches.folder.resolve()),
            own=tuple(own for head in self.heads if (own := head_origin(head)) is not None),
        )
