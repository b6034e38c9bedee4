"""What a fit was asked for, checked before any work; then trained and written as run folders."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs.ensemble import refuse_copies, run_seeds
from mvsa_pipe.runs.fit import reason_alone, refuse_early
from mvsa_pipe.runs.metadata import origin_of
from mvsa_pipe.runs.options import SeedChoice
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.reading import Run
from mvsa_pipe.runs.save_result import default_run_name, save_run
from mvsa_pipe.runs.writing import checked_run_name, free_name, refuse_taken, require_writable
from mvsa_pipe.tracking.listener import NO_TRACKING, RunToTrack, Tracking
from mvsa_pipe.training.options import RunSpec, TrainingOptions


@dataclass(frozen=True)
class FitPlan:
    """One head to train with one or several seeds, and where its runs go.

    Attributes:
        head: The head's name.
        head_options: Its options that differ from their defaults.
        training: How it is trained.
        seeds: How many seeds, and whether they make one run.
        runs: The folder of all runs.
        name: The run's name; generated unless given. Of several runs, each name ends in its seed.
    """

    head: str
    head_options: Mapping[str, OptionValue]
    training: TrainingOptions
    seeds: SeedChoice
    runs: Path
    name: str | None = None

    @property
    def names(self) -> list[str | None]:
        """The name of each run that will be written."""
        if self.seeds.seeds == 1 or self.seeds.ensemble:
            return [self.name]
        counted = self.seeds.counted_from(self.training.seed)
        return [None if self.name is None else f"{self.name}-seed{seed}" for seed in counted]

    def check(self) -> None:
        """Refuses what can be refused before posts and features are read.

        Raises:
            ConfigError: An option, a name or the device cannot be used, or the seeds of an ensemble
                would all give the same run.
            RunError: A run of a given name is there already.
            StorageError: The folder of all runs cannot be written to.
        """
        refuse_early(self.head, self.head_options, self.training)
        refuse_copies(self.head, self.seeds)
        for name in self.names:
            if name is not None:
                refuse_taken(self.runs / checked_run_name(name))
        require_writable(self.runs)

    def run(
        self, experiment: Experiment, progress: Progress, tracking: Tracking = NO_TRACKING
    ) -> list[Run | MvsaError]:
        """Trains the head and writes its runs; the reason in the place of a run without a result.

        Args:
            experiment: The posts and features.
            progress: Receives progress.
            tracking: Records the runs, too.

        Raises:
            MvsaError: As ``run_seeds`` and ``save_run``.
        """
        for remark in experiment.remarks():
            progress.say(remark)
        head, options, training = self.head, self.head_options, self.training
        if training.compiled and (reason := reason_alone(experiment, head, options, training)):
            progress.say(f"trained uncompiled, as all heads {reason}")
        tracked = self._tracked(experiment)
        on_epoch = tracking.listener(
            lambda spec: tracked[spec.training.seed], members=self.seeds.ensemble
        )
        results = run_seeds(experiment, head, options, training, self.seeds, progress, on_epoch)
        seeds = self.seeds.counted_from(training.seed)  # the first one stands for an ensemble
        done: list[Run | MvsaError] = []
        for result, name, seed in zip(results, self.names, seeds, strict=False):
            own = replace(training, seed=seed)
            spec = RunSpec(head, own, options)
            if isinstance(result, MvsaError):
                tracking.failed(tracked[seed], spec, result.paragraph())
                done.append(result)
            else:
                done.append(save_run(experiment, result, own, self.runs, name))
                history = result.fitted.history
                tracking.finished(tracked[seed], spec, result.record, history)
        return done

    def _tracked(self, experiment: Experiment) -> dict[int, RunToTrack]:
        """The run of each seed, under the name that its folder will have."""
        seeds = self.seeds.counted_from(self.training.seed)
        together = [seeds] if self.seeds.ensemble else [(seed,) for seed in seeds]
        found: dict[int, RunToTrack] = {}
        for name, own in zip(self.names, together, strict=True):
            wanted = name or free_name(self.runs, default_run_name(experiment, self.head, own))
            found |= dict.fromkeys(own, RunToTrack(wanted, origin_of(experiment)))
        return found
