"""TensorBoard: event files in a local folder."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from mvsa_pipe.disk import inside
from mvsa_pipe.tracking.trackers import ConfigValue, TrackedRun


class TensorBoard:
    """Writes ``RUNS/tensorboard/NAME``; scores and options are in the tab HParams, too.

    Args:
        project: Unused: TensorBoard has no projects.
        runs: The folder of all runs.
    """

    def __init__(self, project: str, runs: Path) -> None:
        del project
        self._folder = runs / "tensorboard"

    @property
    def place(self) -> str:
        """The command that shows the runs."""
        return f"tensorboard --logdir {self._folder}"

    def begin(self, name: str, config: Mapping[str, ConfigValue]) -> TrackedRun:
        """Begins a folder of event files; one of that name is not added to."""
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        path = next(p for p in (inside(self._folder, n) for n in names) if not p.exists())
        return _EventFile(SummaryWriter(str(path)), config)


class _EventFile:
    def __init__(self, writer: Any, config: Mapping[str, ConfigValue]) -> None:  # noqa: ANN401  # untyped
        self._writer, self._config = writer, dict(config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, scores: Mapping[str, float], fault: str = "") -> None:
        for name, value in scores.items():
            self._writer.add_scalar(name, value)
        summaries: Any = hparams  # untyped
        for summary in summaries(self._config, dict.fromkeys(scores, 0.0)):
            # ``add_hparams`` would begin another folder
            self._writer.file_writer.add_summary(summary)
        if fault:
            self._writer.add_text("failed", fault)
        self._writer.close()
