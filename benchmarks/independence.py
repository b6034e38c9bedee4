"""How far a run in a stack is from the same run alone, for every head: logits and predictions.

Seeds times learning rates of one head are trained together and one by one, on one thread. Heads
that read tokens are stacked too, as on a GPU; those that no device stacks are trained one by one
both times, and their record says why.

In float32 and in float64: where the first differ and the second do not, it is rounding that AdamW
makes larger (it divides gradients by their own size, however small), and no run sees another.
"""

from dataclasses import replace
from itertools import product
from typing import Any

import features
import torch
from record import write_record

from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.training import fitting
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.fitting import fit_head, fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.scoring import predict_logits
from mvsa_pipe.training.stacking import why_alone

POSTS, TEXT, IMAGE, PLACES = 60, 96, 80, 10
SEEDS, RATES = (0, 1), (5e-4, 2e-3)
DTYPES = (torch.float32, torch.float64)
OPTIONS = TrainingOptions(epochs=3, batch_size=16, patience=0, device="cpu")


def main() -> None:
    """Measures a head at a time."""
    data = features.draw(POSTS, text=TEXT, image=IMAGE, places=PLACES)
    held, fitting.HIDDEN = fitting.HIDDEN, frozenset()  # lets token heads stack on a CPU
    try:
        with cpu_threads(1):
            results = {str(kind).removeprefix("torch."): _measured(kind, data) for kind in DTYPES}
    finally:
        fitting.HIDDEN = held
    configuration = {
        "posts": POSTS,
        "text_width": TEXT,
        "image_width": IMAGE,
        "image_tokens": PLACES,
        "seeds": SEEDS,
        "learning_rates": RATES,
        "epochs": OPTIONS.epochs,
        "batch": OPTIONS.batch_size,
        "threads": 1,
    }
    write_record("independence", configuration, results)


def _measured(kind: torch.dtype, data: TrainingData) -> dict[str, Any]:
    torch.set_default_dtype(kind)  # that of every weight that is made
    try:
        return {row.name: _measure(row.name, data) for row in HEADS if _has(row.name, kind)}
    finally:
        torch.set_default_dtype(torch.float32)


def _has(name: str, kind: torch.dtype) -> bool:
    """Whether a head is trained in that arithmetic; baselines are fitted in their own."""
    return kind is torch.float32 or issubclass(HEADS.load(name), FusionHead)


def _measure(name: str, data: TrainingData) -> dict[str, Any]:
    plans = [
        (data, RunSpec(name, replace(OPTIONS, seed=seed, learning_rate=rate)))
        for seed, rate in product(SEEDS, RATES)
    ]
    reason = why_alone(build_head(name, data.features.sizes, 0), data)
    together = fit_heads(plans, threads=1)
    alone = [fit_head(name, {}, data, spec.training) for _, spec in plans]
    posts = torch.arange(POSTS)
    pairs = [
        tuple(predict_logits(run.head, data.features, posts) for run in both)
        for both in zip(together, alone, strict=True)
    ]
    return {
        "stacked": reason is None,
        **({} if reason is None else {"alone_because": reason.value}),
        "runs": len(plans),
        "largest_logit_difference": max(float((one - other).abs().max()) for one, other in pairs),
        "largest_logit": max(float(other.abs().max()) for _, other in pairs),
        "different_predictions": sum(
            int((one.argmax(1) != other.argmax(1)).sum()) for one, other in pairs
        ),
        "predictions": len(plans) * POSTS,
        "different_epochs": sum(
            one.best != other.best for one, other in zip(together, alone, strict=True)
        ),
    }


if __name__ == "__main__":
    main()
