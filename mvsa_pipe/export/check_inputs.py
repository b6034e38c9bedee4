"""Random posts from a seed, for comparing two forms of one model."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.export.model import ExportedModel, declared
from mvsa_pipe.export.onnx_graphs import ATTENTION, IDS, MASK, PIXELS
from mvsa_pipe.extraction.forward import padded
from mvsa_pipe.features.batch import Field
from mvsa_pipe.heads.base import FusionHead

# Of unlike length, so that batches of them are padded.
TEXTS = (
    "What a wonderful day!",
    "no",
    "RT @someone: I have waited for an hour, in the rain, and nobody came :-( #fail",
    "Sunset over the bay, seen from the train",
)
_PICTURE_PX = (320, 240)

# Posts and longest text of the batches that are compared; the first is the one that is traced, and
# has neither one post nor one token, as tracing takes lengths of one for granted.
BATCHES = ((3, 7), (1, 5), (4, 1), (2, 12))


def head_batches(head: FusionHead) -> list[dict[str, Tensor]]:
    """What a head reads, drawn at random, in batches of several sizes."""
    generator = torch.Generator().manual_seed(0)
    sizes = head.sizes
    shapes = {
        Field.TEXT_HIDDEN: ("tokens", sizes.text_width),
        Field.TEXT_POOLED: (sizes.text_width,),
        Field.IMAGE_HIDDEN: (sizes.image_tokens, sizes.image_width),
        Field.IMAGE_POOLED: (sizes.image_width,),
    }
    batches = []
    for posts, tokens in BATCHES:
        batch: dict[str, Tensor] = {}
        for field in declared(head):
            shape = [tokens if length == "tokens" else int(length) for length in shapes[field]]
            batch[field.value] = torch.randn(posts, *shape, generator=generator)
            if field is Field.TEXT_HIDDEN:
                lengths = torch.randint(1, tokens + 1, (posts, 1), generator=generator)
                lengths[0] = tokens
                batch[MASK] = torch.arange(tokens) < lengths
        batches.append(batch)
    return batches


def pictures(count: int) -> list[Image.Image]:
    """Pictures of random blocks of colour: noise would be grey to most backbones."""
    draws = np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3), np.uint8)
    return [Image.fromarray(d).resize(_PICTURE_PX, Image.Resampling.NEAREST) for d in draws]


def model_batches(model: ExportedModel) -> list[dict[str, Tensor]]:
    """What a whole model's graph takes, of the texts and pictures here, in several batches."""
    backbones = [part.backbone for part in model.parts.values()]
    batches = []
    for chosen in ([0, 2, 3], [1], [3, 1]):
        batch: dict[str, Tensor] = {}
        for backbone in backbones:
            if isinstance(backbone, TextBackbone):
                batch |= _tokens(backbone, [TEXTS[n] for n in chosen])
            else:
                batch |= _pixels(backbone, chosen)
        batches.append(batch)
    return batches


def _tokens(backbone: TextBackbone, texts: Sequence[str]) -> dict[str, Tensor]:
    rows = [backbone.cut(ids) for ids in backbone.tokenize(texts)]
    ids, mask = padded(rows, backbone.pad_id)
    return {IDS: torch.from_numpy(ids).long(), ATTENTION: torch.from_numpy(mask).long()}


def _pixels(backbone: ImageBackbone, chosen: Sequence[int]) -> dict[str, Tensor]:
    drawn = pictures(len(TEXTS))
    return {PIXELS: torch.from_numpy(np.stack([backbone.prepare(drawn[n]) for n in chosen]))}
