"""Tunes heads on validation alone, then trains the chosen settings again with fresh seeds.

The test part takes no part in the search: trials see an experiment without it. Only the chosen
setting and the defaults, each trained with seeds that no trial used, are scored on test. The best
of many trials is lucky; how lucky is the difference of its validation score from the mean of the
replayed ones.

Source:
    Expected best of ``n`` trials: Dodge et al. 2019, Show Your Work, EMNLP, equation 4.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.benches.at_work import BenchProgress
from mvsa_pipe.benches.loaded import LoadSpec
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.outcomes import FinishedRun, Outcome, RunFolders
from mvsa_pipe.benches.search_space import SearchSpace, Value, search_space
from mvsa_pipe.benches.study import Studied, Study, TriedSetting, require_optuna, single_trial
from mvsa_pipe.benches.summary import Bench, BenchContext, summarise
from mvsa_pipe.benches.train_missing import outcomes_of
from mvsa_pipe.benches.tune_options import TuneOptions
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

TUNED, DEFAULTS = "tuned", "defaults"


@dataclass(frozen=True)
class TunedHead:
    """What tuning one head found.

    Attributes:
        head: The head.
        select: The validation score that was tuned.
        trials: All trials in order.
        values: The chosen setting.
        best: Validation score of the chosen trial: the best of all.
        expected_best: Expected best of ``n`` random draws from the trials' scores, for each ``n``.
        replayed: Validation scores of the chosen setting with fresh seeds.
        defaults: Validation scores of the defaults with the same seeds.
    """

    head: str
    select: Score
    trials: list[TriedSetting]
    values: dict[str, Value]
    best: float
    expected_best: list[float]
    replayed: list[float]
    defaults: list[float]

    @property
    def luck(self) -> float:
        """By how much the chosen trial's score exceeds the mean of its replays."""
        return self.select.gain(self.best - float(np.mean(self.replayed or np.nan)))

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"select": self.select.value, "luck": self.luck}


@dataclass(frozen=True)
class Tuning:
    """Tuned heads, and the bench of their replays.

    Attributes:
        heads: What was found for each head.
        bench: The chosen settings and the defaults over fresh seeds, scored on test.
        spaces: The search space of each head.
    """

    heads: list[TunedHead]
    bench: Bench
    spaces: list[SearchSpace]

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON, beside those of the bench."""
        return {
            "tuning": [
                tuned.as_record() | {"space": space.as_record()}
                for tuned, space in zip(self.heads, self.spaces, strict=True)
            ]
        }


def tune(
    data: DataChoice,
    caches: CacheChoice,
    options: TuneOptions,
    training: TrainingOptions,
    progress: Progress,
    runs: Path,
) -> Tuning:
    """Tunes heads with equal budgets, and replays the chosen settings over fresh seeds.

    A stopped tuning continues where it stopped: trials are kept in ``tuning.sqlite3`` and as run
    folders.

    Args:
        data: The posts and their split.
        caches: Their features, of one pair of backbones.
        options: Heads, trials, search space and replays.
        training: Options of training that are not varied; its seed is that of every trial.
        progress: Notified of runs.
        runs: The folder of all runs.

    Raises:
        ConfigError: A search space cannot be used, or backbones are compared.
        ConfigError: Optuna is not installed.
        MvsaError: As ``prepare``; or all trials of a head failed.
    """
    require_optuna()
    options = options.named()
    _refuse_pairs(caches)
    spaces = [search_space(head, training, options.search) for head in options.heads]
    began = time.perf_counter()
    load_spec = LoadSpec(data, caches, options.heads, None)
    loaded = load_spec.load()
    loaded.to(resolve_device(training.device))
    loading = time.perf_counter() - began
    for remark in loaded.first.remarks():
        progress.say(remark)
    heads, folders = len(options.heads), RunFolders(runs)
    shown = BenchProgress(progress, heads * (options.trials + 2 * options.replay), "tune")
    searching = loaded.without_test()
    found = [
        Study(space, searching, options, folders, runs, shown, progress).searched()
        for space in spaces
    ]
    settings = [
        (space, name, setting)
        for space, study in zip(spaces, found, strict=True)
        for name, setting in ((DEFAULTS, space.defaults()), (TUNED, space.setting(study.values)))
    ]
    fresh = range(training.seed + 1, training.seed + 1 + options.replay)
    trials = [
        [single_trial(loaded, space, replace(setting, label=name), seed) for seed in fresh]
        for space, name, setting in settings
    ]
    every = [trial for row in trials for trial in row]
    outcomes = outcomes_of(loaded, every, load_spec, BenchOptions(), folders, progress, shown)
    rows = [[outcomes[trial.digest] for trial in row] for row in trials]
    seconds = {"loading": loading, "wall": time.perf_counter() - began}
    bench = summarise(BenchContext.of(loaded.first), [loaded.first.backbones], rows, seconds)
    return Tuning(
        [
            _with_replays(study, rows[2 * n + 1], rows[2 * n], training.select)
            for n, study in enumerate(found)
        ],
        bench,
        spaces,
    )


def expected_best(scores: Sequence[float], select: Score) -> list[float]:
    """Expected best of ``n`` scores drawn with replacement, for ``n`` from 1 to their number.

    ``E[max] = Σ_i v_(i) ((i/N)^n − ((i−1)/N)^n)`` with the sorted scores ``v_(i)``.

    Args:
        scores: The scores.
        select: Their direction.

    Source:
        Dodge et al. 2019, Show Your Work: Improved Reporting of Experimental Results, EMNLP.
    """
    ordered = np.sort([select.gain(score) for score in scores])
    shares = np.arange(len(ordered) + 1) / len(ordered)
    return [select.gain(float(ordered @ np.diff(shares**n))) for n in range(1, len(ordered) + 1)]


def luck_sentence(head: TunedHead) -> str:
    """How much of the best trial's score was luck, in words."""
    score = head.select
    unit = " %" if score.row.percent else ""
    if not head.replayed:
        return f"{head.head}: no replay of the chosen setting has a result."
    mean, plain = float(np.mean(head.replayed)), float(np.mean(head.defaults or np.nan))
    deviation = float(np.std(head.replayed, ddof=1)) if len(head.replayed) > 1 else 0.0
    moved = 100 * head.luck if score.row.percent else head.luck
    tried, replays = len(head.expected_best), len(head.replayed)
    return (
        f"{head.head}: the best of {tried:,} trial{'s' * (tried != 1)} has a validation "
        f"{score.row.title} of {score.shown(head.best)}{unit}; its setting with "
        f"{replays:,} fresh seed{'s' * (replays != 1)} {score.shown(mean)} ± "
        f"{score.shown(deviation)}{unit}, "
        f"the defaults {score.shown(plain)}{unit}: luck {moved:+.1f}"
        f"{' points' if score.row.percent else ''}."
    )


def _with_replays(
    studied: Studied, tuned: Sequence[Outcome], defaults: Sequence[Outcome], select: Score
) -> TunedHead:
    scores = [one.score for one in studied.trials if one.run and one.score is not None]
    return TunedHead(
        head=studied.head,
        select=select,
        trials=studied.trials,
        values=studied.values,
        best=studied.best,
        expected_best=expected_best(scores, select),
        replayed=_validation_scores(tuned, select),
        defaults=_validation_scores(defaults, select),
    )


def _validation_scores(outcomes: Sequence[Outcome], select: Score) -> list[float]:
    return [
        float(run.metrics["scores"]["val"]["values"][select.value])
        for run in outcomes
        if isinstance(run, FinishedRun)
    ]


def _refuse_pairs(caches: CacheChoice) -> None:
    for modality in Modality:
        if len(caches.alternatives(modality)) > 1:
            raise ConfigError(
                "Tuning is over one pair of backbones",
                where=f"--{modality}",
                expected="one backbone, or several joined by +",
                found=", ".join(map(str, caches.alternatives(modality))),
                hint="mvsa tune once for each pair",
            )
