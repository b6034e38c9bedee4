"""One head's study: settings are proposed in batches of one shape, trained, and told to Optuna."""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mvsa_pipe.benches.at_work import BenchProgress
from mvsa_pipe.benches.loaded import LoadedBench
from mvsa_pipe.benches.outcomes import FailedRun, FinishedRun, Outcome, RunFolders
from mvsa_pipe.benches.run import run_folder_name
from mvsa_pipe.benches.search_space import SearchSpace, Value
from mvsa_pipe.benches.threads import train_in_threads
from mvsa_pipe.benches.trials import Results, Trial, TrialGroup
from mvsa_pipe.benches.tune_options import TuneOptions
from mvsa_pipe.benches.variations import Setting
from mvsa_pipe.devices import resolve_device, usable_cores
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import ConfigError, MvsaError, RunError, StorageError
from mvsa_pipe.options import Search
from mvsa_pipe.progress import OnStep, Progress, no_callback
from mvsa_pipe.training.epochs import EpochReport
from mvsa_pipe.training.options import RunSpec

if TYPE_CHECKING:
    import optuna

# The database of all studies, in the folder of runs.
STUDIES = "tuning.sqlite3"
# Hexadecimal digits of a study's digest in its name.
_DIGITS = 12
# Trials and epochs before which no trial is ended early.
_FIRST_TRIALS, _FIRST_EPOCHS = 5, 2
# Why a trial without a score ended; trials of a stopped process have no such mark.
_ENDED = "ended"


@dataclass(frozen=True)
class TriedSetting:
    """One trial of a study.

    Attributes:
        values: The tried values.
        score: Its validation score at its best epoch; of an ended trial, the best one so far.
        state: ``complete``, ``pruned`` or ``failed``.
        run: Name of its run folder; empty unless complete.
    """

    values: dict[str, Value]
    score: float | None
    state: str
    run: str


@dataclass(frozen=True)
class Studied:
    """All trials of a head, and the best of them.

    Attributes:
        head: The head.
        trials: All trials in order.
        values: The values of the best one.
        best: Its validation score.
    """

    head: str
    trials: list[TriedSetting]
    values: dict[str, Value]
    best: float


class _PrunedError(Exception):
    """Raised between steps when all trials of a group are to end."""


class _EndedEarlyError(MvsaError):
    """A trial was ended early; it has no run folder."""


class Study:
    """The trials of one head, asked for and told in batches of one shape.

    Args:
        space: The head and the values to try.
        loaded: Posts and features without a test part.
        options: The budget and the sampler.
        folders: Where run folders are written and found.
        runs: The folder of all runs, with the database.
        shown: Shows runs at work.
        progress: Receives messages.
    """

    def __init__(
        self,
        space: SearchSpace,
        loaded: LoadedBench,
        options: TuneOptions,
        folders: RunFolders,
        runs: Path,
        shown: BenchProgress,
        progress: Progress,
    ) -> None:
        self._space, self._loaded, self._options = space, loaded, options
        self._folders, self._shown, self._progress = folders, shown, progress
        self._select = space.training.select
        self._lock = threading.Lock()
        self._database = runs / STUDIES
        with _database_errors(self._database):
            self._study = self._opened()

    def searched(self) -> Studied:
        """Trains until the budget is spent, and returns the best trial.

        Raises:
            RunError: No trial has a result.
            StorageError: The database of studies cannot be read or written.
        """
        with _database_errors(self._database):
            done = self._finished()
            if done:
                self._progress.say(f"{self._space.head}: {done} trials were recorded before")
                self._shown.recorded(min(done, self._options.trials))
            while (done := self._finished()) < self._options.trials:
                together = min(self._options.together, self._options.trials - done)
                self._train(self._asked(together, done))
            return self._found()

    def _opened(self) -> "optuna.Study":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with storage_errors(self._database.parent):
            self._database.parent.mkdir(parents=True, exist_ok=True)
        deciding = [
            self._loaded.digest_by(self._space.head, None),
            asdict(self._space.training),
            self._space.as_record(),
            self._options.sampler,
            self._options.prune,
            self._options.together,
        ]
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        study = optuna.create_study(
            storage=f"sqlite:///{self._database.resolve()}",
            study_name=f"{self._space.head}-{digest[:_DIGITS]}",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_FIRST_TRIALS, _FIRST_EPOCHS)
            if self._options.prune
            else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished():  # a process was stopped in the middle of a batch
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _finished(self) -> int:
        """Number of trials that count for the budget."""
        return len(self._ended_trials())

    def _ended_trials(self) -> "list[optuna.trial.FrozenTrial]":
        """Trials with a result, a reason to end, or an error of their own, in order."""
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.value is not None or _ENDED in trial.user_attrs
        ]

    def _asked(self, count: int, done: int) -> "list[optuna.trial.Trial]":
        """Proposals of one shape: the first one's; sampled from a seed and what is known."""
        import optuna

        seed = (self._space.training.seed + done) % 2**32
        if self._options.sampler == "tpe":
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True
            )
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=seed)
        spread = {name: _distribution(search) for name, search in self._space.searches.items()}
        first = self._study.ask(spread)
        same = {name: first.params[name] for name in self._space.reshaping}
        asked = [first]
        for _ in range(count - 1):
            if same:
                self._study.enqueue_trial(same)
            asked.append(self._study.ask(spread))
        return asked

    def _train(self, asked: "Sequence[optuna.trial.Trial]") -> None:
        """Trains a batch, writes its runs, and tells the study; in the order of asking."""
        trials: dict[int, Trial] = {}
        outcomes: dict[int, Outcome | MvsaError] = {}
        for one in asked:
            try:
                trials[one.number] = single_trial(
                    self._loaded,
                    self._space,
                    self._space.setting(one.params),
                    self._space.training.seed,
                )
            except ConfigError as error:  # the values do not fit together
                outcomes[one.number] = error
        for number, trial in trials.items():
            recorded = self._folders.find(trial, self._loaded.read_for(trial.spec))
            if recorded is not None:
                outcomes[number] = recorded
        missing = [number for number in trials if number not in outcomes]
        first = {trials[n].digest: n for n in reversed(missing)}  # equal settings are trained once
        done = self._done(sorted(first.values()), trials, {one.number: one for one in asked})
        outcomes |= {n: done[first[trials[n].digest]] for n in missing}
        for one in asked:
            self._tell(one, trials.get(one.number), outcomes.get(one.number))

    def _done(
        self,
        missing: Sequence[int],
        trials: Mapping[int, Trial],
        asked: "Mapping[int, optuna.trial.Trial]",
    ) -> dict[int, Outcome | MvsaError]:
        """Trains trials by their numbers: on all cores, or on a GPU; writes their run folders."""
        if not missing:
            return {}
        on_cpu = resolve_device(self._space.training.device).type == "cpu"
        workers = usable_cores() if on_cpu else 1
        share = -(-len(missing) // workers)
        groups = [
            tuple(trials[n] for n in missing[start : start + share])
            for start in range(0, len(missing), share)
        ]
        numbers = {trials[n].digest: n for n in missing}
        train = partial(self._group, asked=[(trials[n], asked[n]) for n in missing])
        found: dict[int, Outcome | MvsaError] = {}
        for group, results in train_in_threads(groups, train, workers):
            for trial, result in zip(group, results, strict=True):
                number = numbers[trial.digest]
                if isinstance(result, _EndedEarlyError):
                    found[number] = result
                else:
                    found[number] = self._folders.keep(trial, result)
            self._shown.finished(group)
        return found

    def _group(
        self,
        group: TrialGroup,
        on_step: OnStep = no_callback,
        *,
        asked: "Sequence[tuple[Trial, optuna.trial.Trial]]",
    ) -> Results:
        """Trains one group; it ends early once all of its trials are worse than the median."""
        own = {id(trial.spec): one for trial, one in asked if trial in group}
        behind: set[int] = set()

        def step() -> None:
            on_step()
            if len(behind) == len(own):
                raise _PrunedError

        def epoch(report: EpochReport) -> None:
            self._shown.on_epoch(report)
            one = own[id(report.spec)]
            with self._lock:  # one connection to the database at a time
                one.report(self._select.gain(report.best_score), report.done)
                worse = self._options.prune and not report.ended and one.should_prune()
            (behind.add if worse else behind.discard)(one.number)

        on_cpu = resolve_device(self._space.training.device).type == "cpu"
        try:
            with self._shown.working(group):
                return list(self._loaded.train(group, step, 1 if on_cpu else None, epoch))
        except _PrunedError:
            return [_EndedEarlyError("Its score was below the median of the other trials")] * len(
                group
            )

    def _tell(
        self, one: "optuna.trial.Trial", trial: Trial | None, outcome: Outcome | MvsaError | None
    ) -> None:
        """Tells the study how a trial ended."""
        from optuna.trial import TrialState

        if isinstance(outcome, FinishedRun) and trial is not None:
            value = outcome.metrics["scores"]["val"]["values"][self._select.value]
            one.set_user_attr("run", trial.name)
            self._study.tell(one, self._select.gain(float(value)))
            return
        early = isinstance(outcome, _EndedEarlyError)
        reason = outcome.reason if isinstance(outcome, FailedRun) else str(outcome)
        one.set_user_attr(_ENDED, reason)
        if early:
            self._study.tell(one, state=TrialState.PRUNED)
            return
        self._progress.say(f"failed: {self._space.head}: {reason}")
        self._study.tell(one, state=TrialState.FAIL)

    def _found(self) -> Studied:
        """All trials, and the best of those with a run.

        Raises:
            RunError: None has one.
        """
        trials = self._ended_trials()
        values = {t.number: t.value for t in trials if "run" in t.user_attrs}
        scores = {number: value for number, value in values.items() if value is not None}
        if not scores:
            raise RunError(
                f"All trials of {self._space.head} failed",
                found=trials[-1].user_attrs.get(_ENDED),
                hint="--search narrows the values to try",
            )
        number = max(
            scores, key=lambda number: (scores[number], -number)
        )  # of equal ones the first
        (best,) = (trial for trial in trials if trial.number == number)
        return Studied(
            self._space.head,
            [
                TriedSetting(
                    dict(trial.params),
                    None if trial.value is None else self._select.gain(trial.value),
                    trial.state.name.lower(),
                    str(trial.user_attrs.get("run", "")),
                )
                for trial in trials
            ],
            dict(best.params),
            self._select.gain(scores[number]),
        )


def single_trial(loaded: LoadedBench, space: SearchSpace, setting: Setting, seed: int) -> Trial:
    """The trial of one setting with one seed.

    Args:
        loaded: Posts and features.
        space: Its head.
        setting: Its options.
        seed: Its seed.
    """
    training = replace(setting.training, seed=seed)
    spec = RunSpec(space.head, training, setting.head_options)
    digest = loaded.digest_for(spec)
    name = run_folder_name(loaded.read_for(spec), spec, digest)
    return Trial(spec, setting.label, "", digest, name)


def require_optuna() -> None:
    """Refuses tuning without its package.

    Raises:
        ConfigError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "mvsa tune needs Optuna, which is not installed", hint='pip install "mvsa-pipe[tune]"'
        )


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    """Errors of the database of studies as errors of the disk."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        raise StorageError(
            "The database of searched settings cannot be read or written",
            where=path,
            expected="a database that mvsa tune wrote, not in use by another program",
            found=getattr(cause, "orig", None) or cause or error,
            hint="if it is damaged, move it away and run the same again: runs that were trained "
            "are found by their folders",
        ) from error


def _distribution(search: Search) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if search.choices:
        return CategoricalDistribution(search.choices)
    return FloatDistribution(search.low, search.high, log=search.log)
