"""Inputs for comparisons with a model's own library, and small models of two towers."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from backbone_support import encode_images, encode_text, noise
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mvsa_pipe.backbones.base import Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.images import decode_image

TEXTS = ("What a day!", "rain " * 60, "", "so good \U0001f600\U0001f44d")


def pictures() -> list[Image.Image]:
    """Portrait, landscape, grey, with transparency and tiny, as the extraction decodes them."""
    grey = Image.fromarray(np.asarray(noise(60, 60, 2))[..., 0])
    clear = Image.merge("RGBA", (*noise(50, 40, 3).split(), grey.resize((50, 40))))
    originals = [noise(40, 90), noise(90, 40, 1), grey, clear, noise(3, 2, 4)]
    decoded = []
    for image in originals:
        file = BytesIO()
        image.save(file, "PNG")
        decoded.append(decode_image(file.getvalue(), "picture"))
    return decoded


def alone_and_together(
    backbone: TextBackbone | ImageBackbone, items: list[object]
) -> list[tuple[Encoded, Encoded]]:
    """Features of each item in a batch of its own, and in one batch of all.

    Hidden states are cut to the item's own tokens.
    """
    encode = encode_text if isinstance(backbone, TextBackbone) else encode_images
    every = encode(backbone, *items)
    pairs = []
    for k, item in enumerate(items):
        own = encode(backbone, item)
        length = own.hidden.shape[1]
        pairs.append((own, Encoded(every.hidden[k : k + 1, :length], every.pooled[k : k + 1])))
    return pairs


def largest(pairs: list[tuple[Encoded, Encoded]]) -> float:
    """Largest difference between two sets of features."""
    return max(float((a - b).abs().max()) for p in pairs for a, b in zip(*p, strict=True))


def save_clip(folder: Path, *, projection: int = 32) -> None:
    """A small CLIP with its processor, as ``from_pretrained`` reads it."""
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    half = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "projection_dim": projection,
    }  # fmt: skip
    text = half | {
        "vocab_size": len(words), "max_position_embeddings": 24,
        "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "hidden_size": projection,
    }  # fmt: skip
    vision = half | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
    CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    CLIPProcessor(CLIPImageProcessor(**size), tokenizer).save_pretrained(folder)


def save_siglip(folder: Path, *, padding_side: str = "right") -> None:
    """A small SigLIP 2 of fixed resolution with its processor."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyz!?.,'", *(f"<0x{n:02X}>" for n in range(256))]
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *letters]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Siglip2Tokenizer(vocab=vocabulary, merges=[], padding_side=padding_side)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    half = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48,
    }  # fmt: skip
    text = half | {"vocab_size": len(words), "max_position_embeddings": 24, "projection_size": 32}
    vision = half | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    pictures = SiglipImageProcessor(size={"height": 32, "width": 32})
    SiglipProcessor(pictures, tokenizer).save_pretrained(folder)
