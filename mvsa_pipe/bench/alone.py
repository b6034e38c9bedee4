"""Which heads of a bench are trained one by one, and why."""

from collections.abc import Sequence
from itertools import pairwise

from mvsa_pipe.bench.tasks import Trial
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.experiment.prepare import Experiment
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.training.fitting import Alone, why_alone


def alone_remarks(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """One line on the heads whose runs cannot share a stack; none where no head has several runs.

    Args:
        experiment: What they are trained on.
        trials: All runs of the bench over this pair of backbones.
    """
    if all(one.head != other.head for one, other in pairwise(trials)):
        return []
    reasons: dict[Alone, list[str]] = {}
    for trial in {(t.head, t.setting): t for t in trials}.values():
        sizes = experiment.material.features.sizes
        device = resolve_device(trial.training.device)
        head = build_head(trial.head, sizes, trial.training.seed, trial.head_options, device)
        reason = why_alone(head, experiment.material)
        if reason is not None and trial.head not in reasons.setdefault(reason, []):
            reasons[reason].append(trial.head)
    if not reasons:
        return []
    said = [f"heads {reason} ({', '.join(heads)})" for reason, heads in reasons.items()]
    return [f"trained one by one: {'; '.join(said)}"]
