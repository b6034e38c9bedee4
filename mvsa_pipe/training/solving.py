"""Heads that a solver sets at once: tried with several strengths, picked on validation."""

import time
from typing import Any

from mvsa_pipe.heads.base import SolvableHead
from mvsa_pipe.training.course import Fitted, class_weights, require_convergence
from mvsa_pipe.training.material import Material
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.pulse import Pulse, no_pulse
from mvsa_pipe.training.scoring import is_better, validation_entry


def solve_head(
    head: SolvableHead, material: Material, options: TrainingOptions, pulse: Pulse = no_pulse
) -> Fitted:
    """Solves a head for every strength and leaves it at the best on validation.

    Args:
        head: The head, in place.
        material: What it is solved on and selected by.
        options: The class weights, and the score that picks the strength.
        pulse: Called before every strength.

    Raises:
        DivergedError: A loss is no finite number.
        MvsaError: As the head's ``solve``.
    """
    began = time.perf_counter()
    device = next(head.parameters()).device
    train = material.features.batch(material.train, head.needs).to(device)
    labels = material.labels[material.train]
    weights = None if options.class_weights == "none" else class_weights(material, options)
    history: list[dict[str, Any]] = []
    best, best_state = 0, head.state_dict()
    head.eval()
    for index, strength in enumerate(head.strengths):
        pulse()
        head.solve(train, labels, strength, weights)
        entry = {"strength": strength} | validation_entry(head, material)
        require_convergence(entry, f"at strength {strength:g}", head, options)
        history.append(entry)
        if index == 0 or is_better(history[index], history[best], options.select):
            best = index
            best_state = {k: v.detach().clone() for k, v in head.state_dict().items()}
    head.load_state_dict(best_state)
    return Fitted(head, history, best, time.perf_counter() - began, 0)
