"""From a head's name, sizes, seed and options to the head itself."""

import threading
from collections.abc import Mapping, Sequence

import torch

from mvsa_pipe.features import FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.ensemble import Ensemble
from mvsa_pipe.heads.mixing import put_in_front
from mvsa_pipe.heads.options import OptionValue, parse_options

_CPU = torch.device("cpu")

# torch's layers draw their weights from the one global generator, whichever thread builds them.
_GLOBAL_GENERATOR = threading.Lock()


def build_head(
    name: str,
    sizes: FeatureSizes,
    seed: int,
    options: Mapping[str, OptionValue] | None = None,
    device: torch.device = _CPU,
) -> FusionHead:
    """Builds a head with weights and dropout that depend on the seed alone.

    Weights are drawn on the CPU and moved, so that they are the same bit for bit on any device.
    The global generators are left as they were.

    Args:
        name: A name in the table of heads.
        sizes: What the head shall read.
        seed: Decides the weights and the dropout masks.
        options: Options that differ from their defaults; strings are parsed, so that
            ``--set width=128`` and ``asdict(head.options)`` from a ``config.json`` both fit.
        device: Where the head shall live.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: An option is unknown or its value cannot be used.
    """
    kind = HEADS.load(name)
    parsed = parse_options(name, kind.Options, options or {})
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the global generators of all accelerators
        torch.default_generator.manual_seed(seed)
        head = kind(sizes, parsed)
        put_in_front(head)
        head.to(device)
        # a draw behind those of the weights: dropout must not replay the stream that they used
        dropout_seed = int(torch.randint(2**62, ()))
    head.use_generator(torch.Generator(device).manual_seed(dropout_seed))
    return head


def build_ensemble(
    name: str,
    sizes: FeatureSizes,
    seeds: Sequence[int],
    options: Mapping[str, OptionValue] | None = None,
    device: torch.device = _CPU,
) -> Ensemble:
    """Builds an ensemble of one head a seed, each as ``build_head`` builds it alone.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: An option is unknown or its value cannot be used.
    """
    return Ensemble([build_head(name, sizes, seed, options, device) for seed in seeds])


def build_skeleton(
    name: str, sizes: FeatureSizes, options: Mapping[str, OptionValue]
) -> FusionHead:
    """A head whose tensors have shapes but no memory, to compare a checkpoint with.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: An option is unknown or its value cannot be used.
    """
    kind = HEADS.load(name)
    parsed = parse_options(name, kind.Options, options)
    with torch.device("meta"):
        head = kind(sizes, parsed)
        put_in_front(head)
    return head
