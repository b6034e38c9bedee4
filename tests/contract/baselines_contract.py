"""Every registered baseline, fitted to features drawn at random."""

from collections.abc import Iterator

from torch import Tensor

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.check_batches import SIZES

BASELINES = [name for name in HEADS.names if issubclass(HEADS.load(name), Baseline)]


def fits(
    name: str,
    batch: FeatureBatch,
    labels: Tensor,
    sizes: FeatureSizes = SIZES,
    seed: int = 0,
    texts: list[str] | None = None,
) -> Iterator[Baseline]:
    """The baseline at each of its strengths; with terms where texts are given."""
    options = {} if texts is None else {"terms": 100}
    baseline = build_head(name, sizes, seed, options)
    return baseline.fit(baseline.frame(batch, texts), labels.numpy())
