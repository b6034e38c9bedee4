"""Predictions of runs for damaged posts: a backbone runs once for each damage and strength."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mvsa_pipe.analysis.contest import Contest, Entry
from mvsa_pipe.analysis.feature_noise import with_noise
from mvsa_pipe.analysis.leaks import cache_folder_of
from mvsa_pipe.analysis.options import DegradeOptions
from mvsa_pipe.analysis.rescoring import RescoredEntry, rescored_entries
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads.model import Model
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.damage.damaged import damaged_posts
from mvsa_pipe.posts.damage.table import DAMAGE_ROWS, Damage
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.inference import load_head, predict_data_set
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.own_posts import reading_only
from mvsa_pipe.runs.scored_posts import scored_posts


def modalities_of(entry: Entry) -> frozenset[Modality]:
    """What a head reads."""
    return frozenset(map(Modality, entry.runs[0].config["caches"]))


class DamagedAnswers:
    """Applies the heads of a contest to damaged posts.

    Features of damaged posts are cached as a data set of its own name beside the others; those of
    the other modality are read from the caches of the intact posts.

    Args:
        contest: From ``contest_of_runs``.
        options: Where posts and caches are, and where heads compute.
        progress: Receives the progress of backbones.

    Raises:
        RunError: Posts cannot be read again, or a checkpoint is missing or damaged.
        SplitError: The posts have changed since the runs.
        DataError: They cannot be read.
    """

    def __init__(self, contest: Contest, options: DegradeOptions, progress: Progress) -> None:
        self._contest, (self._fold,) = contest, contest.folds
        self._progress, self._options = progress, options
        runs = [run for entry in contest.entries for run in entry.runs]
        self._classes = [str(name) for name in runs[0].config["data"]["classes"]]
        self._posts = _posts_of(runs, options)
        for run in {tuple(sorted(run.config["caches"])): run for run in runs}.values():
            asked = replace(self._inference(run), part=contest.part, data=options.data)
            scored_posts(run, self._posts, asked)
        self._heads: dict[Path, Model] = {
            run.path: load_head(run, options.device, progress) for run in runs
        }

    def of(self, entry: Entry, damage: Damage) -> list[Answers]:
        """The answers of each seed of a head to damaged posts.

        Raises:
            MvsaError: Posts cannot be read or extracted.
        """
        if damage.row.name not in DAMAGE_ROWS:
            seed, strength = self._options.seed, damage.strength
            rescored = self._rescored[self._contest.entries.index(entry)]
            return rescored.answers(lambda run: with_noise(run, damage.modality, strength, seed))
        ids = self._fold.ids
        damaged = damaged_posts(self._posts, damage, ids)
        intact = {each: self._posts for each in Modality if each is not damage.modality}
        answers = []
        for run, recorded in zip(entry.runs, entry.folds[0], strict=True):
            found = predict_data_set(
                run,
                self._heads[run.path],
                damaged,
                ids,
                self._inference(run),
                self._progress,
                intact,
            )
            own = list(run.config["data"]["classes"])
            shares = found.probabilities[:, [own.index(name) for name in self._classes]]
            predicted = shares.argmax(axis=1)
            answers.append(Answers(recorded.labels, predicted, len(own), shares.astype(np.float64)))
        return answers

    @cached_property
    def _rescored(self) -> list[RescoredEntry]:
        return rescored_entries(self._contest, self._options, self._progress)

    def _inference(self, run: Run) -> InferenceOptions:
        cache = self._options.cache or cache_folder_of(run) or InferenceOptions.cache
        return InferenceOptions(cache=cache, device=self._options.device)


def _posts_of(runs: Sequence[Run], options: DegradeOptions) -> PostSet:
    """The posts of some runs of one data set, with what any of them reads."""
    recorded = runs[0].config["data"]["path"]
    if options.data is None and recorded is None:
        raise RunError(
            "The posts of this run were built in memory, so that they cannot be damaged",
            where=runs[0].path,
            expected="posts in a folder, an archive or a table",
            hint="write them to a table, and name it: --data PATH",
        )
    read = {Modality(name) for run in runs for name in run.config["caches"]}
    return read_posts(options.data or Path(recorded), reading_only(runs[0].read_options, read))
