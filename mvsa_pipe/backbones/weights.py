"""Finds, reads and replaces weights; missing ones are an error and are never drawn at random."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file
from torch import Tensor, nn

from mvsa_pipe.backbones import traits
from mvsa_pipe.backbones.base import Backbone, weights_digest
from mvsa_pipe.backbones.options import TUNED_MARK, BackboneOptions
from mvsa_pipe.errors import BackboneError, ConfigError, name_some

# Batch counters, which do not affect the output.
_IGNORABLE_SUFFIX = "num_batches_tracked"
# Suffixes of files that ``read_weights`` reads.
_WEIGHTS_FILES = (".safetensors", ".pth", ".pt", ".bin")


def local_hint(name: str) -> str:
    """The hint of messages about missing weights."""
    return (
        f"point to weights on this machine: --weights {name}=PATH, "
        "where PATH is a Hugging Face folder or a .safetensors or .pth file"
    )


def fetch_hint(name: str, source: str, error: BaseException) -> str:
    """The hint of messages about weights that could not be fetched: gated ones have terms first.

    Args:
        name: The backbone's name.
        source: The Hugging Face id, or the name that a library has for it.
        error: What the library raised.
    """
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    known = traits(name.partition(":")[0]).models
    gated = next((m for m in known if m.gated and (m.source == source or m.name == name)), None)
    if gated is None and not any(isinstance(each, GatedRepoError) for each in causes):
        return local_hint(name)
    model, licence = (source, "") if gated is None else (gated.source, f" ({gated.licence})")
    return (
        f"accept its terms{licence} on the page of {model} on the hub, sign in by hf auth login, "
        f"and repeat; or {local_hint(name)}"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from a safetensors file, or from a ``.pth`` file without unpickling code.

    Raises:
        BackboneError: The file is missing, damaged, or contains other things than tensors.
    """
    if not path.is_file():
        inside = [file for file in sorted(path.glob("*")) if file.suffix in _WEIGHTS_FILES]
        raise BackboneError(
            "There is no weights file here",
            where=path,
            expected="a .safetensors or .pth file",
            found="a folder" if path.is_dir() else "nothing",
            hint=f"name the file in it: {inside[0]}" if inside else None,
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a damaged or hostile file can raise anything
        raise BackboneError(
            "This weights file cannot be read safely",
            where=path,
            expected="a safetensors file, or a .pth file with only tensors",
            found=first_line(error),
            hint="save it again with safetensors.torch.save_file(model.state_dict(), PATH)",
        ) from error
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneError(
            "This file contains no state dict", where=path, expected="names of tensors"
        )
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def first_line(error: Exception) -> str:
    """The first line of an error for a message, or else its class.

    torch's advice to load a pickled file without ``weights_only`` is left out, as that runs code.
    """
    if "weights_only" in str(error) or isinstance(error, pickle.UnpicklingError):
        return "it is damaged or contains objects other than tensors, which could run code"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def fill(module: nn.Module, state: Mapping[str, Tensor], where: Path) -> None:
    """Loads a complete state dict: every parameter and buffer must exist, with its shape.

    Raises:
        BackboneError: Keys are missing or unknown, shapes differ, or weights are not finite.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith(_IGNORABLE_SUFFIX)]
    unknown = [k for k in state if k not in own]
    misshapen = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    found = listed(("missing", missing), ("unknown", unknown), ("of wrong shape", misshapen))
    if found:
        raise BackboneError(
            "These weights belong to another architecture",
            where=where,
            expected=f"the {len(own):,} tensors of {type(module).__name__}",
            found=found,
            hint="check --weights and the backbone's name; nothing was replaced by random weights",
        )
    module.load_state_dict(dict(state), strict=False)
    require_finite_weights(module, where)


def require_finite_weights(module: nn.Module, where: object) -> None:
    """Refuses weights with NaN or infinite values.

    Raises:
        BackboneError: A parameter is NaN or infinite.
    """
    # a sum is finite only if all its terms are, and costs a fraction of testing each
    hit = [
        name
        for name, values in module.named_parameters()
        if not values.sum().isfinite() and not values.isfinite().all()
    ]
    if hit:
        raise BackboneError(
            "These weights are not all finite numbers: some are NaN or infinite",
            where=where,
            found=name_some(hit, most=4),
            hint="the file was damaged, or the training that wrote it diverged",
        )


@dataclass(frozen=True)
class WeightsSource:
    """Where an encoder is loaded from.

    Attributes:
        model: The Hugging Face id or folder of its configuration (and weights).
        state_file: A state dict that replaces the weights there.
    """

    model: str
    state_file: Path | None = None

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """The files on this machine that determine what is loaded."""
        own = () if self.state_file is None else (self.state_file.resolve(),)
        return own + _files_of(self.model)


def locate_weights(options: BackboneOptions, published: str) -> WeightsSource:
    """The location of ``--weights``, or the published one.

    Raises:
        BackboneError: The path of ``--weights`` does not exist.
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
        f"--weights of backbone {options.name!r} names a path that does not exist",
        where=path,
        hint=local_hint(options.name),
    )


def listed(*groups: tuple[str, Sequence[str]]) -> str:
    """The wrong tensors by group; empty if there are none."""
    return "; ".join(
        f"{len(names):,} {what}: {name_some(names, most=4)}" for what, names in groups if names
    )


def require_library_name(options: BackboneOptions, library: str) -> None:
    """Refuses a folder or an address where a library expects the name of one of its models.

    timm and open_clip take ``local-dir:`` and ``hf-hub:``, whose files choose classes and sizes.

    Raises:
        ConfigError: The argument is no name.
    """
    name = options.argument
    if ":" in name or Path(name).is_dir():
        raise ConfigError(
            f"Backbone {options.family!r} takes the name of a model of {library}, no folder or "
            "address: it builds nothing that files describe",
            expected=f"{options.family}:NAME, with weights of a file by --weights "
            f"{options.family}:NAME=FILE.safetensors",
            found=name,
            hint=f"hf-{options.modality}:FOLDER reads a Hugging Face model",
        )


def has_file(source: str, name: str) -> bool:
    """Whether a Hugging Face id or folder has a file of that name on this machine."""
    if Path(source).is_dir():
        return (Path(source) / name).is_file()
    return isinstance(try_to_load_from_cache(source, name, cache_dir=constants.HF_HUB_CACHE), str)


def _files_of(source: str) -> tuple[Path, ...]:
    folder = Path(source)
    if folder.is_dir():
        kept = {".json", ".safetensors", ".txt", ".bin", ".model"}
        files = sorted(p.resolve() for p in folder.iterdir() if p.suffix in kept)
        return (folder.resolve(), *files)  # the folder changes when a file is added to it
    # The branch file changes when a newer revision is downloaded.
    model = f"models--{source.replace('/', '--')}"
    reference = Path(constants.HF_HUB_CACHE) / model / "refs" / "main"
    return (reference,) if reference.is_file() else ()


def load_tuned_weights(backbone: Backbone, path: str) -> None:
    """Replaces all weights of a loaded backbone and marks its name.

    The mark distinguishes tuned from published features; the digest of the weights distinguishes
    tunings, independent of the file's path.

    Raises:
        BackboneError: The file cannot be read, or belongs to another architecture.
    """
    file = Path(path)
    replace_weights(backbone, file)
    backbone.identity = replace(
        backbone.identity,
        name=f"{backbone.identity.name}{TUNED_MARK}",
        witnesses=(*backbone.identity.witnesses, file.resolve()),
    )


def replace_weights(backbone: Backbone, file: Path) -> None:
    """Replaces all weights of a loaded backbone; it keeps its name.

    Raises:
        BackboneError: As ``load_tuned_weights``.
    """
    fill(backbone.module, read_weights(file), file)
    backbone.freeze()
    backbone.identity = replace(backbone.identity, weights=weights_digest(backbone.module))
