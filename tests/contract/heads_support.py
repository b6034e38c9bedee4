"""Every fusion head in every variant, over one backbone a modality or several, and batches."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from enum import Enum
from itertools import product
from typing import get_type_hints

import pytest
import torch
from torch import Tensor

from mvsa_pipe.features.batch import HIDDEN, FeatureBatch, FeatureSizes
from mvsa_pipe.features.joined import join_batches
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.check_batches import SIZES, random_batch
from mvsa_pipe.heads.checks import Subject

# published figures are kept by default; these make a head small enough to train in a test
SMALL = {"width": 16, "hidden": 24, "n_attn": 2, "feedforward": 24}
# of a second backbone a modality, where there is one
SECOND = FeatureSizes(text_width=7, image_width=9, image_tokens=3, classes=0)
LAYERS = 3


@dataclass(frozen=True)
class Variant:
    """One head with one value for each option of a closed set.

    Attributes:
        name: The head's name.
        choices: Options and their values.
        joined: Whether it reads two backbones a modality, the second of sizes ``SECOND``.
        layered: Whether it mixes ``LAYERS`` layers of each.
    """

    name: str
    choices: tuple[tuple[str, str], ...]
    joined: bool = False
    layered: bool = False

    def __str__(self) -> str:
        inputs = [name for name in ("joined", "layered") if getattr(self, name)]
        return "-".join([self.name, *(value for _, value in self.choices), *inputs])

    @property
    def kind(self) -> type[FusionHead]:
        """The head's class."""
        return HEADS.load(self.name)

    def build(self, sizes: FeatureSizes = SIZES, seed: int = 0, **options) -> FusionHead:
        """The head with its published or default figures."""
        if self.joined:
            sizes = FeatureSizes(
                *(a + b for a, b in zip(astuple(sizes), astuple(SECOND), strict=True))
            )
        if self.layered:
            sizes = replace(
                sizes,
                text_layers=((LAYERS, sizes.text_width),),
                image_layers=((LAYERS, sizes.image_width),),
            )
        return build_head(self.name, sizes, seed, dict(self.choices) | options)

    def batch(
        self, sizes: FeatureSizes = SIZES, posts: int = 6, tokens: int = 7, seed: int = 0
    ) -> FeatureBatch:
        """Features that the head reads; a second backbone cuts texts into tokens of its own."""
        if self.layered:
            return make_layered_batch(sizes, posts, tokens, seed)
        first = random_batch(sizes, posts, tokens, seed)
        if not self.joined:
            return first
        return join_batches([first, random_batch(SECOND, posts, tokens + 2, seed + 1)])

    def build_small(self, seed: int = 0, *, dropout: bool = True) -> FusionHead:
        """The head at a size that trains in moments, without any dropout if asked."""
        names = [option.name for option in fields(self.kind.Options)]
        small = {name: value for name, value in SMALL.items() if name in names}
        none = {} if dropout else {name: 0.0 for name in names if name.endswith("dropout")}
        return self.build(seed=seed, **small, **none)

    def subject(self, sizes: FeatureSizes = SIZES, *, small: bool = True) -> Subject:
        """The head as the contract's checks take it; with its default figures if not small."""
        return Subject(
            lambda seed: self.build_small(seed) if small else self.build(sizes, seed),
            lambda posts, tokens, seed: self.batch(sizes, posts, tokens, seed),
            self.name,
        )

    def build_ready(self, seed: int = 0) -> FusionHead:
        """A small head in eval mode."""
        return self.build_small(seed).eval()


def list_variants() -> Iterator[Variant]:
    for row in HEADS:
        if not issubclass(HEADS.load(row.name), FusionHead):
            continue
        kind = HEADS.load(row.name).Options
        hints = get_type_hints(kind)
        closed = {
            field.name: [member.value for member in hints[field.name]]
            for field in fields(kind)
            if issubclass(hints[field.name], Enum)
        }
        for values in product(*closed.values()):
            yield Variant(row.name, tuple(zip(closed, values, strict=True)))


VARIANTS = list(list_variants())
every_head = pytest.mark.parametrize("variant", VARIANTS, ids=str)
every_head_and_input = pytest.mark.parametrize(
    "variant",
    [
        *VARIANTS,
        *(replace(variant, joined=True) for variant in VARIANTS),
        *(replace(v, layered=True) for v in VARIANTS if v.build().needs & HIDDEN),
    ],
    ids=str,
)


def make_layered_batch(sizes: FeatureSizes, posts: int, tokens: int, seed: int) -> FeatureBatch:
    """Features with an axis of layers."""
    batch = random_batch(sizes, posts, tokens, seed)
    draws = torch.Generator().manual_seed(seed)

    def layered(count: int, width: int) -> Tensor:
        return torch.randn(posts, count, LAYERS, width, generator=draws)

    return replace(
        batch,
        text_hidden=layered(tokens, sizes.text_width),
        image_hidden=layered(sizes.image_tokens, sizes.image_width),
    )
