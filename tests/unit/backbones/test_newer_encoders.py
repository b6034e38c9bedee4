"""twitter-roberta, dinov3 and ModernBERT, compared with transformers' own pipeline."""

from pathlib import Path

import pytest
import torch
from backbone_support import (
    WORDS,
    encode_images,
    encode_text,
    load_image,
    load_text,
    save_tokenizer,
)
from library_cases import TEXTS, alone_and_together, largest, pictures
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTImageProcessor,
    DINOv3ViTModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from mvsa_pipe.backbones.options import Pooling
from mvsa_pipe.backbones.twitter_roberta import normalise_tweet
from mvsa_pipe.errors import BackboneError

CLOSE = {"atol": 1e-5, "rtol": 0}


def states_of_library(folder: Path, texts: tuple[str, ...], most: int) -> list[torch.Tensor]:
    """Last hidden states of each text alone, by tokenizer and model of transformers."""
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    found = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            found.append(plain.eval()(**inputs).last_hidden_state[0])
    return found


@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.MEAN, Pooling.LAST])
def test_modernbert(tmp_path: Path, pooling: Pooling) -> None:
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64, pad_token_id=0, cls_token_id=2,
        sep_token_id=3, bos_token_id=2, eos_token_id=3, local_attention=8,
    )  # fmt: skip
    ModernBertModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    backbone = load_text(f"hf-text:{tmp_path}", pooling=pooling, max_tokens=32)
    hidden, pooled = encode_text(backbone, *TEXTS)
    for k, states in enumerate(states_of_library(tmp_path, TEXTS, 32)):
        torch.testing.assert_close(hidden[k, : len(states)], states, **CLOSE)
        wanted = {"cls": states[0], "mean": states.mean(0), "last": states[-1]}[pooling.value]
        torch.testing.assert_close(pooled[k], wanted, **CLOSE)
    assert largest(alone_and_together(backbone, list(TEXTS))) < 1e-5


def test_twitter_roberta_reads_normalised_tweets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=66, pad_token_id=0, num_labels=3,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    texts = ("@Anna good https://x.y", *TEXTS)
    backbone = load_text(f"twitter-roberta:{tmp_path}", max_tokens=32)
    hidden, pooled = encode_text(backbone, *texts)
    plain = states_of_library(tmp_path, tuple(map(preprocess, texts)), 32)
    for k, states in enumerate(plain):
        torch.testing.assert_close(hidden[k, : len(states)], states, **CLOSE)
        torch.testing.assert_close(pooled[k], states[0], **CLOSE)
    assert largest(alone_and_together(backbone, list(texts))) < 1e-5
    text = "@someone so  good http://t.co/abc @"
    places = {text[start:end] for start, end in backbone.spans(text) if start < end}
    assert {"@someone", "good", "http://t.co/abc", "@"} <= places
    assert "user" not in places
    same = load_text(f"hf-text:{tmp_path}", max_tokens=32).identity
    assert same.weights == backbone.identity.weights
    assert backbone.identity.preprocessing == same.preprocessing | {"normalisation": "@user, http"}


def preprocess(text: str) -> str:
    """As the model card of cardiffnlp/twitter-roberta-base-sentiment-latest has it."""
    new_text = []
    for t in text.split(" "):
        t = "@user" if t.startswith("@") and len(t) > 1 else t
        t = "http" if t.startswith("http") else t
        new_text.append(t)
    return " ".join(new_text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("@a @ @b: hi", "@user @ @user hi"),
        ("see https://t.co/x  now\nhttp", "see http  now\nhttp"),
        ("", ""),
        ("a@b.c (@d)", "a@b.c (@d)"),
    ],
)
def test_normalisation_is_the_published_one(text: str, wanted: str) -> None:
    assert normalise_tweet(text) == preprocess(text) == wanted


def save_dinov3(folder: Path, kind: str) -> None:
    torch.manual_seed(0)
    if kind == "vit":
        config = DINOv3ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            image_size=32, patch_size=16, num_register_tokens=4,
        )  # fmt: skip
        DINOv3ViTModel(config).save_pretrained(folder)
    else:
        config = DINOv3ConvNextConfig(hidden_sizes=[8, 8, 16, 32], depths=[1, 1, 1, 1])
        DINOv3ConvNextModel(config).save_pretrained(folder)
    DINOv3ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_dinov3_without_registers(tmp_path: Path, kind: str) -> None:
    save_dinov3(tmp_path, kind)
    backbone = load_image(f"dinov3:{tmp_path}")
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        inputs = [processor(images=p, return_tensors="pt")["pixel_values"] for p in pictures()]
        output = plain(torch.cat(inputs))
    registers = 4 if kind == "vit" else 0
    states = output.last_hidden_state
    wanted = torch.cat([states[:, :1], states[:, 1 + registers :]], dim=1)
    hidden, pooled = encode_images(backbone, *pictures())
    torch.testing.assert_close(hidden, wanted, **CLOSE)
    torch.testing.assert_close(pooled, output.pooler_output, **CLOSE)
    assert backbone.tokens == (5 if kind == "vit" else 2)
    assert largest(alone_and_together(backbone, pictures())) < 1e-5


def test_dinov3_is_no_other_model(dinov2_folder: Path) -> None:
    with pytest.raises(BackboneError, match="not a dinov3_vit model"):
        load_image(f"dinov3:{dinov2_folder}")
