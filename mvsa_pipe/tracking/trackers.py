"""The table of experiment trackers; reading it imports none of their packages.

A new tracker is one file and one row here. ``--tracker`` and ``mvsa_pipe.fit(tracker=...)`` read
this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.registry import Registry, Row

ConfigValue = str | int | float | bool


class TrackedRun(Protocol):
    """One run in a tracker. Any method may raise any exception."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the values of an epoch, or of a strength of a baseline; steps increase."""

    def finish(self, scores: Mapping[str, float], fault: str = "") -> None:
        """Ends the run: with its scores, or with the reason why it has none."""


class Tracker(Protocol):
    """A tracker; several of its runs may be open at a time."""

    def __init__(self, project: str, runs: Path) -> None: ...

    @property
    def place(self) -> str:
        """Where its runs are, or the command that shows them."""

    def begin(self, name: str, config: Mapping[str, ConfigValue]) -> TrackedRun:
        """Begins a run."""


@dataclass(frozen=True)
class TrackerRow(Row):
    """One tracker.

    Attributes:
        packages: The modules that it imports.
    """

    packages: tuple[str, ...] = ()


def _row(name: str, tracker: str, summary: str, *packages: str) -> TrackerRow:
    return TrackerRow(name, f"mvsa_pipe.tracking.to_{name}:{tracker}", summary, "", packages)


_ROWS = (
    _row("tensorboard", "TensorBoard", "event files in RUNS/tensorboard", "tensorboard"),
    _row(
        "mlflow",
        "MLflow",
        "RUNS/mlflow.db, or the server of MLFLOW_TRACKING_URI",
        "mlflow",
        "sqlalchemy",
        "alembic",
    ),
    _row("wandb", "WandB", "RUNS/wandb, or the server that you are logged in to", "wandb"),
    _row("trackio", "Trackio", "trackio's folder, or the space of TRACKIO_SPACE_ID", "trackio"),
)
TRACKERS: Registry[type[Tracker]] = Registry("tracker", _ROWS)
_PACKAGES = {row.name: row.packages for row in _ROWS}


def make_tracker(name: str, project: str, runs: Path) -> Tracker:
    """A tracker by its name.

    Args:
        name: Its name in the table.
        project: The tracker's project, or experiment.
        runs: The folder of all runs.

    Raises:
        UnknownNameError: No tracker has that name.
        ConfigError: Its package is missing or cannot be imported.
    """
    TRACKERS.row(name)
    missing = [package for package in _PACKAGES[name] if find_spec(package) is None]
    hint = f'pip install "mvsa-pipe[{name}]"'
    if missing:
        raise ConfigError(
            f"--tracker {name} needs packages that are not installed",
            expected=", ".join(missing),
            hint=hint,
        )
    try:
        return TRACKERS.load(name)(project, runs)
    except Exception as error:
        raise ConfigError(
            f"--tracker {name} cannot be used",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            hint=f"repair its settings, or {hint}",
        ) from error
