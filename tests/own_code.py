"""Heads as users write them into files of their own."""

from pathlib import Path
from textwrap import dedent

from mvsa_pipe import user_code
from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.heads import HEADS

# Twenty lines with its imports.
MINE = '''
import torch
from torch import nn

from mvsa_pipe.heads.base import FusionHead


class Mine(FusionHead):
    """Multiplies both vectors, brought to one width.

    More of it.
    """

    needs = {"text_pooled", "image_pooled"}

    def __init__(self, sizes, width=8, dropout=0.2):
        super().__init__(sizes)
        self.text = nn.Linear(sizes.text_width, width)
        self.image = nn.Linear(sizes.image_width, width)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, sizes.classes))

    def forward(self, batch):
        text, image = self.read(batch, "text_pooled"), self.read(batch, "image_pooled")
        return self.out(self.text(text) * self.image(image))
'''


def write_code(path: Path, text: str) -> Path:
    """Writes Python code that a test quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def start_again(monkeypatch, state: Path | None = None) -> None:
    """Lets this process be as new: no own heads or backbones; of another user if ``state`` is."""
    for table in (HEADS, TEXT_BACKBONES, IMAGE_BACKBONES):
        monkeypatch.setattr(table, "_rows", {row.name: row for row in table.built_in})
        monkeypatch.setattr(table, "_added", {})
    monkeypatch.setattr(user_code, "_named", set())
    if state is not None:
        monkeypatch.setenv("XDG_STATE_HOME", str(state))


WORDS = '''
"""A text backbone in one class."""

import zlib

import numpy as np
import torch
from torch import nn

from mvsa_pipe.backbones.base import Encoded, TextBackbone
from mvsa_pipe.pooling import mean_over_tokens


class Words(TextBackbone):
    """A random vector a word."""

    takes_weights = False

    def __init__(self, options):
        self.width, self.max_tokens, self.pad_id = 8, options.max_tokens, 0
        table = torch.randn(4096, self.width, generator=torch.Generator().manual_seed(0))
        self.module = nn.Embedding.from_pretrained(table)

    def tokenize(self, texts):
        return [np.array([1, *(zlib.crc32(w.encode()) % 4096 for w in text.split())], np.int32)
                for text in texts]

    def cut(self, token_ids):
        return token_ids[: self.max_tokens]

    def encode(self, token_ids, mask):
        hidden = self.module(token_ids)
        return Encoded(hidden, mean_over_tokens(hidden, mask))
'''
