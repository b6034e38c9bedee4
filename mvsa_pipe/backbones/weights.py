"""Loads weights, or says how to point to them; never random weights in their place."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.utils import logging as transformers_logging

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import BackboneError, name_some

# What a network can lack and still be the same network: batch counters, and the pooler, which
# checkpoints saved from a masked language model leave out and most poolings do not read.
_IGNORABLE_SUFFIX = "num_batches_tracked"
_POOLER = "pooler."


def local_hint(name: str) -> str:
    """How a message tells the user to bring weights along."""
    return (
        f"point to weights on this machine: --weights {name}=PATH, "
        "where PATH is a Hugging Face folder or a .safetensors or .pth file"
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from a safetensors file, or from a ``.pth`` file without unpickling code.

    Raises:
        BackboneError: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise BackboneError("There is no weights file here", where=path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch.load raises whatever its unpickler meets in a damaged or hostile file.
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        if type(error).__module__ != "_pickle" and type(error).__name__ != "UnpicklingError":
            raise
        raise _unreadable(path, error) from error
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneError(
            "This file holds no state dict", where=path, expected="names of tensors"
        )
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _unreadable(path: Path, error: Exception) -> BackboneError:
    return BackboneError(
        "This weights file cannot be read safely",
        where=path,
        expected="a safetensors file, or a .pth file that holds tensors alone",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        hint="save it again with safetensors.torch.save_file(model.state_dict(), PATH)",
    )


def fill(module: nn.Module, state: Mapping[str, Tensor], where: Path) -> None:
    """Loads a state dict whole: every parameter and buffer must be there, in its shape.

    Raises:
        BackboneError: Keys are missing or unknown, or shapes differ.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith(_IGNORABLE_SUFFIX)]
    unknown = [k for k in state if k not in own]
    misshapen = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    found = [
        f"{len(names):,} {what}: {name_some(names, most=4)}"
        for what, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of wrong shape", misshapen),
        )
        if names
    ]
    if found:
        raise BackboneError(
            "These weights belong to another architecture",
            where=where,
            expected=f"the {len(own):,} tensors of {type(module).__name__}",
            found="; ".join(found),
            hint="check --weights and the backbone's name; nothing was replaced by random weights",
        )
    module.load_state_dict(dict(state), strict=False)


def pretrained(load: Callable[..., Any], source: str, name: str, **options: object) -> Any:  # noqa: ANN401
    """Calls a ``from_pretrained``: what is on this machine first, then the hub.

    Raises:
        BackboneError: Neither has it.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its five retries would stand above our one paragraph
    try:
        local = Path(source).is_dir()
        try:
            return load(source, local_files_only=True, **options)
        except (OSError, ValueError):
            if local or os.environ.get("HF_HUB_OFFLINE") == "1":
                raise
            return load(source, **options)
    # transformers raises OSError, ValueError, KeyError, RuntimeError and its own for one cause.
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BackboneError(
            f"The weights of backbone {name!r} cannot be had",
            where=source,
            expected="a Hugging Face id that can be downloaded, or a local folder with "
            "config.json and model.safetensors",
            found=first,
            hint=local_hint(name),
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def hugging_face_config(source: str, name: str, family: str | None = None) -> PretrainedConfig:
    """The configuration of a Hugging Face model, of one family if one is asked for.

    Raises:
        BackboneError: It cannot be had, or belongs to another architecture.
    """
    config: PretrainedConfig = pretrained(AutoConfig.from_pretrained, source, name)
    if family is not None and config.model_type != family:
        raise BackboneError(
            f"These weights are no {family} model",
            where=source,
            expected=f"model_type {family}",
            found=config.model_type,
            hint=local_hint(name),
        )
    return config


@dataclass(frozen=True)
class WeightsSource:
    """Where an encoder is loaded from.

    Attributes:
        model: The Hugging Face id or folder of its configuration (and weights).
        state_file: A state dict that stands in for the weights there.
    """

    model: str
    state_file: Path | None = None

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """The files that decide what is loaded, as far as they lie on this machine."""
        own = () if self.state_file is None else (self.state_file.resolve(),)
        return own + _files_of(self.model)


def locate_weights(options: BackboneOptions, published: str) -> WeightsSource:
    """Where ``--weights`` points, or the published place.

    Raises:
        BackboneError: ``--weights`` names nothing that is there.
    """
    if options.weights is None:
        return WeightsSource(published)
    path = Path(options.weights)
    if path.is_dir():
        return WeightsSource(str(path))
    if path.is_file():
        described = (path.parent / "config.json").is_file()
        return WeightsSource(str(path.parent) if described else published, path)
    raise BackboneError(
        f"--weights of backbone {options.name!r} names nothing that is there",
        where=path,
        hint=local_hint(options.name),
    )


def hugging_face_model(
    source: WeightsSource,
    name: str,
    config: PretrainedConfig,
    *,
    half: str = "",
    with_pooler: bool = True,
) -> nn.Module:
    """Loads an encoder in float32 and refuses one whose weights are not all there.

    Args:
        source: Where it is loaded from.
        name: The backbone's name, for messages.
        config: Its configuration.
        half: Attribute of the wanted half where a model has two (``vision_model``).
        with_pooler: Whether the pooler is read; if not, a checkpoint may lack it.

    Raises:
        BackboneError: The weights cannot be had, or some are missing.
    """
    if source.state_file is not None:
        return _from_state_file(source.state_file, config, with_pooler=with_pooler)
    model, report = pretrained(
        AutoModel.from_pretrained,
        source.model,
        name,
        dtype=torch.float32,
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    wrong = [key for key in missing if with_pooler or _POOLER not in key]
    wrong += [str(entry) for entry in report.get("mismatched_keys", ())]
    if wrong:
        raise BackboneError(
            f"The weights of backbone {name!r} are not complete",
            where=source.model,
            expected=f"all tensors of {type(model).__name__}",
            found=f"{len(wrong):,} missing or misshapen: {name_some(wrong, most=4)}",
            hint=local_hint(name),
        )
    if any(_POOLER in key for key in missing):
        model.pooler = None
    module: nn.Module = getattr(model, half, model) if half else model
    return module


def _from_state_file(path: Path, config: PretrainedConfig, *, with_pooler: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then all replaced
        model: nn.Module = AutoModel.from_config(config).float()  # type: ignore[no-untyped-call]
    state = read_state(path)
    prefix = f"{model.base_model_prefix}."
    if any(name.startswith(prefix) for name in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not with_pooler and not any(_POOLER in name for name in state):
        model.pooler = None  # type: ignore[assignment]
    fill(model, state, path)
    return model


def _files_of(source: str) -> tuple[Path, ...]:
    folder = Path(source)
    if folder.is_dir():
        kept = {".json", ".safetensors", ".txt", ".bin", ".model"}
        return tuple(sorted(p.resolve() for p in folder.iterdir() if p.suffix in kept))
    # The branch file changes when the hub's newest revision was fetched.
    reference = Path(HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "refs" / "main"
    return (reference,) if reference.is_file() else ()
