"""Runs of a bench that came to nothing: recorded with the reason, so that the others go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mvsa_pipe.bench.tasks import Trial
from mvsa_pipe.cluster.pool import LostWorkersError
from mvsa_pipe.devices import MemoryShortageError
from mvsa_pipe.errors import MvsaError


@dataclass(frozen=True)
class FailedRun:
    """One run without a result.

    Attributes:
        head: Its head.
        pair: Its backbones, where several pairs are compared; else empty.
        setting: What was varied; empty where nothing was.
        seed: Its seed.
        reason: Why, as one paragraph.
    """

    head: str
    pair: str
    setting: str
    seed: int
    reason: str

    @classmethod
    def of(cls, record: Mapping[str, Any], pair: str) -> "FailedRun":
        """The failure that a record tells of."""
        return cls(
            record["head"], pair, record["setting"], record["seed"], record["failed"]["reason"]
        )


def failure_record(trial: Trial, error: MvsaError) -> dict[str, Any]:
    """What is recorded of a run without a result.

    ``lasting`` says whether the same run would end alike: a shortage of memory, or a lost worker,
    may be over the next time.
    """
    return {
        "head": trial.head,
        "setting": trial.setting,
        "seed": trial.training.seed,
        "failed": {
            "kind": type(error).__name__,
            "reason": error.paragraph(),
            "lasting": not isinstance(error, MemoryShortageError | LostWorkersError),
        },
    }


def has_failed(record: Mapping[str, Any]) -> bool:
    """Whether a record tells of a failure."""
    return "failed" in record
