"""Several layers of every backbone that has them, against plain transformers; refusals."""

from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, encode_text, load_image, load_text, noise
from transformers import (
    BertModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.layers import Layers


@pytest.fixture
def vit_folder(tmp_path: Path) -> Path:
    """A vision transformer of five layers."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=5,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
    )
    ViTModel(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.mark.parametrize("layers", [Layers.LAST4, Layers.ALL])
def test_layers_of_a_text_encoder_equal_plain_transformers(
    bert_folder: Path, layers: Layers
) -> None:
    backbone = load_text("bert", weights=str(bert_folder), max_tokens=16, layers=layers)
    found = encode_text(backbone, "goodly a b!")
    (ids,) = backbone.tokenize(["goodly a b!"])
    model = BertModel.from_pretrained(bert_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        output = model(torch.from_numpy(ids)[None].long(), output_hidden_states=True)
    wanted = torch.stack(output.hidden_states[1:], dim=2)  # two layers: fewer than four
    torch.testing.assert_close(found.hidden, wanted, atol=1e-5, rtol=0)
    assert backbone.layers == 2
    assert backbone.identity.layers == layers.value


@pytest.mark.parametrize(("layers", "count"), [(Layers.LAST4, 4), (Layers.ALL, 5)])
def test_layers_of_an_image_encoder_equal_plain_transformers(
    vit_folder: Path, layers: Layers, count: int
) -> None:
    backbone = load_image(f"hf-image:{vit_folder}", layers=layers)
    found = encode_images(backbone, noise(50, 40))
    pixels = torch.from_numpy(backbone.prepare(noise(50, 40)))[None]
    model = ViTModel.from_pretrained(vit_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        output = model(pixels, output_hidden_states=True)
    assert (backbone.layers, backbone.tokens, backbone.width) == (count, 5, 24)
    assert found.hidden.shape == (1, 5, count, 24)
    torch.testing.assert_close(found.hidden[:, :, -1], output.last_hidden_state)
    for place, states in enumerate(output.hidden_states[-count:-1]):
        torch.testing.assert_close(found.hidden[:, :, place], states)


def test_the_last_of_several_layers_is_what_is_kept_of_one(
    bert_folder: Path, vit_folder: Path, dinov2_folder: Path
) -> None:
    weights = {"bert": str(bert_folder)}
    for name in ("bert", "tiny-text"):
        one, all_of_them = (
            encode_text(
                load_text(name, weights=weights.get(name), max_tokens=16, layers=layers), "good a"
            )
            for layers in (Layers.LAST, Layers.ALL)
        )
        assert torch.equal(one.hidden, all_of_them.hidden[:, :, -1])
        assert torch.equal(one.pooled, all_of_them.pooled)
    one, all_of_them = (
        encode_images(load_image(f"hf-image:{vit_folder}", layers=layers), noise(50, 40))
        for layers in (Layers.LAST, Layers.ALL)
    )
    assert torch.equal(one.hidden, all_of_them.hidden[:, :, -1])
    assert torch.equal(one.pooled, all_of_them.pooled)
    dino = load_image("dinov2", weights=str(dinov2_folder), layers=Layers.ALL)
    assert dino.layers == 1  # the stand-in has one layer, so that there is no axis
    assert encode_images(dino, noise(50, 40)).hidden.dim() == 3


@pytest.mark.parametrize("name", ["resnet50", "torchvision:squeezenet1_0", "tiny-image"])
def test_a_backbone_without_layers_of_one_shape_refuses_more_than_the_last(name: str) -> None:
    with pytest.raises(ConfigError, match=r"only the last.*--layers last;.*Found --layers all"):
        BackboneOptions(name, layers=Layers.ALL)


def test_a_feature_map_of_the_open_door_has_no_layers(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ResNetModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="only the last can be stored"):
        load_image(f"hf-image:{tmp_path}", layers=Layers.LAST4)


def test_records_of_the_default_are_what_they_were() -> None:
    assert "layers" not in BackboneOptions("tiny-text").as_record()
    assert BackboneOptions("tiny-text", layers=Layers.ALL).as_record()["layers"] == "all"
