"""sentence-transformers: embedding models as their own ``modules.json`` describes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from jaxtyping import Bool, Int
from tokenizers import normalizers
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PretrainedConfig

from mvsa_pipe.backbones.base import Encoded
from mvsa_pipe.backbones.huggingface import HuggingFaceText, pool_tokens
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.backbones.pretrained import pretrained
from mvsa_pipe.backbones.sentence_modules import DenseRule, SentenceModules, read_modules
from mvsa_pipe.backbones.weights import WeightsSource, fill, read_weights
from mvsa_pipe.disk import make_folder
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import BackboneError, ConfigError

# What is fetched of a repository: neither ONNX nor OpenVINO files.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_FILES_OF_TORCH = ["*.bin"]
_DENSE = "sentence_dense"


class SentenceTransformer(HuggingFaceText):
    """A text encoder with the pooling, prompt and normalisation of its own ``modules.json``.

    Pooled vectors equal those of the library's ``encode``: ``--prompt``, or else the default
    prompt, is put before every text, hidden states are pooled (first token, mean, or last token),
    linear layers and normalisation follow where the model has them. Hidden states are those of the
    transformer. The library itself is not needed.

    Raises:
        BackboneError: It cannot be loaded, or has a module that is not supported.
        ConfigError: Another pooling than its own was requested.
    """

    limits_tokens = True
    _modules: SentenceModules

    def _located(self, options: BackboneOptions) -> WeightsSource:
        source = super()._located(options)
        folder = Path(source.model)
        if not folder.is_dir():
            folder = _fetched(source.model, options.name)
        self._modules = read_modules(folder, options.name)
        return WeightsSource(str(folder / self._modules.transformer), source.state_file)

    def _pooling(self, options: BackboneOptions) -> Pooling:
        own = self._modules.pooling
        if options.pooling not in (None, own):
            raise ConfigError(
                f"Backbone {options.name!r} has a pooling of its own",
                expected=f"--pooling {own.value}, or none",
                found=f"--pooling {options.pooling}",
                hint="hf-text:FOLDER reads its transformer alone, with any pooling",
            )
        return own

    def _chosen_prompt(self, options: BackboneOptions) -> str:
        return self._modules.prompt if options.prompt is None else options.prompt

    def _network(
        self, source: WeightsSource, options: BackboneOptions, config: PretrainedConfig
    ) -> nn.Module:
        network = super()._network(source, options, config)
        rules = self._modules.dense
        if not rules:
            return network
        width = int(config.hidden_size)
        if rules[-1].outputs != width:
            raise BackboneError(
                f"The vectors of backbone {options.name!r} are not as wide as its hidden states, "
                "and a cache has one width for both",
                where=source.model,
                expected=f"{width} numbers after its Dense layers",
                found=rules[-1].outputs,
                hint="hf-text:FOLDER reads its transformer alone",
            )
        dense = nn.ModuleList(rule.build() for rule in rules)
        _fill_dense(dense, rules, source, self._modules.transformer)
        network.add_module(_DENSE, dense)
        return network

    def _limit(self) -> int | None:
        # Versions of the library from 5 on write the limit into the tokenizer's configuration.
        own = self._modules.most_tokens or self._whole_tokenizer.model_max_length
        positions = super()._limit()
        return own if positions is None else min(own, positions)

    def _load_tokenizer(self, source: str, options: BackboneOptions) -> None:
        super()._load_tokenizer(source, options)
        if self._modules.lower_case:
            own = self._tokenizer.normalizer
            parts = [normalizers.Lowercase(), *([] if own is None else [own])]
            self._tokenizer.normalizer = normalizers.Sequence(parts)
        self._left_out = 0 if self._modules.pools_prompt else self._prompt_tokens()

    def _own_preprocessing(self) -> dict[str, str | int | float]:
        return {
            "prompt": self._prompt,
            "pooled_prompt": str(self._modules.pools_prompt),
            "dense": " ".join(rule.activation.__name__ for rule in self._modules.dense),
            "normalised": str(self._modules.normalised),
        }

    def describe_beside(self, folder: Path) -> None:
        """Writes configuration, tokenizer and modules."""
        super().describe_beside(folder)
        for path, content in self._modules.files.items():
            make_folder((folder / path).parent)
            write_json(folder / path, content)

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the kept layers, and the vectors after all modules."""
        hidden, last = self._states(token_ids, mask)
        pooled = pool_tokens(last[:, self._left_out :], mask[:, self._left_out :], self.pooling)
        for layer in getattr(self.module, _DENSE, ()):
            pooled = layer(pooled)
        return Encoded(hidden, normalize(pooled, dim=-1) if self._modules.normalised else pooled)


def _fetched(source: str, name: str) -> Path:
    """The folder of a model of the hub on this machine."""

    def fetch(patterns: list[str]) -> Callable[..., Any]:
        def load(model: str, *, local_files_only: bool = False, **_: object) -> str:
            return str(
                snapshot_download(model, allow_patterns=patterns, local_files_only=local_files_only)
            )

        return load

    folder = Path(pretrained(fetch(_FILES), source, name))
    if not any(folder.rglob("*.safetensors")) and not any(folder.rglob("*.bin")):
        pretrained(fetch([*_FILES, *_FILES_OF_TORCH]), source, name)
    return folder


def _fill_dense(
    dense: nn.ModuleList, rules: Sequence[DenseRule], source: WeightsSource, transformer: str
) -> None:
    """Loads the linear layers: from their own files, or from one file of all weights."""
    if source.state_file is not None:
        state = read_weights(source.state_file)
        own = {k.removeprefix(f"{_DENSE}."): v for k, v in state.items() if k.startswith(_DENSE)}
        fill(dense, own, source.state_file)
        return
    root = Path(source.model)
    root = root.parents[len(Path(transformer).parts) - 1] if transformer else root
    for layer, rule in zip(dense, rules, strict=True):
        files = [root / rule.folder / name for name in ("model.safetensors", "pytorch_model.bin")]
        file = next((file for file in files if file.is_file()), files[0])
        state = {k.replace("linear.", "0."): v for k, v in read_weights(file).items()}
        fill(layer, state, file)
