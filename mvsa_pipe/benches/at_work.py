"""Shows which runs of a bench are at work, how many are done, and the time left."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.progress import Progress
from mvsa_pipe.training.epochs import EpochReport

# Tasks that are named; the others are counted.
_MOST_NAMED = 4


class BenchProgress:
    """One step whose units are runs; a run's epochs are fractions of it. Any thread may call it.

    Args:
        progress: Where it is shown.
        runs: How many runs there are.
        what: Name of the step.
    """

    def __init__(self, progress: Progress, runs: int, what: str = "bench") -> None:
        self._progress, self._runs = progress, runs
        self._lock = threading.Lock()
        self._tasks: list[Sequence[Trial]] = []
        self._reports: dict[int, EpochReport] = {}  # the last of each run
        self._shares: dict[int, float] = {}  # how much of each run is counted
        progress.start(what, runs, "runs", may_end_early=True)

    def recorded(self, runs: int) -> None:
        """Runs were found that need no training."""
        self._runs -= runs
        self._progress.expect(self._runs)

    @contextmanager
    def working(self, task: Sequence[Trial]) -> Iterator[None]:
        """A task is at work."""
        with self._lock:
            self._tasks.append(task)
            self._progress.note(self._described())
        try:
            yield
        finally:
            with self._lock:
                self._tasks.remove(task)
                self._progress.note(self._described())

    def on_epoch(self, report: EpochReport) -> None:
        """Counts an epoch of a run."""
        with self._lock:
            self._reports[id(report.spec)] = report
            done = report.most if report.ended else report.done
            self._count(report.spec, done / (report.most + 1))  # the rest is scoring
            self._progress.note(self._described())

    def finished(self, task: Sequence[Trial]) -> None:
        """The runs of a task are trained, scored and written, or have failed."""
        with self._lock:
            for trial in task:
                self._count(trial.spec, 1.0)

    def _count(self, spec: object, share: float) -> None:
        more = share - self._shares.get(id(spec), 0.0)
        if more > 0:
            self._shares[id(spec)] = share
            self._progress.advance(more)

    def _described(self) -> str:
        if not self._tasks:
            return ""
        named = [self._name(task) for task in self._tasks[:_MOST_NAMED]]
        more = len(self._tasks) - len(named)
        return f"{', '.join(named)}{f' and {more:,} more' if more else ''} at work"

    def _name(self, task: Sequence[Trial]) -> str:
        """Head, setting and seed of a run, or the number of runs, with their epoch."""
        spec = task[0].spec
        settings = {trial.setting for trial in task}
        words = [spec.head, *(settings if len(settings) == 1 else ())]
        words.append(f"seed {spec.training.seed}" if len(task) == 1 else f"× {len(task)}")
        reports = [r for trial in task if (r := self._reports.get(id(trial.spec))) is not None]
        if reports:  # epochs of all runs, of those under way and of those to come
            words.append(f"({sum(r.done for r in reports)}/{len(task) * reports[0].most})")
        return " ".join(filter(None, words))
