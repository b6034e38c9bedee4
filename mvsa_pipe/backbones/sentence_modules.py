"""What a sentence-transformers folder does after its transformer, read from its ``modules.json``.

Only configurations are read, and only modules of the library itself are known: nothing of a folder
is imported or run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from mvsa_pipe.backbones.options import Pooling
from mvsa_pipe.errors import BackboneError

MODULES_FILE = "modules.json"
_PROMPTS_FILE = "config_sentence_transformers.json"
_MOST_BYTES = 2**24

# Earlier versions of the library write another file for each architecture.
_LENGTH_FILES = ("sentence_bert_config.json", "sentence_roberta_config.json",
                 "sentence_distilbert_config.json", "sentence_camembert_config.json",
                 "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
                 "sentence_xlnet_config.json")  # fmt: skip

_POOLINGS = {"cls": Pooling.CLS, "mean": Pooling.MEAN, "lasttoken": Pooling.LAST}
# The keys of earlier versions, in which each mode was a truth value.
_FORMER_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}


@dataclass(frozen=True)
class DenseRule:
    """A linear layer after pooling.

    Attributes:
        folder: The folder of its weights.
        inputs: Width of its input.
        outputs: Width of its output.
        bias: Whether it adds one.
        activation: Class of its activation.
    """

    folder: str
    inputs: int
    outputs: int
    bias: bool
    activation: type[nn.Module]

    def build(self) -> nn.Sequential:
        """The layer, with weights that are still to be loaded."""
        return nn.Sequential(nn.Linear(self.inputs, self.outputs, self.bias), self.activation())


@dataclass(frozen=True)
class SentenceModules:
    """The steps from texts to vectors.

    Attributes:
        transformer: The transformer's folder below the model's; empty for the same.
        most_tokens: Texts are cut at this many tokens; ``None`` where the transformer decides.
        lower_case: Whether texts are converted to lower case first.
        pooling: How hidden states become one vector.
        dense: Linear layers after it.
        normalised: Whether vectors have length one.
        prompt: What is put before every text.
        pools_prompt: Whether the prompt's tokens are pooled too.
        files: The configurations, by path, with the transformer in the model's own folder.
    """

    transformer: str = ""
    most_tokens: int | None = None
    lower_case: bool = False
    pooling: Pooling = Pooling.MEAN
    dense: tuple[DenseRule, ...] = ()
    normalised: bool = False
    prompt: str = ""
    pools_prompt: bool = True
    files: Mapping[str, Any] = field(default_factory=dict)


def read_modules(folder: Path, name: str) -> SentenceModules:
    """Reads ``modules.json`` and the configurations that it names.

    Raises:
        BackboneError: A file is missing or damaged, or a module is not supported.
    """
    modules = _read(folder / MODULES_FILE, name, list)
    kinds = [_kind(module, folder, name) for module in modules]
    paths = [str(module.get("path", "")) for module in modules]
    _require_order(kinds, folder, name)
    _require_inside(paths, folder, name)
    pooling = _read(folder / paths[1] / "config.json", name)
    length_file = next((f for f in _LENGTH_FILES if (folder / paths[0] / f).is_file()), None)
    lengths = _read(folder / paths[0] / length_file, name) if length_file else {}
    prompts = folder / _PROMPTS_FILE
    about = _read(prompts, name) if prompts.is_file() else {}
    configs = {
        path: _read(folder / path / "config.json", name)
        for kind, path in zip(kinds, paths, strict=True)
        if kind == "Dense"
    }
    files = {
        MODULES_FILE: [{**modules[0], "path": ""}, *modules[1:]],
        f"{paths[1]}/config.json": pooling,
        _LENGTH_FILES[0]: lengths,
        _PROMPTS_FILE: about,
        **{f"{path}/config.json": config for path, config in configs.items()},
    }
    return SentenceModules(
        transformer=paths[0],
        most_tokens=int(lengths["max_seq_length"]) if lengths.get("max_seq_length") else None,
        lower_case=bool(lengths.get("do_lower_case")),
        pooling=_pooling(pooling, folder / paths[1], name),
        dense=tuple(_dense(path, config, folder, name) for path, config in configs.items()),
        normalised="Normalize" in kinds,
        prompt=_prompt(about, prompts, name),
        pools_prompt=bool(pooling.get("include_prompt", True)),
        files=files,
    )


def _read(path: Path, name: str, kind: type[Any] = dict) -> Any:  # noqa: ANN401  # any JSON value
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
        if not isinstance(value, kind):
            raise TypeError(f"a JSON {type(value).__name__}")
        if kind is list and not all(isinstance(module, dict) for module in value):
            raise TypeError("entries that are no JSON objects")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BackboneError(
            f"The folder of backbone {name!r} is no sentence-transformers model",
            where=path,
            expected=f"a JSON {'list' if kind is list else 'object'}, as the library's save() "
            "writes it",
            found=error,
            hint="a plain Hugging Face folder is read by hf-text:FOLDER",
        ) from error
    return value


def _kind(module: Mapping[str, Any], folder: Path, name: str) -> str:
    """The class of a module of the library, without its package."""
    path = str(module.get("type", ""))
    package, _, kind = path.rpartition(".")
    if package.partition(".")[0] != "sentence_transformers":
        raise BackboneError(
            f"Backbone {name!r} comes with its own Python code, which mvsa-pipe never runs",
            where=folder / MODULES_FILE,
            expected="modules of sentence_transformers itself",
            found=path,
            hint="choose a model without custom code",
        )
    return kind


def _require_order(kinds: list[str], folder: Path, name: str) -> None:
    after = [kind for kind in kinds[2:] if kind != "Dense"]
    if kinds[:2] != ["Transformer", "Pooling"] or after not in ([], ["Normalize"]):
        _refuse(
            folder / MODULES_FILE,
            name,
            "Transformer, Pooling, then Dense layers and Normalize if any",
            ", ".join(kinds),
        )
    if after and kinds[-1] != "Normalize":
        _refuse(folder / MODULES_FILE, name, "Normalize as the last module", ", ".join(kinds))


def _require_inside(paths: list[str], folder: Path, name: str) -> None:
    """Refuses modules outside of the folder."""
    root = folder.resolve()
    outside = [p for p in paths if not (root / p).absolute().is_relative_to(root) or ".." in p]
    if outside:
        _refuse(folder / MODULES_FILE, name, "folders inside of the model's", outside[0])


def _pooling(config: Mapping[str, Any], folder: Path, name: str) -> Pooling:
    modes: Any = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _FORMER_MODES.items() if config.get(key)]
    named = list(map(str, modes)) if isinstance(modes, list) else [str(modes)]
    if len(named) != 1 or named[0] not in _POOLINGS:
        _refuse(folder / "config.json", name, "one of cls, mean and lasttoken", ", ".join(named))
    return _POOLINGS[named[0]]


def _dense(path: str, config: Mapping[str, Any], folder: Path, name: str) -> DenseRule:
    where = folder / path / "config.json"
    package, _, kind = str(
        config.get("activation_function", "torch.nn.modules.activation.Tanh")
    ).rpartition(".")
    if not package.startswith("torch.nn.") or kind not in _ACTIVATIONS:
        _refuse(where, name, f"an activation of {', '.join(_ACTIVATIONS)}", f"{package}.{kind}")
    inputs = config.get("module_input_name", "sentence_embedding")
    if config.get("use_residual") or inputs != "sentence_embedding":
        _refuse(where, name, "a layer from the sentence's vector to another", dict(config))
    try:
        sizes = int(config["in_features"]), int(config["out_features"])
    except (KeyError, TypeError, ValueError):
        _refuse(where, name, "in_features and out_features", dict(config))
    return DenseRule(path, *sizes, bool(config.get("bias", True)), _ACTIVATIONS[kind])


def _prompt(about: Mapping[str, Any], where: Path, name: str) -> str:
    """The prompt that the library's ``encode`` puts before every text."""
    prompts, chosen = about.get("prompts") or {}, about.get("default_prompt_name")
    if chosen is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(chosen), str):
        _refuse(where, name, "a prompt of the name default_prompt_name", chosen)
    return str(prompts[chosen])


def _refuse(where: Path, name: str, expected: str, found: object) -> NoReturn:
    raise BackboneError(
        f"The sentence-transformers model {name!r} has a module that is not supported",
        where=where,
        expected=expected,
        found=found,
        hint="hf-text:FOLDER reads its transformer alone, with --pooling cls, mean or last",
    )
