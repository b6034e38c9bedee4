"""MLflow: a local SQLite file, or the server of ``MLFLOW_TRACKING_URI``."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Usage statistics are sent unless they are switched off before the package is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from mvsa_pipe.tracking.trackers import ConfigValue, TrackedRun

_URI = "MLFLOW_TRACKING_URI"
# MLflow refuses longer values, and more parameters at a time.
_MOST_LETTERS, _MOST_PARAMS = 6000, 100


class MLflow:
    """Writes runs by the client, which several threads may use, and no global run.

    Args:
        project: The experiment.
        runs: The folder of all runs.
    """

    def __init__(self, project: str, runs: Path) -> None:
        self._uri = os.environ.get(_URI) or f"sqlite:///{(runs / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=self._uri)
        self._project, self._experiment = project, ""

    @property
    def place(self) -> str:
        """The command that shows the runs."""
        return f"mlflow ui --backend-store-uri {self._uri}"

    def begin(self, name: str, config: Mapping[str, ConfigValue]) -> TrackedRun:
        """Begins a run of the experiment."""
        if not self._experiment:
            found = self._client.get_experiment_by_name(self._project)
            self._experiment = (
                found.experiment_id if found else self._client.create_experiment(self._project)
            )
        run = self._client.create_run(self._experiment, run_name=name)
        params = [Param(k, str(v)[:_MOST_LETTERS]) for k, v in config.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=params[start : start + _MOST_PARAMS])
        return _MLflowRun(self._client, run.info.run_id)


class _MLflowRun:
    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401  # untyped package
        self._client, self._id, self._step = client, run_id, 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step, now = step, int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, scores: Mapping[str, float], fault: str = "") -> None:
        self.log(self._step, scores)
        if fault:
            self._client.set_tag(self._id, "failed", fault[:_MOST_LETTERS])
        self._client.set_terminated(self._id, "FAILED" if fault else "FINISHED")
