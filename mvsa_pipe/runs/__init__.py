"""Run folders: the files of one trained head, complete or absent."""

from mvsa_pipe.runs.predictions import Prediction, Predictions, predictions_of
from mvsa_pipe.runs.reading import Member, Run, open_run
from mvsa_pipe.runs.writing import (
    RunContents,
    checked_run_name,
    free_name,
    refuse_taken,
    require_writable,
    split_table,
    write_run,
)

__all__ = [
    "Member",
    "Prediction",
    "Predictions",
    "Run",
    "RunContents",
    "checked_run_name",
    "free_name",
    "open_run",
    "predictions_of",
    "refuse_taken",
    "require_writable",
    "split_table",
    "write_run",
]
