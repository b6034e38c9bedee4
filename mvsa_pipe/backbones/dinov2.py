"""dinov2: the self-supervised vision transformer of arXiv 2503.07943."""

from pathlib import Path

from torch import Tensor
from transformers import Dinov2Config, PretrainedConfig

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.hidden_layers import layer_arguments, select_layers
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.preprocessing import (
    CropRounding,
    ImagePreprocessing,
    Interpolation,
    PreprocessedImageBackbone,
)
from mvsa_pipe.backbones.pretrained import hugging_face_config, hugging_face_model
from mvsa_pipe.backbones.weights import WeightsSource, locate_weights
from mvsa_pipe.errors import ConfigError

# width, layers, attention heads, and whether the feed-forward part is SwiGLU (Oquab et al. 2023).
_SIZES: dict[str, tuple[int, int, int, bool]] = {
    "small": (384, 12, 6, False),
    "base": (768, 12, 12, False),
    "large": (1024, 24, 16, False),
    "giant": (1536, 40, 24, True),
}


class DinoV2(PreprocessedImageBackbone):
    """DINOv2 with 14-pixel patches: at 224 pixels one CLS token and 16 × 16 patches.

    Hidden states are those of the last layer after its norm, CLS first (or of several layers); the
    pooled vector is CLS.
    Preprocessing is the published one: shortest edge to 256 (bicubic), centre crop of 224,
    ImageNet mean and deviation.

    Raises:
        ConfigError: There is no such size.
        BackboneError: The weights cannot be loaded, or belong to another architecture.
    """

    rule = ImagePreprocessing(256, 224, Interpolation.BICUBIC, CropRounding.FLOOR)

    def __init__(self, options: BackboneOptions) -> None:
        size = options.argument or "base"
        if size not in _SIZES:
            raise ConfigError(
                f"dinov2 has no size {size!r}",
                expected=f"one of {', '.join(_SIZES)}",
                hint="--weights dinov2=FOLDER reads weights on this machine, and hf-image:FOLDER "
                "any encoder",
            )
        source = locate_weights(options, f"facebook/dinov2-{size}")
        config = self._config(source, options, size)
        self.module = hugging_face_model(source, options.name, config)
        self.freeze()
        self._options = options
        self.width = int(config.hidden_size)
        self.layers = options.layers.count_of(int(config.num_hidden_layers))
        self.tokens = (self.rule.crop_px // int(config.patch_size)) ** 2 + 1
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing=self.rule.as_fields(),
            layers=options.layers.value,
            pooling="cls",
            witnesses=source.witnesses,
        )

    @staticmethod
    def _config(source: WeightsSource, options: BackboneOptions, size: str) -> PretrainedConfig:
        if source.state_file is None or Path(source.model).is_dir():
            return hugging_face_config(source.model, options.name, "dinov2")
        width, layers, n_attn, swiglu = _SIZES[size]
        return Dinov2Config(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=n_attn,
            image_size=518,
            patch_size=14,
            use_swiglu_ffn=swiglu,
        )

    def describe_beside(self, folder: Path) -> None:
        """Writes the configuration; all DINOv2 models share the preprocessing."""
        self.module.config.save_pretrained(folder)  # type: ignore[union-attr, operator]

    def encode(self, pixels: Tensor) -> Encoded:
        """CLS and patches ``[B, 257, D]`` of each kept layer, and CLS of the last ``[B, D]``."""
        asked = layer_arguments(self._options.layers)
        output = self.module(pixel_values=self.rule.normalised(pixels), **asked)
        last = output.last_hidden_state.float()
        return Encoded(select_layers(output, last, self._options), last[:, 0])
