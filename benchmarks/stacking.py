"""Seeds of one head trained as one against one after the other, for every head that can be stacked.

Heads that read tokens are trained one by one on a CPU; what stacking them would do is measured too,
with fewer posts, as the reason why.
"""

from dataclasses import replace

import features
import torch
from record import seconds_of, summary, write_record

from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.features.batch import HIDDEN
from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.training import fitting
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.fitting import fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions

REPEATS, SEEDS, TOKEN_SEEDS = 1, 10, 4
POSTS, TOKEN_POSTS = 600, 64
OPTIONS = TrainingOptions(epochs=1, device="cpu", patience=0)


def main() -> None:
    """Measures both ways in turns, a head at a time."""
    results: dict[str, object] = {}
    pooled, tokens = features.draw(POSTS), features.draw(TOKEN_POSTS)
    for row in HEADS:
        kind = HEADS.load(row.name)
        if is_faithful(row) or not issubclass(kind, FusionHead):
            continue
        reads_tokens = bool(kind.needs & HIDDEN)
        data, seeds = (tokens, TOKEN_SEEDS) if reads_tokens else (pooled, SEEDS)
        results[row.name] = {"reads_tokens": reads_tokens, **_measure(row.name, data, seeds)}
    configuration = {
        "repeats": REPEATS,
        "pooled heads": {"posts": POSTS, "seeds": SEEDS},
        "token heads": {"posts": TOKEN_POSTS, "seeds": TOKEN_SEEDS},
        "widths": "bert-base + dinov2-base, 17 image tokens",
        "batch": OPTIONS.batch_size,
    }
    write_record("stacking", configuration, results)


def _measure(name: str, data: TrainingData, seeds: int) -> dict[str, object]:
    plans = [(data, RunSpec(name, replace(OPTIONS, seed=seed))) for seed in range(seeds)]

    def alone() -> None:
        for plan in plans:
            fit_heads([plan], threads=1)

    def together() -> None:
        held, fitting.HIDDEN = fitting.HIDDEN, frozenset()  # lets token heads stack on a CPU
        try:
            fit_heads(plans, threads=1)
        finally:
            fitting.HIDDEN = held

    with cpu_threads(1):
        together()
        rounds = [(seconds_of(alone), seconds_of(together)) for _ in range(REPEATS)]
    return {
        "alone_seconds": summary([one for one, _ in rounds]),
        "together_seconds": summary([other for _, other in rounds]),
        "times_faster": summary([one / other for one, other in rounds]),
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
