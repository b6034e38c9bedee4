"""Run folders: everything that one trained head leaves behind, whole or not at all."""

from mvsa_pipe.runs.predictions import Prediction, predictions_of
from mvsa_pipe.runs.reading import Member, Recorded, Run, open_run
from mvsa_pipe.runs.writing import (
    checked_run_name,
    free_name,
    refuse_taken,
    require_writable,
    write_run,
)

__all__ = [
    "Member",
    "Prediction",
    "Recorded",
    "Run",
    "checked_run_name",
    "free_name",
    "open_run",
    "predictions_of",
    "refuse_taken",
    "require_writable",
    "write_run",
]
