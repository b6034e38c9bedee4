"""Scores runs again on changed features of one modality, in memory.

Features are read from the caches of the runs, once for all runs that share them. A change replaces
the features of one modality by constants, exchanges them between posts, or maps their numbers.
No backbone runs, no cache is written.

Axes as in ``mvsa_pipe.features.batch``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from mvsa_pipe.analysis.changed_features import Constant, Inputs
from mvsa_pipe.analysis.contest import Contest
from mvsa_pipe.analysis.feature_library import FeatureLibrary, open_with_caches
from mvsa_pipe.analysis.options import Replacement, RescoringOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads.model import Model
from mvsa_pipe.metrics.weighted import Answers, Classes
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.training.scoring import predict_probabilities

# A run whose classes differ from its records for more posts than this share is not the recorded
# one: rounding on another device changes fewer.
_MOST_CHANGED = 0.01


@dataclass(frozen=True)
class RescoredRun:
    """A run that is scored on any inputs.

    Attributes:
        run: The run.
        model: Its head or baseline.
        inputs: What it reads of the scored posts.
        labels: Their classes ``[N]``, in the order of ``classes``.
        classes: Names of the classes, in the order of all answers.
        constants: Computes the constants of a modality; means are of its training posts.
    """

    run: Run
    model: Model
    inputs: Inputs
    labels: Classes
    classes: tuple[str, ...]
    constants: Callable[[Modality, Replacement], Sequence[Constant]]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that it reads."""
        return tuple(self.inputs.features.sources)

    def answers(self, inputs: Inputs | None = None) -> Answers:
        """Labels and predictions on some inputs; by default on unchanged ones.

        Raises:
            RunError: A probability is not finite.
        """
        return self.unchanged if inputs is None else self._answers(inputs)

    @cached_property
    def unchanged(self) -> Answers:
        """Labels and predictions on unchanged inputs."""
        return self._answers(self.inputs)

    def _answers(self, given: Inputs) -> Answers:
        every = torch.arange(given.posts, device=self.model.device)
        features = given.features.to(self.model.device)
        shares = predict_probabilities(self.model, features, every, given.texts)
        own = list(self.run.config["data"]["classes"])
        shares = shares[:, [own.index(name) for name in self.classes]]
        predicted = shares.argmax(axis=1)
        return Answers(self.labels, predicted, len(self.classes), shares.astype(np.float64))

    def without(self, modality: Modality, replacement: Replacement = Replacement.MEAN) -> Answers:
        """Predictions where one modality carries no information."""
        return self.answers(self.inputs_without([modality], replacement))

    def inputs_without(
        self, modalities: Sequence[Modality], replacement: Replacement = Replacement.MEAN
    ) -> Inputs:
        """Inputs of which some modalities carry no information."""
        inputs = self.inputs
        for modality in modalities:
            if modality in self.modalities:
                inputs = inputs.replaced(modality, self.constants(modality, replacement))
        return inputs


@dataclass(frozen=True)
class RescoredEntry:
    """One head of a contest, with the runs of its seeds.

    Attributes:
        name: Its name in tables and sentences.
        head: The head.
        runs: One per seed.
    """

    name: str
    head: str
    runs: tuple[RescoredRun, ...]

    def answers(self, change: Callable[[RescoredRun], Inputs] | None = None) -> list[Answers]:
        """The answers of every seed, on changed or unchanged inputs."""
        return [run.answers(None if change is None else change(run)) for run in self.runs]


def rescored_entries(
    contest: Contest, options: RescoringOptions, progress: Progress
) -> list[RescoredEntry]:
    """The heads of a contest of runs, with the features of the compared posts.

    Args:
        contest: From ``contest_of_runs``.
        options: Where caches are, and where heads compute.
        progress: Receives progress.

    Raises:
        CacheError: Features of a run are not cached, or have changed.
        RunError: A checkpoint is missing or damaged, or does not give the recorded predictions.
        MvsaError: Texts are read by a baseline, and cannot be read again.
    """
    (fold,) = contest.folds
    first = contest.entries[0]
    classes = tuple(str(name) for name in first.runs[0].config["data"]["classes"])
    opened = [[open_with_caches(run, options, progress) for run in e.runs] for e in contest.entries]
    library = FeatureLibrary(fold.ids)
    for one in (one for own in opened for one in own):
        library.request(one)
    progress.start("reading features", sum(map(len, opened)), "runs")
    entries = []
    for entry, own in zip(contest.entries, opened, strict=True):
        runs = []
        for one, recorded in zip(own, entry.folds[0], strict=True):
            rescored = RescoredRun(
                run=one.run,
                model=one.model,
                inputs=library.inputs_of(one),
                labels=recorded.labels,
                classes=classes,
                constants=library.constants_of(one),
            )
            _require_same(rescored, recorded)
            runs.append(rescored)
            progress.advance(1)
        entries.append(RescoredEntry(entry.name, entry.head, tuple(runs)))
    return entries


def _require_same(rescored: RescoredRun, recorded: Answers) -> None:
    differing = (rescored.answers().predicted != recorded.predicted).mean()
    if differing > _MOST_CHANGED:
        raise RunError(
            "This run's checkpoint and caches do not give its recorded predictions",
            where=rescored.run.path,
            expected="the same class for every post, but for rounding",
            found=f"another class for {100 * differing:.1f} % of the posts",
            hint="mvsa evaluate scores it from the posts; mvsa cache verify checks its caches",
        )
