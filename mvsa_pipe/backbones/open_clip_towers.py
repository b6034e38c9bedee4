"""The text and image towers of open_clip's models."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    ImageBackbone,
    TextBackbone,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.options import DECODER, BackboneOptions, Pooling
from mvsa_pipe.backbones.weights import (
    fill,
    first_line,
    local_hint,
    read_weights,
    require_finite_weights,
    require_library_name,
)
from mvsa_pipe.errors import BackboneError, ConfigError, name_some
from mvsa_pipe.pooling import mean_over_tokens
from mvsa_pipe.registry import Registry, Row

_VISUAL = "visual."


class OpenClipText(TextBackbone):
    """The text tower of an open_clip model, cut at its number of positions.

    Hidden states are those of the last layer after its norm. The pooled vector is that of the
    closing token after the projection into the shared space (``projected``), before it
    (``pooler``), or the mean of all tokens (``mean``).

    Raises:
        UnknownNameError: open_clip has no such model or weights.
        BackboneError: The weights cannot be loaded, or the tower is of another kind.
        ConfigError: open_clip is not installed, or an option does not fit.
    """

    def __init__(self, options: BackboneOptions) -> None:
        whole = _whole(options)
        self.pooling = options.pooling or Pooling.PROJECTED
        self._tokenizer = _own_tokenizer(whole, options)
        del whole.visual
        self.module: Any = whole
        witness = _load(self.module, options, of_image=False)
        self.freeze()
        self._length = int(whole.context_length)
        self.max_tokens = options.tokens_within(self._length, by_default=True)
        self.pad_id = 0
        self.width = int(whole.ln_final.normalized_shape[0])
        _, pooled = self.encode(torch.ones(1, 3).long(), torch.ones(1, 3).bool())
        if pooled.shape[1] != self.width:
            raise ConfigError(
                f"The projection of backbone {options.name!r} changes the width, and a cache has "
                "one width for tokens and pooled vectors",
                expected="--pooling pooler or mean",
                found=f"{self.width} to {pooled.shape[1]}",
            )
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={"max_tokens": self.max_tokens, "tokenizer": "open_clip's own"},
            layers="last",
            pooling=self.pooling.value,
            witnesses=witness,
        )

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of every text, uncut, special tokens included."""
        own = self._tokenizer
        rows = ([own.sot_token_id, *own.encode(text), own.eot_token_id] for text in texts)
        return [np.asarray(row, np.int32) for row in rows]

    def cut(self, token_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The first ``max_tokens`` tokens, including the closing one."""
        if len(token_ids) <= self.max_tokens:
            return token_ids
        return np.append(token_ids[: self.max_tokens - 1], token_ids[-1:])

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the last layer, and the closing token's vector or the mean."""
        count, most = token_ids.shape
        ids = torch.where(mask, token_ids.long(), 0)
        padded = torch.cat([ids, ids.new_zeros(count, self._length - most)], dim=1)
        output = self.module.forward_intermediates(
            text=padded, text_indices=1, normalize=False, normalize_intermediates=True
        )
        hidden = output["text_intermediates"][-1][:, :most].float()
        if self.pooling is Pooling.PROJECTED:
            return Encoded(hidden, output["text_features"].float())
        if self.pooling is Pooling.MEAN:
            return Encoded(hidden, mean_over_tokens(hidden, mask))
        return Encoded(hidden, hidden[torch.arange(count, device=ids.device), ids.argmax(dim=1)])


class OpenClipImage(ImageBackbone):
    """The vision transformer of an open_clip model: CLS and patches.

    The pooled vector is that of CLS after the projection into the shared space (``projected``),
    before it (``pooler``), or the mean of all tokens (``mean``). Hidden states are those of the
    last layer. A cache has one width: where the projection changes it, ``projected`` projects every
    token as it does CLS.

    Raises:
        UnknownNameError: open_clip has no such model or weights.
        BackboneError: The weights cannot be loaded, or the tower is of another kind.
        ConfigError: open_clip is not installed.
    """

    def __init__(self, options: BackboneOptions) -> None:
        whole = _whole(options)
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.pooling = options.pooling or Pooling.PROJECTED
        self.module: Any = whole.visual
        _require_plain_transformer(self.module, options)
        witness = _load(self.module, options, of_image=True)
        self.freeze()
        rule = PreprocessCfg(**self.module.preprocess_cfg)
        self._transform = image_transform_v2(rule, is_train=False)
        proj = self.module.proj
        self._projects = self.pooling is Pooling.PROJECTED and proj.shape[0] != proj.shape[1]
        grey = torch.from_numpy(self.prepare(Image.new("RGB", (320, 240), (128, 128, 128))))[None]
        with torch.inference_mode():
            hidden, _ = self.encode(grey)
        self.tokens, self.width = int(hidden.shape[1]), int(hidden.shape[2])
        self.identity = BackboneIdentity(
            name=describe(options),
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={
                "open_clip": json.dumps(asdict(rule), sort_keys=True, default=str),
                "decoder": DECODER,
            },
            layers="last",
            pooling=self.pooling.value,
            witnesses=witness,
        )

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """The pixels by open_clip's own transform, ``[3, H, W]``."""
        pixels: NDArray[np.float32] = self._transform(picture).numpy()
        return pixels

    def encode(self, pixels: Tensor) -> Encoded:
        """CLS and patches of the last layer, and CLS's vector or the mean."""
        output = self.module.forward_intermediates(
            pixels, indices=1, output_fmt="NLC", output_extra_tokens=True
        )
        tokens = output["image_intermediates_prefix"][-1], output["image_intermediates"][-1]
        hidden = torch.cat(tokens, dim=1).float()
        if self._projects:
            hidden = (self.module.ln_post(hidden) @ self.module.proj).float()
            return Encoded(hidden, hidden[:, 0])
        if self.pooling is Pooling.PROJECTED:
            return Encoded(hidden, output["image_features"].float())
        if self.pooling is Pooling.MEAN:
            return Encoded(hidden, hidden.mean(dim=1))
        return Encoded(hidden, self.module.ln_post(hidden[:, 0]).float())


def _whole(options: BackboneOptions) -> Any:  # noqa: ANN401  # untyped classes of open_clip
    """The model of both towers, with its published weights unless ``--weights`` names a file."""
    if find_spec("open_clip") is None:
        raise ConfigError(
            "Backbones of open_clip need the package open_clip_torch",
            hint='pip install "mvsa-pipe[open-clip]"',
        )
    import open_clip

    require_library_name(options, "open_clip")
    name, _, tag = options.argument.partition("/")
    Registry[object](
        "open_clip model", [Row(known, "", "") for known in open_clip.list_models()]
    ).row(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags and (tag or options.weights is None):
        raise ConfigError(
            f"Backbone {options.name!r} names no weights of open_clip's {name}",
            expected=f"{options.family}:{name}/WEIGHTS, where WEIGHTS is one of "
            f"{name_some(tags, most=20)}, or --weights {options.name}=FILE",
            found=repr(tag),
        )
    loads = options.weights is None
    try:
        # The first weights are drawn, of which open_clip warns, and then all replaced.
        with torch.random.fork_rng(devices=[]), _quiet():
            whole = open_clip.create_model(
                name, pretrained=tag or None, load_weights=loads, pretrained_text=False
            )
    except Exception as error:  # open_clip and the hub raise errors of many classes
        raise BackboneError(
            f"The weights of backbone {options.name!r} cannot be loaded",
            where=f"open_clip {options.argument}",
            expected="weights that open_clip publishes and this machine can download",
            found=first_line(error),
            hint=local_hint(options.name),
        ) from error
    if not isinstance(whole, open_clip.CLIP):
        raise BackboneError(
            f"The towers of backbone {options.name!r} are not of CLIP's kind",
            expected="a model of open_clip's class CLIP, such as ViT-B-32",
            found=type(whole).__name__,
            hint="siglip2-text, siglip2-image and hf-text:… read such models from Hugging Face",
        )
    return whole


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the root logger, to which open_clip writes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _own_tokenizer(whole: Any, options: BackboneOptions) -> Any:  # noqa: ANN401
    import open_clip

    config = open_clip.get_model_config(options.argument.partition("/")[0])["text_cfg"]
    if config.get("hf_tokenizer_name") or whole.text_pool_type != "argmax":
        raise BackboneError(
            f"The text tower of backbone {options.name!r} has another tokenizer than CLIP's",
            expected="open_clip's own tokenizer, and the closing token as a text's vector",
            found=config.get("hf_tokenizer_name") or f"pooling {whole.text_pool_type}",
            hint="hf-text:… reads such models from Hugging Face",
        )
    return open_clip.SimpleTokenizer(**config.get("tokenizer_kwargs", {}))


def _require_plain_transformer(visual: Any, options: BackboneOptions) -> None:  # noqa: ANN401
    from open_clip.transformer import VisionTransformer

    plain = isinstance(visual, VisionTransformer) and visual.attn_pool is None
    if not plain or visual.pool_type != "tok" or visual.proj is None:
        raise BackboneError(
            f"The image tower of backbone {options.name!r} is not CLIP's vision transformer",
            expected="a transformer with a CLS token, such as ViT-B-32",
            found=type(visual).__name__,
            hint="timm:<name> reads convolutional nets and other transformers",
        )


def _load(module: nn.Module, options: BackboneOptions, *, of_image: bool) -> tuple[Path, ...]:
    """Fills a tower from ``--weights``, of both towers or of it alone; returns the file."""
    if options.weights is None:
        require_finite_weights(module, options.name)
        return ()
    file = Path(options.weights)
    state = read_weights(file)
    if any(key.startswith(_VISUAL) for key in state):
        state = {
            key.removeprefix(_VISUAL) if of_image else key: value
            for key, value in state.items()
            if key.startswith(_VISUAL) is of_image
        }
    fill(module, state, file)
    return (file.resolve(),)
