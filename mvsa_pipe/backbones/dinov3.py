"""dinov3: the self-supervised vision transformers and ConvNeXts of 2025."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PretrainedConfig

from mvsa_pipe.backbones.base import Encoded
from mvsa_pipe.backbones.huggingface import HuggingFaceImage
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.pretrained import hugging_face_config
from mvsa_pipe.backbones.timm_image import TimmImage
from mvsa_pipe.backbones.weights import WeightsSource
from mvsa_pipe.errors import ConfigError

# Names of the sizes pretrained on LVD-1689M, as parts of their Hugging Face ids.
_SIZES = {
    "small": "vits16",
    "small-plus": "vits16plus",
    "base": "vitb16",
    "large": "vitl16",
    "huge-plus": "vith16plus",
    "7b": "vit7b16",
    "convnext-tiny": "convnext-tiny",
    "convnext-small": "convnext-small",
    "convnext-base": "convnext-base",
    "convnext-large": "convnext-large",
}


class DinoV3(HuggingFaceImage):
    """DINOv3 (Siméoni et al. 2025): CLS and patches; the register tokens are left out.

    The name's argument is a size, a Hugging Face id, a folder, or a name in timm, by which timm
    loads it; ``base`` by default. ConvNeXts of Hugging Face have the mean of their cells as first
    token. The pooled vector is the first token.

    Raises:
        BackboneError: The weights cannot be loaded, or belong to another architecture.
    """

    def __new__(cls, options: BackboneOptions) -> "DinoV3 | TimmImage":  # type: ignore[misc]
        """A backbone of timm for a name in timm, which has no slash and is no size or folder."""
        name = options.argument
        of_hub = not name or name in _SIZES or "/" in name or options.folder is not None
        if of_hub or _is_described(options.weights):
            return super().__new__(cls)
        if "dinov3" not in name:
            raise ConfigError(
                f"dinov3 has no model {name!r}",
                expected=f"one of {', '.join(_SIZES)}, a Hugging Face id, a folder, or a name in "
                "timm such as vit_base_patch16_dinov3.lvd1689m",
            )
        return TimmImage(options)

    def _published(self, options: BackboneOptions) -> str:
        size = options.argument or "base"
        if size not in _SIZES:
            return size
        return f"facebook/dinov3-{_SIZES[size]}-pretrain-lvd1689m"

    def _config(self, source: WeightsSource, options: BackboneOptions) -> PretrainedConfig:
        config = hugging_face_config(source.model, options.name, "dinov3_vit", "dinov3_convnext")
        self._registers = int(getattr(config, "num_register_tokens", 0) or 0)
        return config

    def encode(self, pixels: Tensor) -> Encoded:
        """CLS and patches of each kept layer, and CLS of the last."""
        hidden, pooled = super().encode(pixels)
        first, patches = hidden[:, :1], hidden[:, 1 + self._registers :]
        return Encoded(torch.cat([first, patches], dim=1), pooled)


def _is_described(weights: str | None) -> bool:
    """Whether a Hugging Face configuration lies in the folder of some weights."""
    if weights is None:
        return False
    path = Path(weights)
    return ((path if path.is_dir() else path.parent) / "config.json").is_file()
