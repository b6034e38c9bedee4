"""Trackio: a local SQLite file, or the space or server of its own variables."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from contextvars import Context
from pathlib import Path
from typing import Any

import trackio

from mvsa_pipe.tracking.trackers import ConfigValue, TrackedRun


class Trackio:
    """Several runs at a time: each begins in a context of its own.

    Args:
        project: The project.
        runs: Unused: trackio's own folder is where ``trackio show`` reads.
    """

    def __init__(self, project: str, runs: Path) -> None:
        del runs
        self._project = project

    @property
    def place(self) -> str:
        """The command that shows the runs."""
        return f"trackio show --project {self._project}"

    def begin(self, name: str, config: Mapping[str, ConfigValue]) -> TrackedRun:
        """Begins a run; ``trackio.init`` would finish the one before in the same context."""
        options = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        # It prints to standard output, which is the command's own.
        with redirect_stdout(io.StringIO()):
            run = Context().run(
                trackio.init, project=self._project, name=name, config=dict(config), **options
            )
        return _TrackioRun(run)


class _TrackioRun:
    def __init__(self, run: Any) -> None:  # noqa: ANN401  # untyped package
        self._run = run
        self._step = -1

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = max(self._step, step)
        self._run.log(dict(values), step=step)

    def finish(self, scores: Mapping[str, float], fault: str = "") -> None:
        found: dict[str, Any] = dict(scores) | ({"failed": fault} if fault else {})
        if found:
            self._run.log(found, step=self._step + 1)
        with redirect_stdout(io.StringIO()):
            self._run.finish()
