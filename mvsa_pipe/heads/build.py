"""Builds heads: untrained from a name and options, or trained from a run's files.

A run's files may be damaged or malicious: nothing is allocated before the sizes in the
configuration are compared with those of the checkpoint.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mvsa_pipe.errors import FIT_AGAIN, RunError, name_some
from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import CPU, Model
from mvsa_pipe.heads.options import OptionValue, parse_options

_MEMBER = re.compile(r"members\.(\d+)\.(.+)")


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


def load_recorded(
    kind: type[FusionHead],
    config: Mapping[str, Any],
    data: bytes,
    where: object,
    device: torch.device,
) -> FusionHead:
    """The head, or the ensemble, that a run's configuration describes, with its weights.

    Args:
        kind: The head's class.
        config: ``head``, ``head_options``, ``sizes``, ``training`` and, of an ensemble, ``seeds``.
        data: The checkpoint.
        where: The run, for messages.
        device: Where the head lives.

    Returns:
        The head in eval mode.

    Raises:
        ConfigError: An option is unknown or its value cannot be used.
        RunError: The checkpoint is damaged, does not fit, or holds anything but finite numbers.
    """
    state = parse_checkpoint(data, where)
    options = parse_options(config["head"], kind.Options, config["head_options"])
    sizes, seeds = FeatureSizes.from_record(config["sizes"]), config.get("seeds")
    with torch.device("meta"):
        skeleton = kind.construct(sizes, options)
    members = None if seeds is None else len(seeds)
    _require_shapes(config["head"], skeleton, members, state, where)
    if seeds is None:
        head: FusionHead = kind.build(sizes, options, config["training"]["seed"], device)
    else:
        head = kind.average([kind.build(sizes, options, seed, device) for seed in seeds])
    fill_head(head, state, where)
    return head.eval()


def parse_checkpoint(data: bytes, where: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        RunError: It is damaged.
    """
    try:
        state: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise RunError(
            "This checkpoint is damaged", where=where, found=error, hint=FIT_AGAIN
        ) from error
    return state


def fill_head(head: FusionHead, state: Mapping[str, Tensor], where: object) -> None:
    """Gives a head the weights of a checkpoint.

    Raises:
        RunError: They do not fit, or are anything but finite numbers.
    """
    try:
        head.load_state_dict(dict(state))
    except RuntimeError as error:
        raise _not_fitting(type(head).__name__, where, " ".join(str(error).split())) from error
    strange = [name for name, value in head.state_dict().items() if not value.isfinite().all()]
    if strange:
        raise RunError(
            "This checkpoint contains weights that are not finite",
            where=where,
            found=f"NaN or infinity in {name_some(strange)}",
            hint=FIT_AGAIN,
        )


def _require_shapes(
    name: str,
    skeleton: FusionHead,
    members: int | None,
    state: Mapping[str, Tensor],
    where: object,
) -> None:
    """Compares a checkpoint with a head that has shapes, but no memory."""
    parts: dict[int, dict[str, Tensor]] = {} if members is not None else {0: dict(state)}
    if members is not None:
        for key, value in state.items():
            found = _MEMBER.fullmatch(key)
            if found is None:
                raise _not_fitting(name, where, f"{key}, which is of no member of an ensemble")
            parts.setdefault(int(found[1]), {})[found[2]] = value
        if sorted(parts) != list(range(members)):
            raise _not_fitting(name, where, f"{len(parts)} members for {members} seeds")
    expected = skeleton.state_dict()
    for part in parts.values():
        for key, value in expected.items():
            wanted = tuple(value.shape)
            have = None if key not in part else tuple(part[key].shape)
            if have != wanted:
                found_there = "nothing" if have is None else f"{list(have)}"
                raise _not_fitting(name, where, f"{key}: {found_there} for {list(wanted)}")


def _not_fitting(name: str, where: object, found: str) -> RunError:
    return RunError(
        f"This checkpoint does not fit head {name!r} as it is now",
        where=where,
        found=found,
        hint=FIT_AGAIN,
    )
