"""torchvision classifiers, up to the last feature map before the classifier."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.hub import download_url_to_file, get_dir
from torchvision import models
from torchvision.transforms import InterpolationMode

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    cells,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.preprocessing import (
    CropRounding,
    ImagePreprocessing,
    Interpolation,
    PreprocessedImageBackbone,
)
from mvsa_pipe.backbones.weights import fill, local_hint, read_weights
from mvsa_pipe.disk import make_folder
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import BackboneError
from mvsa_pipe.registry import Registry, Row

_DEFAULT_WEIGHTS = "IMAGENET1K_V1"
_RULE_FILE = "preprocessing.json"

# Names of torchvision's files contain the first digits of their SHA-256.
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")
_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")

# Submodules up to the last feature map: of ResNet and similar models, and of RegNet.
_CHAINS = (
    ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    ("stem", "trunk_output"),
)


class TorchvisionImage(PreprocessedImageBackbone):
    """A torchvision classifier up to its last feature map ``[B, D, h, w]``.

    Tokens are the map's cells, the pooled vector is their mean. Preprocessing is the one published
    with the weights; for a local file, that of a ``preprocessing.json`` beside it, or else of the
    model's first published weights (``IMAGENET1K_V1``). The rule is part of the fingerprint.

    Raises:
        UnknownNameError: torchvision has no such model.
        BackboneError: The weights cannot be loaded, belong to another architecture, or the model's
            feature map is unknown.
    """

    def __init__(self, options: BackboneOptions) -> None:
        model_name = self._model_name(options)
        named = _named_weights(model_name, options)
        path = Path(options.weights or "")
        self.rule = (_rule_beside(path) if named is None else None) or _published_rule(
            named or _first_weights(model_name), options
        )
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then all replaced
            self.module = models.get_model(model_name, weights=None)
        self._feature_map = _feature_map(self.module, options)
        witness = _downloaded(named, options) if named else path
        fill(self.module, _renamed(self.module, read_weights(witness)), witness)
        self.freeze()
        self.module.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            grey = torch.full((1, self.rule.crop_px, self.rule.crop_px, 3), 128).byte()
            self.tokens, self.width = self.encode(grey).hidden.shape[1:]
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing=self.rule.as_fields(),
            layers="last",
            pooling="mean",
            witnesses=(witness.resolve(),),
        )

    def _model_name(self, options: BackboneOptions) -> str:
        """The model's name in torchvision."""
        known = models.list_models(module=models)
        return (
            Registry[object]("torchvision model", [Row(name, "", "") for name in known])
            .row(options.argument)
            .name
        )

    def describe_beside(self, folder: Path) -> None:
        """Writes the preprocessing, which a file of weights does not contain."""
        write_json(folder / _RULE_FILE, self.rule.as_fields())

    def encode(self, pixels: Tensor) -> Encoded:
        """Cells of the last feature map ``[B, P, D]`` and their mean ``[B, D]``."""
        ready = self.rule.normalised(pixels).contiguous(memory_format=torch.channels_last)
        hidden = cells(self._feature_map(ready).float())
        return Encoded(hidden.contiguous(), hidden.mean(dim=1))


def _named_weights(model_name: str, options: BackboneOptions) -> models.WeightsEnum | None:
    """Torchvision's own weights by name, or ``None`` if ``--weights`` is a path."""
    table = models.get_model_weights(model_name)
    name = options.weights or _DEFAULT_WEIGHTS
    if name in table.__members__:
        return table[name]
    if options.weights is not None and Path(options.weights).exists():
        return None
    raise BackboneError(
        f"Backbone {options.name!r} has no weights named {name!r}, and there is no such file",
        expected=f"a path, or one of {', '.join(table.__members__)}",
        hint=local_hint(options.name),
    )


def _rule_beside(path: Path) -> ImagePreprocessing | None:
    """The preprocessing beside a file of weights, if there is one."""
    file = path.parent / _RULE_FILE
    if not file.is_file():
        return None
    try:
        rule = ImagePreprocessing.from_fields(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(
            "The preprocessing beside these weights cannot be read", where=file, found=error
        ) from error
    return rule


def _first_weights(model_name: str) -> models.WeightsEnum:
    return next(iter(models.get_model_weights(model_name)))


def _published_rule(weights: models.WeightsEnum, options: BackboneOptions) -> ImagePreprocessing:
    preset = weights.transforms()
    interpolations = {
        InterpolationMode.BILINEAR: Interpolation.BILINEAR,
        InterpolationMode.BICUBIC: Interpolation.BICUBIC,
    }
    if preset.interpolation not in interpolations or len(preset.crop_size) != 1:
        raise BackboneError(
            f"The preprocessing published with backbone {options.name!r} is unknown",
            found=preset,
        )
    return ImagePreprocessing(
        resize_px=preset.resize_size[0],
        crop_px=preset.crop_size[0],
        interpolation=interpolations[preset.interpolation],
        crop_rounding=CropRounding.ROUND,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _downloaded(weights: models.WeightsEnum, options: BackboneOptions) -> Path:
    """The checkpoint file of torchvision's own weights, downloaded if it is not on this machine.

    torchvision's own loader would unpickle the file, which can run code.
    """
    path = Path(get_dir()) / "checkpoints" / Path(weights.url).name
    if path.is_file():
        return path
    digest = _DIGEST.search(path.name)
    make_folder(path.parent)
    try:
        download_url_to_file(weights.url, str(path), digest and digest.group(1), progress=False)
    except Exception as error:
        raise BackboneError(
            f"The weights of backbone {options.name!r} cannot be loaded",
            where=weights.url,
            found=error,
            hint=f"{local_hint(options.name)}, or put that file at {path}",
        ) from error
    return path


def _renamed(module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Renames layers of DenseNet's published files, whose old names contain dots."""
    if not isinstance(module, models.DenseNet):
        return state
    return {_DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _feature_map(
    module: nn.Module, options: BackboneOptions
) -> Callable[[Tensor], Float[Tensor, "B D h w"]]:
    """The part of a classifier that ends in its last feature map.

    Raises:
        BackboneError: Its structure is unknown.
    """
    for chain in _CHAINS:
        if all(hasattr(module, name) for name in chain):
            return nn.Sequential(*(module.get_submodule(name) for name in chain))
    if isinstance(module, models.DenseNet):  # its last ReLU is a function, not a module
        return nn.Sequential(module.features, nn.ReLU())
    if isinstance(module, models.SwinTransformer):
        return nn.Sequential(module.features, module.norm, module.permute)
    if isinstance(getattr(module, "features", None), nn.Module):
        return module.get_submodule("features")
    raise BackboneError(
        f"The last feature map of {options.name!r} is unknown",
        expected="a ResNet, RegNet, DenseNet, Swin, or a model with .features (VGG, SqueezeNet, "
        "MobileNet, EfficientNet, ConvNeXt …)",
        found=type(module).__name__,
        hint="use hf-image:<id or folder> for vision transformers",
    )
