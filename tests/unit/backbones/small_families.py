"""One small backbone of each newer family, with random weights, as users name it."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from backbone_support import WORDS, save_tokenizer, tiny_bert
from library_cases import save_clip, save_siglip
from safetensors.torch import save_file
from transformers import (
    DINOv3ViTConfig,
    DINOv3ViTImageProcessor,
    DINOv3ViTModel,
    RobertaConfig,
    RobertaModel,
)

from mvsa_pipe.backbones.options import BackboneOptions


def _clip(folder: Path, family: str) -> BackboneOptions:
    save_clip(folder)
    return BackboneOptions(f"{family}:{folder}")


def _siglip(folder: Path, family: str) -> BackboneOptions:
    save_siglip(folder)
    return BackboneOptions(f"{family}:{folder}")


def _twitter_roberta(folder: Path, family: str) -> BackboneOptions:
    config = RobertaConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=66, pad_token_id=0,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return BackboneOptions(f"{family}:{folder}", max_tokens=32)


def _sentence_transformer(folder: Path, family: str) -> BackboneOptions:
    """With a prompt, a linear layer and normalisation."""
    package = "sentence_transformers.models"
    for name, content in {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{package}.Dense"},
            {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{package}.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": True},
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True},
        "2_Dense/config.json": {"in_features": 32, "out_features": 32, "bias": True},
        "config_sentence_transformers.json": {
            "prompts": {"query": "find: "}, "default_prompt_name": "query",
        },
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    tiny_bert().save_pretrained(folder)
    save_tokenizer(folder)
    layer = {"linear.weight": torch.randn(32, 32), "linear.bias": torch.randn(32)}
    save_file(layer, folder / "2_Dense" / "model.safetensors")
    return BackboneOptions(f"{family}:{folder}")


def _dinov3(folder: Path, family: str) -> BackboneOptions:
    config = DINOv3ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=16, num_register_tokens=4,
    )  # fmt: skip
    DINOv3ViTModel(config).save_pretrained(folder)
    DINOv3ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return BackboneOptions(f"{family}:{folder}")


def _timm(folder: Path, family: str) -> BackboneOptions:
    import timm

    file = folder / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    return BackboneOptions(f"{family}:test_vit", weights=str(file))


def _open_clip(folder: Path, family: str) -> BackboneOptions:
    import open_clip

    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 16},
        "text_cfg": {
            "context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
        },
    }  # fmt: skip
    (folder / "small.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "small.json")
    save_file(open_clip.create_model("small").state_dict(), folder / "model.safetensors")
    return BackboneOptions(f"{family}:small", weights=str(folder / "model.safetensors"))


MADE: dict[str, Callable[[Path, str], BackboneOptions]] = {
    "clip-text": _clip,
    "siglip2-text": _siglip,
    "open-clip-text": _open_clip,
    "sentence-transformers": _sentence_transformer,
    "twitter-roberta": _twitter_roberta,
    "clip-image": _clip,
    "siglip2-image": _siglip,
    "open-clip-image": _open_clip,
    "dinov3": _dinov3,
    "timm": _timm,
}


def save_small(family: str, folder: Path) -> BackboneOptions:
    """Saves a small model of a family into a folder; returns the options that load it."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    return MADE[family](folder, family)
