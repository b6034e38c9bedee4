"""The first losses of each head on fixed features: a change of numerics must be a decision.

Of a baseline, its losses at each strength.

After a deliberate change, write them anew and look at the difference:

    python tests/contract/test_heads_golden.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from baselines_contract import BASELINES, fits
from heads_support import VARIANTS

from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.check_batches import make_labels, random_batch, train

GOLDEN = Path(__file__).parent.parent / "golden" / "head_losses.json"
# wide enough for other processors' rounding, narrow enough for any change of a formula
TOLERANCE = 1e-4

# Baselines and variants of fusion heads, in the order of the table.
EACH = sorted(
    [*VARIANTS, *BASELINES], key=lambda each: HEADS.names.index(getattr(each, "name", each))
)


def first_losses(each) -> list[float]:
    batch, labels = random_batch(posts=12, seed=11), make_labels(12)
    if each in BASELINES:
        found = (
            fitted.predict_proba(batch).numpy() for fitted in fits(each, batch, labels, seed=5)
        )
        return [float(-np.log(shares[np.arange(12), labels]).mean()) for shares in found]
    return list(train(each.build_small(seed=5), batch, steps=5, learning_rate=1e-3))


@pytest.mark.parametrize("each", EACH, ids=str)
def test_first_losses(each):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert first_losses(each) == pytest.approx(golden[str(each)], abs=TOLERANCE)


def test_no_losses_of_heads_that_are_gone():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(golden) == [str(each) for each in EACH]


if __name__ == "__main__":
    torch.set_num_threads(1)
    losses = {str(each): [round(loss, 6) for loss in first_losses(each)] for each in EACH}
    GOLDEN.write_text(json.dumps(losses, indent=2) + "\n", encoding="utf-8")
