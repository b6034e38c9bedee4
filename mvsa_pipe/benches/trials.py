"""The trials of a bench, and groups of them that are trained together."""

from collections.abc import Iterable
from dataclasses import dataclass

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.features.batch import HIDDEN
from mvsa_pipe.heads import HEADS
from mvsa_pipe.runs import RunContents
from mvsa_pipe.training.options import RunSpec

# Most runs in a stack: larger ones need more memory and save hardly any time.
MOST_TOGETHER = 16


@dataclass(frozen=True)
class Trial:
    """One run of a bench.

    Attributes:
        spec: The head and its training.
        setting: The varied options, as shown in tables.
        pair: Its backbones if several pairs are compared; else empty.
        digest: Digest of everything that determines its numbers.
        name: The name of its run folder.
        budget: Parameters that its width was chosen for; 0 if it was not.
    """

    spec: RunSpec
    setting: str = ""
    pair: str = ""
    digest: str = ""
    name: str = ""
    budget: int = 0


# Trials that are trained together.
TrialGroup = tuple[Trial, ...]
# The files of each trial's run, or its error.
Results = list[RunContents | MvsaError]


def group_trials(trials: Iterable[Trial], *, on_cpu: bool) -> list[TrialGroup]:
    """Groups of trials that can be trained together, long ones first to balance the load.

    On a CPU, heads that read tokens are trained one by one (see ``stack_shape``), one run per core.
    """
    long: list[TrialGroup] = []
    short: dict[str, list[Trial]] = {}
    for trial in trials:
        if HEADS.load(trial.spec.head).needs & HIDDEN and on_cpu:
            long.append((trial,))
        else:
            short.setdefault(trial.spec.head, []).append(trial)
    stacks = [
        tuple(same[start : start + MOST_TOGETHER])
        for same in short.values()
        for start in range(0, len(same), MOST_TOGETHER)
    ]
    return long + stacks
