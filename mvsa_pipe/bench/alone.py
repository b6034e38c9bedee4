"""Which heads of a bench are trained one by one, and why."""

from collections.abc import Sequence
from itertools import pairwise

from mvsa_pipe.bench.tasks import Trial
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.experiment.prepare import Experiment
from mvsa_pipe.experiment.run import reason_alone
from mvsa_pipe.training.fitting import Alone


def alone_remarks(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """One line on the heads whose runs cannot share a stack, where that makes a difference.

    It does where a head has several runs, or where they were to be compiled.

    Args:
        experiment: What they are trained on.
        trials: All runs of the bench over this pair of backbones.
    """
    compiled = any(trial.training.compiled for trial in trials)
    if not compiled and all(one.head != other.head for one, other in pairwise(trials)):
        return []
    reasons: dict[Alone, list[str]] = {}
    for trial in {(t.head, t.setting): t for t in trials}.values():
        try:
            reason = reason_alone(experiment, trial.head, trial.head_options, trial.training)
        except MvsaError:  # what keeps it from being built is told as its runs fail
            continue
        if reason is not None and trial.head not in reasons.setdefault(reason, []):
            reasons[reason].append(trial.head)
    if not reasons:
        return []
    said = [f"heads {reason} ({', '.join(heads)})" for reason, heads in reasons.items()]
    return [f"trained one by one{', uncompiled' if compiled else ''}: {'; '.join(said)}"]
