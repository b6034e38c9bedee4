"""Refuses Hugging Face folders that require custom code, or whose sizes are implausible.

Both checks read the small JSON files before transformers opens any file. Models are only built from
transformers' own classes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import nn
from transformers import AutoModel, PretrainedConfig

from mvsa_pipe.backbones.weights import WeightsSource, local_hint
from mvsa_pipe.errors import BackboneError

# The files that from_pretrained methods take class names from.
_CONFIG = "config.json"
_DESCRIPTIONS = (
    _CONFIG,
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "feature_extractor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
)
_ADAPTER = "adapter_config.json"
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json", "tokenizer_config.json")

# The longest published files are tokenizer_config.json with a thousand added tokens: 200 kB.
_MOST_BYTES = 2**24

# Keys whose values name Python code outside transformers.
_CODE_KEYS = {"auto_map", "custom_pipelines", "custom_generate"}
# A value with a slash names a repository of compiled kernels.
_KERNEL_KEYS = {"attn_implementation", "_attn_implementation", "_attn_implementation_internal"}
_KERNEL_KEYS |= {"experts_implementation", "_experts_implementation"}

# Larger than in any published encoder; a loop over more would not end.
_MOST_LAYERS, _MOST_LABELS, _MOST = 1_000, 200_000, 2**31
_LONG = 10**30  # longer numbers are not shown
# Names of fields that count layers, which are built in a loop.
_LOOPED = re.compile(r"(layers?|depths?|blocks?|stages?)$")

# Files may store four bits a weight; float32 takes eight times as much. Up to a size that
# every machine can allocate, a message with the missing tensors is better.
_LARGEST_GROWTH, _AFFORDABLE_BYTES = 8, 2**30

# Token ids of nine digits and more, as values or (in tokenizer_config.json) as keys: a tokenizer
# allocates a place for every id up to the largest.
_HUGE_ID = re.compile(rb'(?<!\\)"(?:\s*:\s*[0-9]{9,}\s*[,}\]]|[0-9]{9,}"\s*:)')
_NO_LIMIT = re.compile(rb'"[a-z_]*max_len[a-z_]*"\s*:\s*[0-9]+')
_MOST_VOCABULARY_BYTES = 2**28

_OWN_CLASSES = "a model that transformers' own classes load"


def refuse_custom_code(source: str, name: str) -> None:
    """Refuses a model that requires custom code, judged by the files on this machine.

    Args:
        source: A Hugging Face id or folder.
        name: The backbone's name, for messages.

    Raises:
        BackboneError: A description names custom code or another repository, or is implausible.
    """
    adapter = _file(source, _ADAPTER)
    if adapter is not None:
        raise BackboneError(
            f"Backbone {name!r} is an adapter, whose base model would be loaded from elsewhere",
            where=adapter,
            expected="a whole model",
            hint="merge the two with PEFT's merge_and_unload(), and save the result",
        )
    for file_name in _VOCABULARIES:
        path = _file(source, file_name)
        if path is not None:
            _refuse_huge_ids(path, name)
    for file_name in _DESCRIPTIONS:
        path = _file(source, file_name)
        if path is not None:
            description = _read(path, name)
            _refuse_code(description, path, name)
            if file_name == _CONFIG:
                _refuse_sizes(description, path, name)


def refuse_code_of_hub(source: str, name: str) -> NoReturn:
    """Refuses a model of the hub for which transformers would run custom code.

    Raises:
        BackboneError: Always.
    """
    raise _foreign_code(name, source, "its own code (auto_map)")


def without_weights(config: PretrainedConfig, architecture: Any = AutoModel) -> nn.Module:  # noqa: ANN401
    """A model that occupies no memory: the class that a configuration names, or a given one."""
    with torch.device("meta"):
        if architecture is AutoModel:
            model: nn.Module = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
            return model
        own: nn.Module = architecture(config)
        return own


def refuse_implausible_weights(
    config: PretrainedConfig,
    source: WeightsSource,
    name: str,
    architecture: Any = AutoModel,  # noqa: ANN401
) -> None:
    """Refuses a configuration with far more weights than the files beside it contain.

    transformers would allocate the missing weights and draw them at random before it reports them.

    Raises:
        BackboneError: The model would be larger than its files can fill.
    """
    stored = _stored_bytes(source)
    if stored is None:
        return
    model = without_weights(config, architecture)
    wanted = sum(4 * tensor.numel() for tensor in model.state_dict().values())
    if wanted > _LARGEST_GROWTH * stored + _AFFORDABLE_BYTES:
        raise BackboneError(
            f"The configuration of backbone {name!r} does not belong to the weights beside it",
            where=_file(source.model, _CONFIG) or source.model,
            expected=f"a model that {stored:,} bytes of weights fill",
            found=f"one of {wanted:,} bytes",
            hint=local_hint(name),
        )


def _file(source: str, file_name: str) -> Path | None:
    """A file of a Hugging Face id or folder, if it is on this machine."""
    if Path(source).is_dir():
        path = Path(source) / file_name
        return path if path.is_file() else None
    try:
        found = try_to_load_from_cache(source, file_name, cache_dir=constants.HF_HUB_CACHE)
    except ValueError:  # not a possible id of the hub
        return None
    return Path(found) if isinstance(found, str) else None


def _stored_bytes(source: WeightsSource) -> int | None:
    """Bytes of the files of weights; ``None`` if they are not on this machine yet."""
    if source.state_file is not None:
        return source.state_file.stat().st_size
    config = _file(source.model, _CONFIG)
    folder = Path(source.model) if config is None else config.parent
    files = [p for s in ("*.safetensors", "*.bin") for p in folder.glob(s) if p.is_file()]
    return sum(path.stat().st_size for path in files) or None


def _read(path: Path, name: str) -> dict[str, Any]:
    fault: object
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            fault = f"more than {_MOST_BYTES:,} bytes"
        else:
            value = json.loads(content)
            if isinstance(value, dict):
                return value
            fault = f"a JSON {type(value).__name__}"
    except (OSError, ValueError) as error:
        fault = error
    except RecursionError:
        fault = "objects nested too deeply"
    raise BackboneError(
        f"A description of backbone {name!r} cannot be read",
        where=path,
        expected="a JSON object",
        found=fault,
        hint=local_hint(name),
    )


def _refuse_huge_ids(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_VOCABULARY_BYTES + 1)
    except OSError:  # reported when the file is loaded
        return
    # "No limit" is written there as a number of 31 digits.
    huge = _HUGE_ID.search(_NO_LIMIT.sub(b"", content))
    if huge is not None or len(content) > _MOST_VOCABULARY_BYTES:
        raise BackboneError(
            f"The vocabulary of backbone {name!r} has an implausible token id",
            where=path,
            expected="ids of at most eight digits",
            found=huge.group().decode("ascii", "replace") if huge else "a file of over 256 MiB",
            hint=local_hint(name),
        )


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, at any depth; the entries of a list have the list's key."""
    left: list[tuple[str, object]] = [("", value)]
    while left:
        key, item = left.pop()
        if isinstance(item, Mapping):
            left += [(str(k), v) for k, v in item.items()]
            yield from ((str(k), v) for k, v in item.items())
        elif isinstance(item, list):
            left += [(key, v) for v in item]
            yield from ((key, v) for v in item)


def _refuse_code(description: Mapping[str, Any], path: Path, name: str) -> None:
    for key, value in _entries(description):
        is_kernel = key in _KERNEL_KEYS and isinstance(value, str) and "/" in value
        if (key in _CODE_KEYS and value) or is_kernel:
            raise _foreign_code(name, path, f"{key} {json.dumps(value)[:200]}")


def _foreign_code(name: str, where: object, found: str) -> BackboneError:
    return BackboneError(
        f"Backbone {name!r} comes with its own Python code, which mvsa-pipe never runs",
        where=where,
        expected=_OWN_CLASSES,
        found=found,
        hint="choose a model without custom code; if transformers has its architecture, save it "
        "again from there with save_pretrained()",
    )


def _refuse_sizes(description: Mapping[str, Any], path: Path, name: str) -> None:
    for key, value in _entries(description):
        if not isinstance(value, int):
            continue
        most = _MOST_LABELS if key == "num_labels" else _MOST
        most = _MOST_LAYERS if _LOOPED.search(key) else most
        if abs(value) > most:
            raise BackboneError(
                f"The configuration of backbone {name!r} has an implausible number",
                where=path,
                expected=f"{key} of at most {most:,}",
                found=f"{value:,}" if abs(value) < _LONG else "a number of many digits",
                hint=local_hint(name),
            )
