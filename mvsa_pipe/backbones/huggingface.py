"""Text and image encoders of Hugging Face, by id or folder."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoTokenizer, PretrainedConfig

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    ImageBackbone,
    TextBackbone,
    cells,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.hidden_layers import layer_arguments, layers_in, select_layers
from mvsa_pipe.backbones.options import DECODER, BackboneOptions, Pooling
from mvsa_pipe.backbones.pretrained import hugging_face_config, hugging_face_model, pretrained
from mvsa_pipe.backbones.weights import WeightsSource, has_file, local_hint, locate_weights
from mvsa_pipe.errors import BackboneError, ConfigError
from mvsa_pipe.layers import Layers
from mvsa_pipe.pooling import mean_over_tokens


class HuggingFaceText(TextBackbone):
    """A text encoder that ``AutoModel`` and ``AutoTokenizer`` load.

    Attributes:
        default_pooling: The pooling without ``--pooling``.
        limits_tokens: Whether a model with fewer positions than the default of ``--max-tokens``
            cuts texts at its own limit, instead of refusing.

    Raises:
        BackboneError: It cannot be loaded, or is no encoder of texts.
        ConfigError: It has no pooler, and ``pooler`` was requested.
    """

    default_pooling: ClassVar[Pooling] = Pooling.MEAN
    limits_tokens: ClassVar[bool] = False

    def __init__(self, options: BackboneOptions) -> None:
        source = self._located(options)
        self.pooling = self._pooling(options)
        self._prompt = self._chosen_prompt(options)
        config = self._config(source, options)
        if getattr(config, "is_encoder_decoder", False):
            raise BackboneError(
                "This model is an encoder with a decoder; only encoders give hidden states of "
                "a text alone",
                where=source.model,
                found=config.model_type,
            )
        self.module = self._network(source, options, config)
        self.freeze()
        if self.pooling is Pooling.POOLER and not self._has_pooler():
            raise ConfigError(
                f"Backbone {options.name!r} has no pooler", expected="--pooling cls or mean"
            )
        self.width = int(self.module.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._load_tokenizer(source.model, options)
        self.max_tokens = options.tokens_within(self._limit(), by_default=self.limits_tokens)
        self._require_room_for_text()
        self._options = options
        if options.layers is not Layers.LAST:
            ids = torch.from_numpy(self.tokenize(["a"])[0])[None]
            with torch.inference_mode():
                self.layers = layers_in(self.encode(ids, torch.ones_like(ids).bool()).hidden)
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={
                "max_tokens": self.max_tokens,
                "tokenizer": self._tokenizer_digest(),
                **self._own_preprocessing(),
            },
            layers=options.layers.value,
            pooling=self.pooling.value,
            witnesses=source.witnesses,
        )

    def _located(self, options: BackboneOptions) -> WeightsSource:
        return locate_weights(options, self._published(options))

    def _published(self, options: BackboneOptions) -> str:
        return options.argument

    def _pooling(self, options: BackboneOptions) -> Pooling:
        return options.pooling or self.default_pooling

    def _chosen_prompt(self, options: BackboneOptions) -> str:
        """What is put before every text."""
        return options.prompt or ""

    def _prompt_tokens(self) -> int:
        """Number of tokens before the text, an opening special token included; 0 without prompt."""
        return len(self._tokenizer.encode(self._prompt).ids) - self._closing if self._prompt else 0

    def _require_room_for_text(self) -> None:
        needed = self._prompt_tokens() + self._closing
        if self._prompt and needed >= self.max_tokens:
            raise ConfigError(
                "The prompt leaves no room for a text, so that all features would be equal",
                expected=f"--max-tokens of more than {needed}, or a shorter --prompt",
                found=f"{needed} tokens of {self._prompt!r}, and --max-tokens {self.max_tokens}",
            )

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        return hugging_face_config(source.model, options.name)

    def _network(
        self, source: WeightsSource, options: BackboneOptions, config: PretrainedConfig
    ) -> nn.Module:
        return hugging_face_model(
            source,
            options.name,
            config,
            encoder="text_model",
            with_pooler=self.pooling is Pooling.POOLER,
        )

    def _has_pooler(self) -> bool:
        return getattr(self.module, "pooler", None) is not None

    def _limit(self) -> int | None:
        return _positions(self.module)

    def _own_preprocessing(self) -> dict[str, str | int | float]:
        """Fields of the fingerprint beside the tokenizer and the number of tokens."""
        return {"prompt": self._prompt} if self._prompt else {}

    def _load_tokenizer(self, source: str, options: BackboneOptions) -> None:
        tokenizer = pretrained(AutoTokenizer.from_pretrained, source, options.name, "tokenizer")
        # Without its files, transformers makes an empty tokenizer to which every word is unknown.
        names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
        if not getattr(tokenizer, "is_fast", False) or not any(has_file(source, n) for n in names):
            raise BackboneError(
                f"Backbone {options.name!r} comes without its tokenizer, or with one that has no "
                "fast form",
                where=source,
                expected="tokenizer.json, or files that convert to it",
                hint="put them beside its config.json",
            )
        self._whole_tokenizer = tokenizer
        self._tokenizer = tokenizer.backend_tokenizer
        # A tokenizer.json can contain truncation and padding, which are set by options here.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._closing = _closing_tokens(self._tokenizer.encode("a").special_tokens_mask)
        self.pad_id = int(tokenizer.pad_token_id or 0)

    def describe_beside(self, folder: Path) -> None:
        """Writes configuration and tokenizer."""
        self.module.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        self._whole_tokenizer.save_pretrained(folder)

    def _tokenizer_digest(self) -> str:
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()[:32]

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of every text after the prompt, uncut, special tokens included."""
        encodings = self._tokenizer.encode_batch_fast([self._prompt + text for text in texts])
        return [np.asarray(e.ids or [self.pad_id], dtype=np.int32) for e in encodings]

    def cut(self, token_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The first ``max_tokens`` tokens, including the closing special tokens."""
        if len(token_ids) <= self.max_tokens:
            return token_ids
        head = token_ids[: self.max_tokens - self._closing]
        return np.concatenate([head, token_ids[len(token_ids) - self._closing :]])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each kept token in the text; equal for tokens of the prompt."""
        offsets = self._tokenizer.encode(self._prompt + text).offsets or [(0, 0)]
        before = len(self._prompt)
        return [
            (max(offsets[at][0] - before, 0), max(offsets[at][1] - before, 0))
            for at in self.cut(np.arange(len(offsets), dtype=np.int32))
        ]

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the kept layers, and the pooled vector of the last."""
        if self.pooling is not Pooling.POOLER:
            hidden, last = self._states(token_ids, mask)
            return Encoded(hidden, pool_tokens(last, mask, self.pooling))
        output = self._output(token_ids, mask)
        hidden = select_layers(output, output.last_hidden_state.float(), self._options)
        return Encoded(hidden, output.pooler_output.float())

    def _output(self, token_ids: Tensor, mask: Tensor) -> Any:  # noqa: ANN401  # one class a model
        asked = layer_arguments(self._options.layers)
        return self.module(input_ids=token_ids.long(), attention_mask=mask.long(), **asked)

    def _states(self, token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of the kept layers, and of the last."""
        output = self._output(token_ids, mask)
        last = output.last_hidden_state.float()
        return select_layers(output, last, self._options), last


def pool_tokens(
    hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], pooling: Pooling
) -> Float[Tensor, "B D"]:
    """The first or last real token of each text, or the mean of all."""
    if pooling is Pooling.CLS:
        return hidden[:, 0]
    if pooling is Pooling.LAST:
        last = mask.sum(dim=1) - 1
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    return mean_over_tokens(hidden, mask)


def _positions(module: nn.Module) -> int | None:
    """Number of positions of a text encoder; ``None`` if it has no limit."""
    limit = getattr(module.config, "max_position_embeddings", None)
    table = getattr(getattr(module, "embeddings", None), "position_embeddings", None)
    # RoBERTa and similar models count positions from the one after the padding's.
    padding = getattr(table, "padding_idx", None)
    return limit if limit is None or padding is None else limit - padding - 1


def _closing_tokens(special: Sequence[int]) -> int:
    """Number of special tokens after the text, from the mask of special tokens."""
    own = [place for place, is_special in enumerate(special) if not is_special]
    return len(special) - 1 - own[-1] if own else 0


class HuggingFaceImage(ImageBackbone):
    """An image encoder that ``AutoModel`` and ``AutoImageProcessor`` load.

    Tokens are the hidden states of the last layer or of several, or the cells of the last feature
    map; the pooled vector is the model's own, or else the mean of the tokens.

    Raises:
        BackboneError: It cannot be loaded, or returns no hidden states.
    """

    def __init__(self, options: BackboneOptions) -> None:
        source = locate_weights(options, self._published(options))
        self.module = self._network(source, options, self._config(source, options))
        self.freeze()
        self._processor = pretrained(
            AutoImageProcessor.from_pretrained,
            source.model,
            options.name,
            "image processor",
            backend="pil",
        )
        self._lock = threading.Lock()
        self._options = options
        self._measure(options)
        rule = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={"processor": rule, "decoder": DECODER},
            layers=options.layers.value,
            pooling=self._pooling_name(options),
            witnesses=source.witnesses,
        )

    def _published(self, options: BackboneOptions) -> str:
        return options.argument

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        return hugging_face_config(source.model, options.name)

    def _network(
        self, source: WeightsSource, options: BackboneOptions, config: PretrainedConfig
    ) -> nn.Module:
        return hugging_face_model(
            source, options.name, config, encoder="vision_model", with_pooler=False
        )

    def _pooling_name(self, options: BackboneOptions) -> str:  # noqa: ARG002  # of two towers
        return "own"

    def _measure(self, options: BackboneOptions) -> None:
        """Determines ``P``, ``D`` and the number of layers with one grey picture."""
        self._pixels_shape: tuple[int, ...] | None = None
        grey = self.prepare(Image.new("RGB", (320, 240), (128, 128, 128)))
        try:
            with torch.inference_mode():
                hidden, _ = self.encode(torch.from_numpy(grey[None]))
        except (AttributeError, TypeError, ValueError) as error:
            raise BackboneError(
                f"Backbone {options.name!r} gives no hidden states of a picture alone",
                found=error,
                hint=local_hint(options.name),
            ) from error
        self.tokens, self.width = int(hidden.shape[1]), int(hidden.shape[-1])
        self.layers = layers_in(hidden)
        self._pixels_shape = grey.shape

    def describe_beside(self, folder: Path) -> None:
        """Writes configuration and image processor."""
        self.module.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        self._processor.save_pretrained(folder)

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """Output of the model's own processor, ``[3, H, W]``."""
        with self._lock:  # processors may not be thread-safe
            output = self._processor(images=picture, return_tensors="np")
        pixels = np.asarray(output["pixel_values"][0], dtype=np.float32)
        if self._pixels_shape not in (None, pixels.shape):
            raise BackboneError(
                "This model's processor makes pictures of different sizes, which cannot be batched",
                where=self.identity.name,
                expected=f"{self._pixels_shape} for every picture",
                found=pixels.shape,
            )
        return pixels

    def encode(self, pixels: Tensor) -> Encoded:
        """Hidden states of the kept layers or feature-map cells, and their pooled vector."""
        output = self.module(pixel_values=pixels, **layer_arguments(self._options.layers))
        last = output.last_hidden_state.float()
        last = cells(last) if last.dim() == 4 else last
        hidden = select_layers(output, last, self._options)
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            return Encoded(hidden, last.mean(dim=1))
        return Encoded(hidden, pooled.float().flatten(start_dim=1))
