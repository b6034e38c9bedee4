"""The first losses of each head on fixed features: a change of numerics must be a decision.

Of a head with a solver, its losses at each strength.

After a deliberate change, write them anew and look at the difference:

    python tests/contract/test_heads_golden.py
"""

import json
from pathlib import Path

import pytest
import torch
from heads_support import VARIANTS, Variant, every_head, learn, make_batch, make_labels

GOLDEN = Path(__file__).parent.parent / "golden" / "head_losses.json"
# wide enough for other processors' rounding, narrow enough for any change of a formula
TOLERANCE = 1e-4


def first_losses(variant: Variant) -> list[float]:
    batch, labels = make_batch(posts=12, seed=11), make_labels(12)
    return list(learn(variant.build_small(seed=5), batch, labels, steps=5, learning_rate=1e-3))


@every_head
def test_first_losses(variant: Variant):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert first_losses(variant) == pytest.approx(golden[str(variant)], abs=TOLERANCE)


def test_no_losses_of_heads_that_are_gone():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(golden) == [str(variant) for variant in VARIANTS]


if __name__ == "__main__":
    torch.set_num_threads(1)
    losses = {str(v): [round(loss, 6) for loss in first_losses(v)] for v in VARIANTS}
    GOLDEN.write_text(json.dumps(losses, indent=2) + "\n", encoding="utf-8")
