"""Passes epochs and scores of trainings on to a tracker; a faulty tracker never ends a training."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.tracking.trackers import ConfigValue, TrackedRun, Tracker, make_tracker
from mvsa_pipe.training.epochs import EpochReport, OnEpoch
from mvsa_pipe.training.options import RunSpec

_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class RunToTrack:
    """One run, known before it is trained.

    Attributes:
        name: The name of its run folder.
        about: Entries of its configuration besides head and training: protocol, data, backbones.
    """

    name: str
    about: Mapping[str, Any] = field(default_factory=dict)


class Tracking:
    """Records trainings in a tracker; any thread may call it.

    The first exception of the tracker is reported, and nothing more is recorded.

    Args:
        tracker: The tracker; ``None`` records nothing.
        say: Called with lines for the user.
    """

    def __init__(
        self, tracker: Tracker | None = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._tracker, self._say = tracker, say
        self._lock = threading.RLock()
        self._open: dict[str, TrackedRun] = {}
        self._logged: dict[str, int] = {}  # steps of each run, or of each member of an ensemble
        self._finished = 0

    def listener(
        self, run_of: Callable[[RunSpec], RunToTrack], *, members: bool = False
    ) -> OnEpoch:
        """A callback after each epoch of some runs.

        Args:
            run_of: The run of a training.
            members: Whether the trainings are members of one ensemble: their values are then told
                apart by their seeds.
        """

        def on_epoch(report: EpochReport) -> None:
            member = f"seed{report.seed}" if members else ""
            values = {**report.entry, "seconds": report.seconds}
            if report.learning_rate is not None:
                values["learning_rate"] = report.learning_rate
            self._log(run_of(report.spec), report.spec, member, report.done - 1, values)

        return on_epoch

    def resumed(self, run: RunToTrack, spec: RunSpec, history: Iterable[Mapping[str, Any]]) -> None:
        """Records epochs that were trained before an interruption."""
        for step, entry in enumerate(history):
            self._log(run, spec, "", step, entry)

    def finished(
        self,
        run: RunToTrack,
        spec: RunSpec,
        metrics: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Records a run's scores, and those of its epochs that were trained elsewhere.

        Args:
            run: The run.
            spec: How it was trained; of an ensemble its first member.
            metrics: Content of its ``metrics.json``.
            history: Lines of its ``history.jsonl``.
        """
        if self._tracker is None:
            return
        steps: dict[str, int] = {}
        for entry in history:
            member = f"seed{entry['seed']}" if "seed" in entry else ""
            step = steps[member] = steps.get(member, -1) + 1
            self._log(run, spec, member, step, entry)
        with self._guarded() as tracker:
            if tracker is not None:
                self._begun(tracker, run, spec)
                self._open.pop(run.name).finish(final_values(metrics))
                self._finished += 1

    def failed(self, run: RunToTrack, spec: RunSpec, reason: str) -> None:
        """Records that a run has no result."""
        with self._guarded() as tracker:
            if tracker is not None:
                self._begun(tracker, run, spec)
                self._open.pop(run.name).finish({}, reason)

    def close(self) -> None:
        """Ends the runs that did not end, and says where the others are."""
        with self._guarded() as tracker:
            if tracker is None:
                return
            for name in [*self._open]:
                self._open.pop(name).finish({}, _INTERRUPTED)
            if self._finished:
                self._say(f"tracked: {tracker.place}")

    def _log(
        self, run: RunToTrack, spec: RunSpec, member: str, step: int, values: Mapping[str, Any]
    ) -> None:
        with self._guarded() as tracker:
            key = f"{run.name}/{member}"
            # A run that finds no room beside others begins anew alone, with the same values.
            if tracker is None or step <= self._logged.get(key, -1):
                return
            tracked = self._begun(tracker, run, spec)
            self._logged[key] = step
            prefix = f"{member}/" if member else ""
            tracked.log(step, {f"{prefix}{k}": v for k, v in _numbers(values).items()})

    def _begun(self, tracker: Tracker, run: RunToTrack, spec: RunSpec) -> TrackedRun:
        if run.name not in self._open:
            self._open[run.name] = tracker.begin(run.name, config_of(spec, run.about))
        return self._open[run.name]

    @contextmanager
    def _guarded(self) -> Iterator[Tracker | None]:
        """The tracker; its exceptions are reported and end the tracking, never the training."""
        with self._lock:
            try:
                yield self._tracker
            except Exception as error:  # noqa: BLE001  # of a third-party package, of any kind
                self._tracker = None
                fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                self._say(f"the tracker failed, and records nothing more; runs are kept: {fault}")


NO_TRACKING = Tracking()


@contextmanager
def tracking(options: TrackerOptions, runs: Path, say: Callable[[str], None]) -> Iterator[Tracking]:
    """What records trainings as the options say; ends all its runs.

    Args:
        options: The tracker and its project.
        runs: The folder of all runs.
        say: Called with lines for the user.

    Raises:
        ConfigError: The tracker's package is missing, or cannot be used.
    """
    if options.tracker is None:
        yield NO_TRACKING
        return
    found = Tracking(make_tracker(options.tracker, options.tracker_project, runs), say)
    try:
        yield found
    finally:
        found.close()


def config_of(spec: RunSpec, about: Mapping[str, Any]) -> dict[str, ConfigValue]:
    """Head, training and origin of a run as flat names and plain values."""
    own = {
        "head": spec.head,
        "head_options": dict(spec.head_options),
        "training": asdict(spec.training),
        "split_seed": spec.split_seed,
        "fold": spec.fold or None,
    }
    return dict(_flat({**about, **own}))


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, ConfigValue]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, Enum):
            yield f"{prefix}{name}", str(value.value)
        elif isinstance(value, str | int | float | bool):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", str(value)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers, without what says where they are."""
    return {
        name: float(value)
        for name, value in values.items()
        if name not in ("epoch", "seed") and isinstance(value, int | float) and math.isfinite(value)
    }


def final_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Scores with intervals as ``test_accuracy``, ``test_accuracy_low``; costs; selected epoch."""
    found: dict[str, Any] = {
        name: metrics.get(name) for name in ("parameters", "seconds", "steps", "energy_joules")
    }
    for part, scores in metrics["scores"].items():
        # those of validation posts have the names of the epochs' values
        head = "selected_val" if part == "val" else part
        for name, value in scores["values"].items():
            found[f"{head}_{name}"] = value
            low, high = scores["intervals"][name]
            found |= {f"{head}_{name}_low": low, f"{head}_{name}_high": high}
    selected = metrics.get("selected")
    if isinstance(selected, Mapping):
        found |= {f"selected_{k}": v for k, v in selected.items() if k in ("epoch", "strength")}
    return _numbers(found)
