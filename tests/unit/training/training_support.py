"""Features drawn at random, in which the class can be found."""

from dataclasses import replace

import torch

from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.options import TrainingOptions

CLASSES = ("negative", "neutral", "positive")
N, WIDTH, TOKENS = 90, 6, 4
OPTIONS = TrainingOptions(epochs=4, batch_size=16, learning_rate=2e-2, device="cpu")

SMALL = {"width": 8, "hidden": 12, "n_attn": 2, "feedforward": 8, "rank": 2}
# Heads that are trained step by step.
NAMES = [row.name for row in HEADS if issubclass(HEADS.load(row.name), FusionHead)]

# Their predictions depend on padding, or their training enlarges rounding: trained alone.
UNSTEADY = {"bottleneck", "cross-transformer"}
ALONE = {"cmac-faithful", "hstec-faithful"} | UNSTEADY


def small(name: str) -> dict[str, int]:
    """Options of a head that make it small."""
    known = HEADS.load(name).Options.__dataclass_fields__
    return {option: value for option, value in SMALL.items() if option in known}


def make_data(signal: float = 1.0) -> TrainingData:
    """60 training posts, 30 for validation, and 10 that belong to neither, as a test part would."""
    generator = torch.Generator().manual_seed(7)
    total = N + 10
    labels = torch.arange(total) % 3
    lengths = torch.arange(total) % 5 + 1
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])
    shift = signal * torch.nn.functional.one_hot(labels, WIDTH)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    states = noise(int(lengths.sum()), WIDTH) + shift.repeat_interleave(lengths, 0)
    features = ResidentFeatures(
        post_ids=tuple(map(str, range(total))),
        sizes=FeatureSizes(WIDTH, WIDTH, TOKENS, len(CLASSES)),
        text_hidden=RaggedText(states, offsets, lengths),
        text_pooled=noise(total, WIDTH) + shift,
        image_hidden=noise(total, TOKENS, WIDTH) + shift[:, None],
        image_pooled=noise(total, WIDTH) + shift,
    )
    return TrainingData(features, labels, torch.arange(60), torch.arange(60, N), CLASSES)


def with_features(data: TrainingData, **changed: torch.Tensor) -> TrainingData:
    return replace(data, features=replace(data.features, **changed))
