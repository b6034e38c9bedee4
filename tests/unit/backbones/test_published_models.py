"""Parameters in the table of published weights, counted on the published architectures."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ModernBertConfig,
    ModernBertModel,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from mvsa_pipe.backbones import BACKBONES, traits

DINOV2 = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
DINOV2 |= {"giant": (1536, 40, 24)}


def _dinov2(size: str) -> nn.Module:
    width, layers, heads = DINOV2[size]
    swiglu = size == "giant"
    return Dinov2Model(
        Dinov2Config(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            image_size=518, patch_size=14, use_swiglu_ffn=swiglu,
        )
    )  # fmt: skip


def _roberta(kind: type, config: type, *, pooler: bool, **options: int) -> nn.Module:
    known = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1} | options
    return kind(config(**known), add_pooling_layer=pooler)


BUILDS: dict[str, Callable[[], nn.Module]] = {
    "google-bert/bert-base-uncased": lambda: BertModel(BertConfig()),
    "BAAI/bge-base-en-v1.5": lambda: BertModel(BertConfig()),
    "cardiffnlp/twitter-roberta-base-sentiment-latest": lambda: _roberta(
        RobertaModel, RobertaConfig, pooler=False
    ),
    "intfloat/multilingual-e5-base": lambda: _roberta(
        XLMRobertaModel, XLMRobertaConfig, pooler=True, vocab_size=250002
    ),
    "sentence-transformers/all-MiniLM-L6-v2": lambda: BertModel(
        BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
    ),
    "answerdotai/ModernBERT-base": lambda: ModernBertModel(ModernBertConfig()),
    "Qwen/Qwen3-Embedding-0.6B": lambda: Qwen3Model(
        Qwen3Config(
            vocab_size=151669, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
            num_attention_heads=16, num_key_value_heads=8, head_dim=128,
        )
    ),
    "clip-text": lambda: CLIPTextModelWithProjection(CLIPTextConfig()),
    "clip-image": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig()),
    "siglip2-text": lambda: SiglipTextModel(SiglipTextConfig(vocab_size=256000)),
    "siglip2-image": lambda: SiglipVisionModel(SiglipVisionConfig()),
    "facebook/dinov2-small": lambda: _dinov2("small"),
    "facebook/dinov2-base": lambda: _dinov2("base"),
    "facebook/dinov2-large": lambda: _dinov2("large"),
    "facebook/dinov2-giant": lambda: _dinov2("giant"),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": lambda: DINOv3ViTModel(
        DINOv3ViTConfig(
            hidden_size=768, num_attention_heads=12, intermediate_size=3072, num_register_tokens=4
        )
    ),
    "torchvision IMAGENET1K_V1": lambda: nn.Sequential(*list(resnet50().children())[:-2]),
}  # fmt: skip

PUBLISHED = [
    (row.name, model)
    for table in BACKBONES.values()
    for row in table
    for model in traits(row.name).models
]


@pytest.mark.parametrize(("family", "model"), PUBLISHED, ids=lambda v: str(getattr(v, "source", v)))
def test_parameters_are_those_of_the_architecture(family: str, model: object) -> None:
    build = BUILDS.get(model.source, BUILDS.get(family))
    if build is None:
        pytest.skip("built by its own library")
    with torch.device("meta"):
        network = build()
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions == pytest.approx(model.parameters_millions, abs=0.06)
    width = getattr(getattr(network, "config", None), "hidden_size", 2048)
    assert width == model.width


def test_each_name_loads_its_family() -> None:
    for family, model in PUBLISHED:
        assert model.name.partition(":")[0] in ("", family)
        assert model.licence
