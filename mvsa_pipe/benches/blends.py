"""Late averaging of a head's runs over different backbones, with weights from validation alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from mvsa_pipe.benches.outcomes import FinishedRun, Predictions
from mvsa_pipe.benches.summary import Bench, BlendSummary, summary_of
from mvsa_pipe.metrics.scores import score

_STEPS = 500
# Probabilities have six decimals, so that a run may give the true class none.
_LEAST = 1e-6


def mixture_weights(
    probabilities: Float[ndarray, "K N C"], labels: Int[ndarray, " N"]
) -> Float[ndarray, " K"]:
    """Weights of the mixture of ``K`` runs with the highest likelihood of the labels.

    Expectation maximisation: ``w_k`` becomes the mean over posts of
    ``w_k p_k(y) / Σ_j w_j p_j(y)``. The likelihood is concave in the weights, and equal weights are
    the start.

    Source:
        Dempster, Laird and Rubin 1977, section 4.3 (finite mixtures).
    """
    of_truth = np.maximum(probabilities[:, np.arange(len(labels)), labels], _LEAST)
    weights = np.full(len(of_truth), 1 / len(of_truth))
    for _ in range(_STEPS):
        shares = weights[:, None] * of_truth
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return np.asarray(weights / weights.sum())


def blended(bench: Bench, classes: Sequence[str]) -> list[BlendSummary]:
    """One row per head and setting whose runs over several pairs can be averaged.

    The runs of one seed (and fold) are averaged; a seed is left out where a pair's run failed.
    Nothing is blended without a test part: weights would be scored on what they were chosen on.

    Args:
        bench: The bench, with the runs of all pairs.
        classes: Names of the classes.
    """
    if bench.part != "test":
        return []
    groups: dict[tuple[str, str], dict[tuple[int, str], list[FinishedRun]]] = {}
    for run in bench.runs:
        if isinstance(run, FinishedRun):
            spec = run.trial.spec
            seeds = groups.setdefault((spec.head, run.trial.setting), {})
            seeds.setdefault((spec.training.seed, spec.fold), []).append(run)
    found = []
    for seeds in groups.values():
        most = max(map(len, seeds.values()))
        whole = [runs for runs in seeds.values() if len(runs) == most]
        if most > 1:
            found.append(_row(whole, len(seeds) - len(whole), classes))
    return found


def _row(
    whole: Sequence[Sequence[FinishedRun]], failed: int, classes: Sequence[str]
) -> BlendSummary:
    made = [_blend(runs, classes) for runs in whole]
    labels = [run.trial.pair for run in whole[0]]
    weights = np.mean([own for _, own in made], axis=0)
    summary: dict[str, Any] = vars(summary_of([run for run, _ in made], failed, "test"))
    return BlendSummary(
        **summary, weights={k: round(float(w), 4) for k, w in zip(labels, weights, strict=True)}
    )


def _blend(
    runs: Sequence[FinishedRun], classes: Sequence[str]
) -> tuple[FinishedRun, Float[ndarray, " K"]]:
    """The average of the runs of one seed as a run of its own, and its weights."""
    val, test = ([run.predictions[part] for run in runs] for part in ("val", "test"))
    weights = mixture_weights(np.stack([one.probabilities for one in val]), val[0].labels)
    shares = np.tensordot(weights, np.stack([one.probabilities for one in test]), axes=1)
    predicted = shares.argmax(axis=1)
    scores = score(test[0].labels, predicted, classes, shares)
    first = runs[0]
    total = {
        name: sum(run.metrics[name] for run in runs)
        for name in ("seconds", "scoring_seconds", "parameters")
    }
    independent = all(run.metrics["batch_independent"] for run in runs)
    metrics = first.metrics | total | {"batch_independent": independent}
    own = Predictions(test[0].ids, test[0].labels, predicted, shares)
    blend = FinishedRun(
        trial=replace(first.trial, pair=f"blend of {len(runs)}", digest="", name=""),
        path=None,
        metrics=metrics | {"scores": {"test": {"values": scores.values}}},
        predictions={"test": own},
    )
    return blend, weights
