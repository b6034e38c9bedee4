"""clip and siglip2: two encoders, of texts and of pictures, whose vectors share a space."""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PretrainedConfig,
    SiglipTextModel,
    SiglipVisionModel,
)

from mvsa_pipe.backbones.base import Encoded
from mvsa_pipe.backbones.hidden_layers import layer_arguments, select_layers
from mvsa_pipe.backbones.huggingface import HuggingFaceImage, HuggingFaceText, pool_tokens
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.backbones.pretrained import hugging_face_config, hugging_face_model
from mvsa_pipe.backbones.weights import WeightsSource
from mvsa_pipe.errors import BackboneError, ConfigError
from mvsa_pipe.layers import Layers


class ClipText(HuggingFaceText):
    """CLIP's text tower (Radford et al. 2021), cut at its 77 positions.

    Hidden states are those of the last layer after its norm. The pooled vector is that of the
    closing token after the projection into the shared space (``projected``), before it
    (``pooler``), or the mean of all tokens (``mean``).

    Attributes:
        published: The Hugging Face id without an argument.
        architecture: The tower's class in transformers.
        model_types: Configurations that it loads: of both towers, and of this one alone.
    """

    default_pooling = Pooling.PROJECTED
    limits_tokens = True
    published: ClassVar[str] = "openai/clip-vit-base-patch32"
    architecture: ClassVar[Any] = CLIPTextModelWithProjection
    model_types: ClassVar[tuple[str, ...]] = ("clip", "clip_text_model")

    def _published(self, options: BackboneOptions) -> str:
        return options.argument or self.published

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        config = hugging_face_config(source.model, options.name, *self.model_types)
        tower: PretrainedConfig = getattr(config, "text_config", config)
        return tower

    def _network(
        self, source: WeightsSource, options: BackboneOptions, config: PretrainedConfig
    ) -> nn.Module:
        network = hugging_face_model(source, options.name, config, architecture=self.architecture)
        if self.pooling is Pooling.PROJECTED:
            _require_one_width(self._projection(network), config, options)
        return network

    def _has_pooler(self) -> bool:
        return True

    @staticmethod
    def _projection(network: nn.Module) -> nn.Linear:
        return network.text_projection  # type: ignore[return-value]

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the kept layers, and the closing token's vector or the mean."""
        output = self.module.text_model(  # type: ignore[operator]
            input_ids=token_ids.long(),
            attention_mask=mask.long(),
            **layer_arguments(self._options.layers),
        )
        last = output.last_hidden_state.float()
        hidden = select_layers(output, last, self._options)
        if self.pooling is Pooling.MEAN:
            return Encoded(hidden, pool_tokens(last, mask, self.pooling))
        pooled = output.pooler_output
        if self.pooling is Pooling.PROJECTED:
            pooled = self._projection(self.module)(pooled)
        return Encoded(hidden, pooled.float())


class SiglipText(ClipText):
    """SigLIP 2's text tower (Tschannen et al. 2025), whose texts are padded to a fixed length.

    It attends to the padding, as in its training, so that every text is padded to all positions
    here, whatever the batch; only the hidden states of real tokens are returned. The pooled vector
    is that of the last position after the projection (``projected``) or before it (``pooler``), or
    the mean of the real tokens.
    """

    published = "google/siglip2-base-patch16-224"
    architecture = SiglipTextModel
    model_types = ("siglip", "siglip_text_model")

    @staticmethod
    def _projection(network: nn.Module) -> nn.Linear:
        return network.head  # type: ignore[return-value]

    def _own_preprocessing(self) -> dict[str, str | int | float]:
        return {"padding": f"{self._whole_tokenizer.padding_side} to {self._limit()}"}

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the kept layers, and the last position's vector or the mean."""
        length = int(self.module.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
        on_left = self._whole_tokenizer.padding_side == "left"
        padded, places = _padded_to(length, token_ids, mask, self.pad_id, on_left=on_left)
        asked = layer_arguments(self._options.layers)
        output = self.module(input_ids=padded, **asked)
        whole = output.last_hidden_state.float()
        hidden = _at(places, select_layers(output, whole, self._options))
        if self.pooling is Pooling.MEAN:
            return Encoded(hidden, pool_tokens(_at(places, whole), mask, self.pooling))
        pooled = output.pooler_output if self.pooling is Pooling.PROJECTED else whole[:, -1]
        return Encoded(hidden, pooled.float())


class ClipImage(HuggingFaceImage):
    """CLIP's image tower (Radford et al. 2021): CLS and patches.

    The pooled vector is that of CLS after the projection into the shared space (``projected``),
    before it (``pooler``), or the mean of all tokens (``mean``). Hidden states are those of the
    last layer. A cache has one width: where the projection changes it, ``projected`` projects every
    token as it does CLS, so that the first token is the pooled vector.

    Attributes:
        published: The Hugging Face id without an argument.
        architecture: The tower's class in transformers.
        model_types: Configurations that it loads: of both towers, and of this one alone.
    """

    published: ClassVar[str] = "openai/clip-vit-base-patch32"
    architecture: ClassVar[Any] = CLIPVisionModelWithProjection
    model_types: ClassVar[tuple[str, ...]] = ("clip", "clip_vision_model")

    def _published(self, options: BackboneOptions) -> str:
        return options.argument or self.published

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        config = hugging_face_config(source.model, options.name, *self.model_types)
        tower: PretrainedConfig = getattr(config, "vision_config", config)
        return tower

    def _network(
        self, source: WeightsSource, options: BackboneOptions, config: PretrainedConfig
    ) -> nn.Module:
        self.pooling = options.pooling or Pooling.PROJECTED
        network = hugging_face_model(source, options.name, config, architecture=self.architecture)
        self._check(network, options)
        return network

    def _check(self, network: nn.Module, options: BackboneOptions) -> None:
        """Refuses layers in a space to which they are not projected."""
        projection: nn.Linear = network.visual_projection  # type: ignore[assignment]
        self._projects = self.pooling is Pooling.PROJECTED and (
            projection.in_features != projection.out_features
        )
        if self._projects and options.layers is not Layers.LAST:
            raise ConfigError(
                f"Only the last layer of backbone {options.name!r} can be projected into the "
                "space of texts",
                expected="--layers last, or --pooling pooler",
                found=f"--layers {options.layers}",
            )

    def _pooling_name(self, options: BackboneOptions) -> str:
        return (options.pooling or Pooling.PROJECTED).value

    def encode(self, pixels: Tensor) -> Encoded:
        """Hidden states of the kept layers, and CLS's vector or the mean."""
        tower: Any = self.module.vision_model
        output = tower(pixel_values=pixels, **layer_arguments(self._options.layers))
        last = output.last_hidden_state.float()
        if self._projects:
            hidden = self.module.visual_projection(tower.post_layernorm(last)).float()  # type: ignore[operator]
            return Encoded(hidden, hidden[:, 0])
        hidden = select_layers(output, last, self._options)
        if self.pooling is Pooling.MEAN:
            return Encoded(hidden, last.mean(dim=1))
        pooled = output.pooler_output
        if self.pooling is Pooling.PROJECTED:
            pooled = self.module.visual_projection(pooled)  # type: ignore[operator]
        return Encoded(hidden, pooled.float())


class SiglipImage(ClipImage):
    """SigLIP 2's image tower of fixed resolution (Tschannen et al. 2025): patches, without CLS.

    The pooled vector is that of its attention pooling, which lies in the shared space
    (``projected``), or the mean of the patches (``mean``). Hidden states are those of the last
    layer after its norm.
    """

    published = "google/siglip2-base-patch16-224"
    architecture = SiglipVisionModel
    model_types = ("siglip", "siglip_vision_model")

    def _check(self, network: nn.Module, options: BackboneOptions) -> None:
        if self.pooling is Pooling.PROJECTED and getattr(network, "head", None) is None:
            raise BackboneError(
                f"Backbone {options.name!r} has no attention pooling",
                expected="vision_use_head in its configuration",
                hint="choose --pooling mean",
            )

    def encode(self, pixels: Tensor) -> Encoded:
        """Hidden states of the kept layers, and the pooled vector or the mean."""
        output = self.module(pixel_values=pixels, **layer_arguments(self._options.layers))
        last = output.last_hidden_state.float()
        pooled = last.mean(dim=1) if self.pooling is Pooling.MEAN else output.pooler_output.float()
        return Encoded(select_layers(output, last, self._options), pooled)


def _require_one_width(
    projection: nn.Linear, config: PretrainedConfig, options: BackboneOptions
) -> None:
    """Refuses a projection of a text tower to another width, which a cache cannot store."""
    if projection.out_features != config.hidden_size:
        raise ConfigError(
            f"The projection of backbone {options.name!r} changes the width, and a cache has one "
            "width for tokens and pooled vectors",
            expected="--pooling pooler or mean",
            found=f"{config.hidden_size} to {projection.out_features}",
        )


def _padded_to(
    length: int,
    token_ids: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    pad_id: int,
    *,
    on_left: bool,
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B T"]]:
    """Texts padded to ``length`` on one side, and the place of each of their tokens there."""
    count, most = token_ids.shape
    own = torch.arange(most, device=token_ids.device).expand(count, most)
    start = length - mask.sum(dim=1, keepdim=True) if on_left else torch.zeros_like(own[:, :1])
    places = (own + start).clamp(max=length - 1)
    padding = token_ids.new_full((count, length + 1), pad_id, dtype=torch.long)
    # Padding of the batch is written into a column beyond the text, which is dropped.
    target = torch.where(mask, places, torch.full_like(places, length))
    values = torch.where(mask, token_ids.long(), torch.full_like(places, pad_id))
    return padding.scatter(1, target, values)[:, :length], places


def _at(
    places: Int[Tensor, "B T"], hidden: Float[Tensor, "B L *layers D"]
) -> Float[Tensor, "B T *layers D"]:
    """The hidden states at the places of the tokens."""
    rows = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
    return hidden[rows, places]
