"""Weights & Biases: its server if the user is logged in, else a local folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import wandb

from mvsa_pipe.tracking.trackers import ConfigValue, TrackedRun

_MODE = "WANDB_MODE"


class WandB:
    """Several runs of one process at a time, each with its own name.

    Args:
        project: The project.
        runs: The folder of all runs; local files are in ``RUNS/wandb``.
    """

    def __init__(self, project: str, runs: Path) -> None:
        self._project, self._runs = project, runs
        # Without credentials wandb would ask for them, and the training would wait.
        logged_in = _MODE in os.environ or wandb.login(prompt=False, verify=False)
        self._mode: Literal["offline"] | None = None if logged_in else "offline"

    @property
    def place(self) -> str:
        """Where the runs are."""
        if self._mode or os.environ.get(_MODE) == "offline":
            return f"wandb sync {self._runs / 'wandb' / 'offline-run-*'} sends the runs"
        return f"wandb, project {self._project}"

    def begin(self, name: str, config: Mapping[str, ConfigValue]) -> TrackedRun:
        """Begins a run beside those that are open."""
        run = wandb.init(
            project=self._project,
            name=name,
            dir=str(self._runs),
            config=dict(config),
            mode=self._mode,
            reinit="create_new",
            # Screen and sources are the user's own.
            settings=wandb.Settings(
                silent=True, console="off", save_code=False, disable_git=True, x_disable_stats=True
            ),
        )
        return _WandBRun(run)


class _WandBRun:
    def __init__(self, run: Any) -> None:  # noqa: ANN401  # untyped package
        self._run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        # Members of an ensemble have epochs of their own, and wandb's step cannot go back.
        self._run.log({**values, "epoch": step})

    def finish(self, scores: Mapping[str, float], fault: str = "") -> None:
        self._run.summary.update(dict(scores) | ({"failed": fault} if fault else {}))
        self._run.finish(exit_code=1 if fault else 0)
