"""Small backbones with real architectures and weights drawn from a fixed seed.

Random features distinguish words and colours, which is enough for the offline quickstart and for
tests. The name marks them in every record.
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from transformers import BertConfig, BertModel

from mvsa_pipe.backbones.base import (
    BackboneIdentity,
    Encoded,
    TextBackbone,
    cells,
    weights_digest,
)
from mvsa_pipe.backbones.hidden_layers import layer_arguments, select_layers
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.backbones.preprocessing import (
    CropRounding,
    ImagePreprocessing,
    Interpolation,
    PreprocessedImageBackbone,
)
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.pooling import mean_over_tokens

_SEED, _DEPTH = 0, 2
# twice the difference between bright and dark patches: places must be easy to tell
_PLACE_DEVIATION = 0.6
_PAD, _CLS, _SEP, _FIRST_WORD, _VOCABULARY = 0, 1, 2, 3, 4096
_WORD = re.compile(r"\w+|[^\w\s]")


class TinyText(TextBackbone):
    """A BERT of 2 layers, 384 wide; words are hashed into 4,093 ids.

    Raises:
        ConfigError: Weights were requested; they are drawn from the seed.
    """

    takes_weights = False

    def __init__(self, options: BackboneOptions) -> None:
        _refuse_weights(options)
        self.max_tokens = options.max_tokens
        self.pooling = options.pooling or Pooling.MEAN
        self.pad_id = _PAD
        self.width = 384
        self._options = options
        self.layers = options.layers.count_of(_DEPTH)
        config = BertConfig(
            vocab_size=_VOCABULARY,
            hidden_size=self.width,
            num_hidden_layers=_DEPTH,
            num_attention_heads=6,
            intermediate_size=2 * self.width,
            max_position_embeddings=max(512, options.max_tokens),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            self.module = BertModel(config, add_pooling_layer=False)
        self.freeze()
        self.identity = BackboneIdentity(
            name=options.name,
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing={"max_tokens": self.max_tokens, "tokenizer": "crc32 of words"},
            layers=options.layers.value,
            pooling=self.pooling.value,
        )

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Hashed words between two special tokens."""
        return [
            np.array([_CLS, *(_word_id(w) for w in _WORD.findall(text.lower())), _SEP], np.int32)
            for text in texts
        ]

    def cut(self, token_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The first ``max_tokens`` tokens, including the closing special token."""
        if len(token_ids) <= self.max_tokens:
            return token_ids
        return np.append(token_ids[: self.max_tokens - 1], np.int32(_SEP))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each kept word in the text, between the two special tokens."""
        words = [match.span() for match in _WORD.finditer(text.lower())]
        return [(0, 0), *words[: self.max_tokens - 2], (0, 0)]

    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Hidden states of the kept layers, and the first token or the mean of the last."""
        asked = layer_arguments(self._options.layers)
        output = self.module(input_ids=token_ids.long(), attention_mask=mask.long(), **asked)
        last = output.last_hidden_state.float()
        pooled = last[:, 0] if self.pooling is Pooling.CLS else mean_over_tokens(last, mask)
        return Encoded(select_layers(output, last, self._options), pooled)


class TinyImage(PreprocessedImageBackbone):
    """A ResNet of 10 layers at 64 pixels: 2 × 2 cells, 512 wide, and their average.

    Raises:
        ConfigError: Weights were requested; they are drawn from the seed.
    """

    takes_weights = False
    rule = ImagePreprocessing(72, 64, Interpolation.BILINEAR, CropRounding.ROUND)

    def __init__(self, options: BackboneOptions) -> None:
        _refuse_weights(options)
        self.width, self.tokens = 512, 4
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            self.module = ResNet(BasicBlock, [1, 1, 1, 1])
        self.freeze()
        self._body = torch.nn.Sequential(*list(self.module.children())[:-2])
        self.identity = BackboneIdentity(
            name=options.name,
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing=self.rule.as_fields(),
            layers="last",
            pooling="mean",
        )

    def encode(self, pixels: Tensor) -> Encoded:
        """Cells ``[B, 4, 512]`` and their mean ``[B, 512]``."""
        hidden = cells(self._body(self.rule.normalised(pixels)).float())
        return Encoded(hidden, hidden.mean(dim=1))


class TinyPatches(PreprocessedImageBackbone):
    """4 × 4 patches of 16 pixels, each encoded alone and told its place, 512 wide; their average.

    ``h_p = W_2 ReLU(W_1 x_p) + e_p``, where ``x_p`` are the pixels of a patch and ``e_p`` depends
    on its place alone. The average says what is in the picture and not where, as the sum of the
    ``e_p`` is the same for every picture: the one backbone whose pooled vector is exactly a bag
    of patches.

    Raises:
        ConfigError: Weights were requested; they are drawn from the seed.
    """

    takes_weights = False
    rule = ImagePreprocessing(64, 64, Interpolation.BILINEAR, CropRounding.ROUND)

    def __init__(self, options: BackboneOptions) -> None:
        _refuse_weights(options)
        self.width, side = 512, 4
        self.tokens = side**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            self.module = _Patches(self.width, self.rule.crop_px // side, self.tokens)
        self.freeze()
        self.identity = BackboneIdentity(
            name=options.name,
            modality=self.modality,
            weights=weights_digest(self.module),
            preprocessing=self.rule.as_fields(),
            layers="last",
            pooling="mean",
        )

    def encode(self, pixels: Tensor) -> Encoded:
        """Patches ``[B, 16, 512]`` and their mean ``[B, 512]``."""
        hidden = self.module(self.rule.normalised(pixels)).float()
        return Encoded(hidden, hidden.mean(dim=1))


class _Patches(nn.Module):
    """Two convolutions that see one patch each, and a vector per place."""

    def __init__(self, width: int, patch_px: int, tokens: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, patch_px, stride=patch_px), nn.ReLU(), nn.Conv2d(width, width, 1)
        )
        self.places = nn.Parameter(torch.randn(tokens, width) * _PLACE_DEVIATION)

    def forward(self, pixels: Tensor) -> Tensor:
        """Patches in reading order ``[B, P, D]``."""
        encoded: Tensor = cells(self.layers(pixels)) + self.places
        return encoded


def _word_id(word: str) -> int:
    return _FIRST_WORD + zlib.crc32(word.encode()) % (_VOCABULARY - _FIRST_WORD)


def _refuse_weights(options: BackboneOptions) -> None:
    if options.weights is not None or options.argument:
        raise ConfigError(
            f"Backbone {options.family!r} has no weights to choose: they are drawn from a seed",
            found=options.weights or options.name,
            hint="use another backbone, such as bert, dinov2 or resnet50",
        )
