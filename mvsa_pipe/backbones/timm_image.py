"""timm's image encoders: vision transformers as tokens, convolutional nets as feature maps."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    ImageBackbone,
    cells,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.options import DECODER, BackboneOptions
from mvsa_pipe.backbones.weights import (
    fetch_hint,
    fill,
    first_line,
    read_weights,
    require_finite_weights,
    require_library_name,
)
from mvsa_pipe.errors import BackboneError, ConfigError
from mvsa_pipe.registry import Registry, Row


class TimmImage(ImageBackbone):
    """A timm model before its classifier, with the preprocessing of its own data configuration.

    Tokens of a transformer are CLS, if it has one, and the patches; registers and other prefix
    tokens are left out. Tokens of other models are the cells of the last feature map. The pooled
    vector is timm's own (``forward_head(pre_logits=True)``), or the mean of the cells where timm's
    has another width.

    Raises:
        UnknownNameError: timm has no such model.
        BackboneError: The weights cannot be loaded, or belong to another architecture.
        ConfigError: timm is not installed.
    """

    def __init__(self, options: BackboneOptions) -> None:
        _require_timm()
        require_library_name(options, "timm")
        name = _known_name(options.argument)
        self.module: Any
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then all replaced
            witness = self._load(name, options)
        self.freeze()
        rule, self._transform = _preprocessing(self.module)
        self._prefixes = int(getattr(self.module, "num_prefix_tokens", 0))
        self._has_cls = getattr(self.module, "cls_token", None) is not None
        self._own_pooling = True
        grey = torch.from_numpy(self.prepare(Image.new("RGB", (320, 240), (128, 128, 128))))[None]
        with torch.inference_mode():
            hidden, pooled = self.encode(grey)
        self._own_pooling = pooled.shape[-1] == hidden.shape[-1]
        self.tokens, self.width = int(hidden.shape[1]), int(hidden.shape[2])
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={
                "timm": json.dumps(rule, sort_keys=True, default=str),
                "decoder": DECODER,
            },
            layers="last",
            pooling="own" if self._own_pooling else "mean",
            witnesses=witness,
        )

    def _load(self, name: str, options: BackboneOptions) -> tuple[Path, ...]:
        """Builds the network with its weights; returns the files that these came from."""
        import timm

        if options.weights is None:
            self.module = _published(name, options)
            return ()
        file = Path(options.weights)
        self.module = timm.create_model(name, pretrained=False, num_classes=0)
        classifier = self.module.pretrained_cfg.get("classifier") or ()
        parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        others = tuple(f"{part}." for part in parts)
        known = self.module.state_dict()
        state = {
            key: value
            for key, value in read_weights(file).items()
            if key in known or not key.startswith(others or ("\0",))
        }
        fill(self.module, state, file)
        return (file.resolve(),)

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """The pixels by timm's own transform, ``[3, H, W]``."""
        pixels: NDArray[np.float32] = self._transform(picture).numpy()
        return pixels

    def encode(self, pixels: Tensor) -> Encoded:
        """CLS and patches, or cells, ``[B, P, D]``, and the pooled vector ``[B, D]``."""
        features = self.module.forward_features(pixels)
        hidden = self._tokens(features).float()
        if not self._own_pooling:
            return Encoded(hidden, hidden.mean(dim=1))
        return Encoded(hidden, self.module.forward_head(features, pre_logits=True).float())

    def _tokens(self, features: Tensor) -> Tensor:
        if features.dim() == 4:
            if getattr(self.module, "output_fmt", "NCHW") == "NHWC":
                return features.flatten(start_dim=1, end_dim=2)
            return cells(features)
        kept = features[:, self._prefixes :]
        return torch.cat([features[:, :1], kept], dim=1) if self._has_cls else kept


def _require_timm() -> None:
    if find_spec("timm") is None:
        raise ConfigError(
            "Backbones of timm need the package timm", hint='pip install "mvsa-pipe[timm]"'
        )


def _preprocessing(module: nn.Module) -> tuple[dict[str, Any], Any]:
    """A model's own data configuration, and timm's transform of it."""
    data: Any = import_module("timm.data")  # its functions have no types
    rule: dict[str, Any] = data.resolve_data_config(
        pretrained_cfg=module.pretrained_cfg, model=module
    )
    return rule, data.create_transform(**rule, is_training=False)


def _known_name(name: str) -> str:
    """The name of a model and, after a dot, of its weights.

    Raises:
        UnknownNameError: timm has no such model, or no such weights of it.
    """
    import timm

    architecture, _, tag = name.partition(".")
    names = timm.list_models()
    Registry[object]("timm model", [Row(n, "", "") for n in names]).row(architecture)
    if tag:
        tags = timm.list_pretrained(f"{architecture}.*")
        Registry[object](
            f"set of weights of timm's {architecture}", [Row(n, "", "") for n in tags]
        ).row(name)
    return name


def _published(name: str, options: BackboneOptions) -> nn.Module:
    """A model with its published weights, all of which must fit, before its classifier is cut."""
    import timm

    try:
        # With another number of classes, timm would accept files in which weights are missing.
        network: Any = timm.create_model(name, pretrained=True)
    except Exception as error:  # timm and the hub raise errors of many classes
        raise BackboneError(
            f"The weights of backbone {options.name!r} cannot be loaded",
            where=f"timm {name}",
            expected="weights that timm publishes and this machine can download",
            found=first_line(error),
            hint=fetch_hint(options.name, f"timm/{name}", error),
        ) from error
    network.reset_classifier(0)
    require_finite_weights(network, name)
    module: nn.Module = network
    return module
