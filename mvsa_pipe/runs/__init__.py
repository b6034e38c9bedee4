"""Run folders: the files of one trained head, complete or absent."""

from typing import TYPE_CHECKING

from mvsa_pipe.lazy import lazy_names

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Member": "reading",
        "Prediction": "predictions",
        "Predictions": "predictions",
        "Run": "reading",
        "RunContents": "writing",
        "checked_run_name": "writing",
        "free_name": "writing",
        "open_run": "reading",
        "predictions_of": "predictions",
        "refuse_taken": "writing",
        "require_writable": "writing",
        "split_table": "writing",
        "write_run": "writing",
    },
)
