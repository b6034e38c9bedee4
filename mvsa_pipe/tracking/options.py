"""Options of experiment trackers; free of torch and of the trackers' packages."""

from dataclasses import dataclass

from mvsa_pipe.options import Options, option
from mvsa_pipe.tracking.trackers import TRACKERS


@dataclass(frozen=True)
class TrackerOptions(Options):
    """The experiment tracker that records trainings besides their run folders.

    Attributes:
        tracker: Record in tensorboard, mlflow, wandb or trackio, too. Epochs as they end, scores
            and options go there, under the names of run folders. Nothing leaves this machine unless
            that tracker is configured so, by its own variables or login.
        tracker_project: The tracker's project, or experiment.

    Raises:
        UnknownNameError: There is no such tracker.
    """

    panel = "Training"

    tracker: str | None = None
    tracker_project: str = option("mvsa-pipe", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracker is not None:
            TRACKERS.row(self.tracker)
