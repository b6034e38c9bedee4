"""From a run's configuration and checkpoint to its head, refused where they do not fit.

Both come from files that may be damaged, or made to harm: nothing is allocated before the sizes
that the configuration names are those that the checkpoint has.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.features import FeatureSizes
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.building import build_ensemble, build_head, build_skeleton
from mvsa_pipe.heads.growing import Growing
from mvsa_pipe.heads.options import OptionValue

_CPU = torch.device("cpu")
_MEMBER = re.compile(r"members\.(\d+)\.(.+)")
_FIT_AGAIN = "mvsa fit with the same options makes the run again"


def load_recorded(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    where: object,
    device: torch.device = _CPU,
) -> FusionHead:
    """The head, or the ensemble, that a run's configuration describes, with its weights.

    Args:
        config: ``head``, ``head_options``, ``sizes``, ``training`` and, of an ensemble, ``seeds``.
        state: The checkpoint.
        where: The run, for messages.
        device: Where the head lives.

    Returns:
        The head in eval mode.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: An option is unknown or its value cannot be used.
        RunError: The checkpoint does not fit, or holds anything but finite numbers.
    """
    name, options = config["head"], config["head_options"]
    sizes, seeds = FeatureSizes.from_record(config["sizes"]), config.get("seeds")
    _require_shapes(name, sizes, options, None if seeds is None else len(seeds), state, where)
    if seeds is None:
        head = build_head(name, sizes, config["training"]["seed"], options, device)
    else:
        head = build_ensemble(name, sizes, seeds, options, device)
    fill_head(head, state, where)
    return head.eval()


def fill_head(head: FusionHead, state: Mapping[str, Tensor], where: object) -> None:
    """Gives a head the weights of a checkpoint.

    Raises:
        RunError: They do not fit, or are anything but finite numbers.
    """
    try:
        head.load_state_dict(dict(state))
    except RuntimeError as error:
        raise _not_fitting(type(head).__name__, where, " ".join(str(error).split())) from error
    faults = list(_faults(head))
    if faults:
        raise RunError(
            "This checkpoint holds weights that no training leaves",
            where=where,
            found=name_some(faults),
            hint=_FIT_AGAIN,
        )


def _require_shapes(
    name: str,
    sizes: FeatureSizes,
    options: Mapping[str, OptionValue],
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
    skeleton = build_skeleton(name, sizes, options)
    expected = skeleton.state_dict()
    growing = {
        f"{path}.{own}".lstrip(".")
        for path, module in skeleton.named_modules()
        if isinstance(module, Growing)
        for own in module.grows
    }
    for part in parts.values():
        for key, value in expected.items():
            wanted = tuple(value.shape)
            have = None if key not in part else tuple(part[key].shape)
            if key in growing and have:
                wanted = (have[0], *wanted[1:])
            if have != wanted:
                found_there = "nothing" if have is None else f"{list(have)}"
                raise _not_fitting(name, where, f"{key}: {found_there} for {list(wanted)}")


def _not_fitting(name: str, where: object, found: str) -> RunError:
    return RunError(
        f"This checkpoint does not fit head {name!r} as it is now",
        where=where,
        found=found,
        hint=_FIT_AGAIN,
    )


def _faults(head: FusionHead) -> Iterator[str]:
    for path, module in head.named_modules():
        yield from (f"{path}.{fault}".lstrip(".") for fault in _own_faults(module))


def _own_faults(module: nn.Module) -> Iterator[str]:
    unbounded = getattr(module, "unbounded", ())
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, values in own:
        sound = ~values.isnan() if name in unbounded else values.isfinite()
        if not sound.all():
            yield f"{name}, which is NaN or infinite"
            return
    faults = getattr(module, "faults", None)
    if faults is not None:
        yield from faults()
