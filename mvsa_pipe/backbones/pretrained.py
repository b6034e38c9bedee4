"""Loads Hugging Face encoders; missing weights are an error and are never drawn at random."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.utils import logging as transformers_logging

from mvsa_pipe.backbones.untrusted import (
    refuse_code_of_hub,
    refuse_custom_code,
    refuse_implausible_weights,
    without_weights,
)
from mvsa_pipe.backbones.weights import (
    WeightsSource,
    fetch_hint,
    first_line,
    listed,
    local_hint,
    read_weights,
    require_finite_weights,
)
from mvsa_pipe.errors import BackboneError, MvsaError

# Checkpoints saved from a masked language model lack the pooler, which most poolings do not need.
_POOLER = "pooler."


def pretrained(
    load: Callable[..., Any], source: str, name: str, part: str = "weights", **options: object
) -> Any:  # noqa: ANN401
    """Calls ``from_pretrained``: with the files on this machine first, then with the hub.

    Args:
        load: The method.
        source: A Hugging Face id or folder.
        name: The backbone's name, for messages.
        part: What is loaded, for messages.
        **options: Passed to ``load``.

    Raises:
        BackboneError: Neither works, or the model requires custom code.
    """
    refuse_custom_code(source, name)
    options["trust_remote_code"] = False  # the default is to ask on the terminal
    with _explained(source, name, part):
        try:
            return load(source, local_files_only=True, **options)
        except (OSError, ValueError):
            if Path(source).is_dir() or os.environ.get("HF_HUB_OFFLINE") == "1":
                raise
            return load(source, **options)


@contextmanager
def _explained(source: str, name: str, part: str) -> Iterator[None]:
    """Raises every error of transformers as one paragraph."""
    try:
        with _quietly():
            yield
    except MvsaError:
        raise
    # transformers raises OSError, ValueError, KeyError, RuntimeError and others for one cause.
    except Exception as error:
        if "trust_remote_code" in str(error):
            refuse_code_of_hub(source, name)
        raise BackboneError(
            f"The {part} of backbone {name!r} cannot be loaded",
            where=source,
            expected="a Hugging Face id that can be downloaded, or a local folder with "
            "config.json, model.safetensors and its tokenizer or image processor",
            found=first_line(error),
            hint=fetch_hint(name, source, error),
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences output beside the error's paragraph: progress bars, reports, retries of the hub."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def hugging_face_config(source: str, name: str, *families: str) -> PretrainedConfig:
    """The configuration of a Hugging Face model; checks its family if some are given.

    Raises:
        BackboneError: It cannot be loaded, or belongs to another architecture.
    """
    config: PretrainedConfig = pretrained(AutoConfig.from_pretrained, source, name)
    refuse_custom_code(source, name)  # the hub's files are on this machine only now
    if families and config.model_type not in families:
        raise BackboneError(
            f"These weights are not a {families[0]} model",
            where=source,
            expected=f"model_type {' or '.join(families)}",
            found=config.model_type,
            hint=local_hint(name),
        )
    return config


def hugging_face_model(
    source: WeightsSource,
    name: str,
    config: PretrainedConfig,
    *,
    encoder: str = "",
    with_pooler: bool = True,
    architecture: Any = AutoModel,  # noqa: ANN401  # classes of transformers share no base
) -> nn.Module:
    """Loads an encoder in float32; refuses incomplete weights.

    Args:
        source: Where it is loaded from.
        name: The backbone's name, for messages.
        config: Its configuration.
        encoder: Attribute of the encoder in a model with two (``vision_model``).
        with_pooler: Whether the pooler is read; if not, a checkpoint may lack it.
        architecture: The class of transformers; by default the one that the configuration names.

    Raises:
        BackboneError: The weights cannot be loaded, some are missing, or some are not finite.
    """
    load, where = architecture.from_pretrained, source.model
    state = None if source.state_file is None else read_weights(source.state_file)
    with _explained(source.model, name, "configuration"):
        refuse_implausible_weights(config, source, name, architecture)
        if state is not None:
            load, where = _from_state(state, config, architecture), str(source.state_file)
    model, report = pretrained(
        load,
        where,
        name,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are reported, and refused below by their names
    )
    _refuse_other_architecture(model, report, source, name, with_pooler=with_pooler)
    if any(_POOLER in key for key in report["missing_keys"]):
        model.pooler = None
    module: nn.Module = getattr(model, encoder, model) if encoder else model
    require_finite_weights(module, where)
    return module


def _from_state(
    state: Mapping[str, Tensor],
    config: PretrainedConfig,
    architecture: Any,  # noqa: ANN401
) -> Callable[..., Any]:
    """A ``from_pretrained`` that loads a state dict.

    It handles older names of tensors, and tensors of other tasks' heads.
    """
    if architecture is AutoModel:
        architecture = type(without_weights(config))

    def load(_: str, **options: object) -> Any:  # noqa: ANN401
        return architecture.from_pretrained(None, config=config, state_dict=state, **options)

    return load


def _refuse_other_architecture(
    model: nn.Module,
    report: Mapping[str, Iterable[Any]],
    source: WeightsSource,
    name: str,
    *,
    with_pooler: bool,
) -> None:
    missing = sorted(k for k in report["missing_keys"] if with_pooler or _POOLER not in k)
    misshapen = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    # Left-over tensors may belong to another task's head, but not to the encoder: then the weights
    # are those of a deeper one.
    parts = {child for child, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."
    left_over = sorted(
        key
        for key in report["unexpected_keys"]
        if {key.split(".")[0], key.removeprefix(prefix).split(".")[0]} & parts
    )
    found = listed(("missing", missing), ("left over", left_over), ("of wrong shape", misshapen))
    if found:
        raise BackboneError(
            f"The weights of backbone {name!r} belong to another architecture, or are not complete",
            where=source.state_file or source.model,
            expected=f"the {len(model.state_dict()):,} tensors of {type(model).__name__} as its "
            "config.json describes it",
            found=found,
            hint=local_hint(name),
        )
