"""Names of a run folder's files, and the version of their layout."""

from mvsa_pipe.modality import Modality

CONFIG, METRICS, HISTORY = "config.json", "metrics.json", "history.jsonl"
PREDICTIONS, SPLIT = "predictions.csv", "split.csv"
# The temperature, once it was asked for.
CALIBRATION = "calibration.json"
# The only file in the folder of a bench's failed run: the reason.
FAILED = "failed.json"
RUN_SCHEMA = 1


def tuned_file(modality: Modality) -> str:
    """The file with all weights of a backbone of a fine-tuned run."""
    return f"{modality}.safetensors"


# Hexadecimal digits of a post's content digest that a run records.
CONTENT_DIGITS = 16


def content_column(modality: Modality) -> str:
    """The column of ``split.csv`` with content digests of one modality."""
    return f"{modality}_digest"
