"""From a head's name, sizes, seed and options to the head, or the baseline, itself."""

from collections.abc import Mapping

import torch

from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.model import CPU, Model
from mvsa_pipe.heads.options import OptionValue, parse_options


def build_head(
    name: str,
    sizes: FeatureSizes,
    seed: int,
    options: Mapping[str, OptionValue] | None = None,
    device: torch.device = CPU,
) -> Model:
    """Builds what a row of the table of heads names, before its training.

    Args:
        name: A name in the table of heads.
        sizes: The sizes of the features that it reads.
        seed: Decides the weights and the dropout masks.
        options: Options that differ from their defaults; strings are parsed, so that
            ``--set width=128`` and ``asdict(head.options)`` from a ``config.json`` both fit.
        device: Where it computes.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: An option is unknown or its value cannot be used.
    """
    kind = HEADS.load(name)
    return kind.build(sizes, parse_options(name, kind.Options, options or {}), seed, device)
