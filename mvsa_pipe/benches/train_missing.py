"""Trains the trials of a bench or of a search that have no run folder yet, and writes theirs."""

from collections.abc import Iterator, Sequence
from functools import partial

from mvsa_pipe.benches.at_work import BenchProgress
from mvsa_pipe.benches.loaded import LoadedBench, LoadSpec
from mvsa_pipe.benches.on_cluster import train_on_cluster
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.outcomes import FailedRun, Outcome, RunFolders
from mvsa_pipe.benches.threads import train_in_threads
from mvsa_pipe.benches.trials import Results, Trial, TrialGroup, group_trials
from mvsa_pipe.devices import resolve_device, usable_cores
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.progress import OnStep, Progress, no_callback
from mvsa_pipe.runs.metadata import origin_of
from mvsa_pipe.tracking.listener import NO_TRACKING, RunToTrack, Tracking
from mvsa_pipe.training.epochs import OnEpoch, both


def outcomes_of(
    loaded: LoadedBench,
    trials: Sequence[Trial],
    load_spec: LoadSpec,
    options: BenchOptions,
    folders: RunFolders,
    progress: Progress,
    shown: BenchProgress,
    tracking: Tracking = NO_TRACKING,
) -> dict[str, Outcome]:
    """The outcome of every trial by its digest; trials without a run folder are trained.

    Args:
        loaded: Posts and features.
        trials: The trials.
        load_spec: How workers on a cluster load the same.
        options: Whether recorded runs are trained again, and where.
        folders: The run folders.
        progress: Receives messages.
        shown: Shows runs at work.
        tracking: Records the runs that are trained, too.

    Raises:
        RunError: The folder of a run is damaged, or contains another run.
        StorageError: The disk refuses.
    """
    found: dict[str, Outcome] = {}
    for trial in () if options.force else trials:
        outcome = folders.find(trial, loaded.read_for(trial.spec))
        if outcome is not None:
            found[trial.digest] = outcome
    if found:
        failed = sum(isinstance(outcome, FailedRun) for outcome in found.values())
        and_failed = f", {failed:,} of which failed" if failed else ""
        progress.say(
            f"{len(found):,} runs were recorded before{and_failed}; --force trains them again"
        )
        shown.recorded(len(found))
    missing = [trial for trial in trials if trial.digest not in found]
    tracked = {id(t.spec): RunToTrack(t.name, origin_of(loaded.read_for(t.spec))) for t in missing}
    on_epoch = both(shown.on_epoch, tracking.listener(lambda spec: tracked[id(spec)]))
    for task, results in _done(loaded, missing, load_spec, options, progress, shown, on_epoch):
        for trial, result in zip(task, results, strict=True):
            found[trial.digest] = folders.keep(trial, result)
            run, spec = tracked[id(trial.spec)], trial.spec
            if isinstance(result, MvsaError):
                progress.say(f"failed: {_named(trial)}: {result.paragraph()}")
                tracking.failed(run, spec, result.paragraph())
            else:
                tracking.finished(run, spec, result.metrics, result.history)
        shown.finished(task)
    return found


def _named(trial: Trial) -> str:
    return ", ".join(
        filter(None, (trial.spec.head, trial.setting, f"seed {trial.spec.training.seed}"))
    )


def _done(
    loaded: LoadedBench,
    trials: Sequence[Trial],
    load_spec: LoadSpec,
    options: BenchOptions,
    progress: Progress,
    shown: BenchProgress,
    on_epoch: OnEpoch,
) -> Iterator[tuple[TrialGroup, Results]]:
    """Trains trials: on a cluster, on all cores, or on a GPU."""
    if not trials:
        return iter(())
    device = trials[0].spec.training.device
    on_cpu = resolve_device(device).type == "cpu"
    groups = group_trials(trials, on_cpu=on_cpu)
    if options.ray:
        return train_on_cluster(options.ray, load_spec.anywhere(), groups, device, progress.say)

    def train(
        group: TrialGroup, on_step: OnStep = no_callback, threads: int | None = None
    ) -> Results:
        with shown.working(group):
            return list(loaded.train(group, on_step, threads, on_epoch))

    if not on_cpu:  # a GPU trains one group after the other
        return ((group, train(group)) for group in groups)
    return train_in_threads(groups, partial(train, threads=1), usable_cores())
