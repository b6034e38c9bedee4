"""Every kind of backbone, written into a folder and read from it alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, encode_text, load_image, load_text, noise
from safetensors.torch import save_file
from torchvision import models
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTImageProcessor, ViTModel

from mvsa_pipe.backbones import traits
from mvsa_pipe.backbones.base import weights_digest
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import BackboneError, RunError
from mvsa_pipe.export.backbone import RunBackbone, read_backbone, write_backbone
from mvsa_pipe.modality import Modality


def there_and_back(backbone, name, folder, originals=(), **options):
    """What is read from the folder after the originals are gone, and what was written."""
    wanted = BackboneOptions(name, **options)
    part = RunBackbone(backbone, wanted, Precision.FLOAT32, StoredDtype.FLOAT16)
    write_backbone(part, folder, wanted.modality)
    for original in originals:
        shutil.rmtree(original) if original.is_dir() else original.unlink()
    return read_backbone(folder, wanted.modality, part.as_record())


def same_text(one, other):
    texts = ("good day!", "a")
    pairs = zip(encode_text(one, *texts), encode_text(other, *texts), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def same_image(one, other):
    images = (noise(300, 200), noise(64, 90, seed=1))
    pairs = zip(encode_images(one, *images), encode_images(other, *images), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("pooling", traits("bert").poolings)
def test_text_encoders(bert_folder: Path, tmp_path: Path, pooling: Pooling) -> None:
    source = shutil.copytree(bert_folder, tmp_path / "source")
    backbone = load_text(f"hf-text:{source}", pooling=pooling, max_tokens=9)
    kept = {"pooling": pooling, "max_tokens": 9}
    back = there_and_back(backbone, "hf-text:source", tmp_path / "out", [source], **kept)
    assert same_text(back.backbone, backbone)
    assert back.backbone.identity.weights == backbone.identity.weights


def test_a_prompt_goes_along(bert_folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(bert_folder, tmp_path / "source")
    kept = {"prompt": "good: ", "max_tokens": 16}
    backbone = load_text(f"hf-text:{source}", **kept)
    back = there_and_back(backbone, "hf-text:source", tmp_path / "out", [source], **kept)
    assert same_text(back.backbone, backbone)
    assert back.backbone.identity.preprocessing["prompt"] == "good: "


def test_bert_from_a_state_file(bert_folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(bert_folder, tmp_path / "source")
    backbone = load_text("bert", weights=str(source), max_tokens=64)
    kept = {"pooling": Pooling.CLS, "max_tokens": 64}
    back = there_and_back(backbone, "bert", tmp_path / "out", [source], **kept)
    assert same_text(back.backbone, backbone)


def test_dinov2(dinov2_folder: Path, tmp_path: Path) -> None:
    backbone = load_image("dinov2:small", weights=str(dinov2_folder))
    back = there_and_back(backbone, "dinov2:small", tmp_path / "out")
    assert same_image(back.backbone, backbone)


def test_image_encoders_with_a_processor_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(**small, intermediate_size=24, image_size=32, patch_size=16)
    ViTModel(config).save_pretrained(tmp_path / "source")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "source")
    backbone = load_image(f"hf-image:{tmp_path / 'source'}")
    back = there_and_back(backbone, "hf-image:source", tmp_path / "out", [tmp_path / "source"])
    assert same_image(back.backbone, backbone)


def test_one_half_of_a_two_legged_model(bert_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    half = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    half |= {"intermediate_size": 24}
    text = half | {"vocab_size": 64, "max_position_embeddings": 32}
    vision = half | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path / "c")
    for file in bert_folder.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "c")
    backbone = load_text(f"hf-text:{tmp_path / 'c'}", max_tokens=16)
    kept = {"pooling": Pooling.MEAN, "max_tokens": 16}
    back = there_and_back(backbone, "hf-text:c", tmp_path / "out", [tmp_path / "c"], **kept)
    assert same_text(back.backbone, backbone)


def test_torchvision_keeps_the_rule_of_the_weights_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    second = models.MobileNet_V2_Weights.IMAGENET1K_V2  # resizes to 232 pixels, the first to 256
    kept = tmp_path / "hub" / "checkpoints" / Path(second.url).name
    kept.parent.mkdir(parents=True)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), kept)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "torchvision:mobilenet_v2"
    backbone = load_image(name, weights="IMAGENET1K_V2")
    back = there_and_back(backbone, name, tmp_path / "out", [kept])
    assert back.backbone.identity.preprocessing["resize_px"] == 232
    assert same_image(back.backbone, backbone)


def test_a_rule_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    state = models.squeezenet1_1(weights=None).state_dict()
    save_file(state, file)
    (tmp_path / "preprocessing.json").write_text('{"resize_px": 8}')
    with pytest.raises(BackboneError, match=r"preprocessing beside these weights.*json"):
        load_image("torchvision:squeezenet1_1", weights=str(file))


@pytest.mark.parametrize("name", ["tiny-text", "tiny-image"])
def test_drawn_weights_are_written_too(tmp_path: Path, name: str) -> None:
    text = name == "tiny-text"
    backbone = load_text(name) if text else load_image(name)
    with torch.no_grad():
        next(backbone.module.parameters()).add_(0.5)  # no longer what the seed draws
    backbone.identity = replace(backbone.identity, weights=weights_digest(backbone.module))
    back = there_and_back(backbone, name, tmp_path, **({"pooling": Pooling.MEAN} if text else {}))
    same = same_text if text else same_image
    assert same(back.backbone, backbone)
    assert not same(back.backbone, load_text(name) if text else load_image(name))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    backbone = load_text("tiny-text")
    part = RunBackbone(
        backbone,
        BackboneOptions("tiny-text", pooling=Pooling.MEAN),
        Precision.FLOAT32,
        StoredDtype.FLOAT16,
    )
    write_backbone(part, tmp_path, Modality.TEXT)
    file = tmp_path / "text" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(RunError, match=r"text backbone.*cannot be loaded.*model.safetensors"):
        read_backbone(tmp_path, Modality.TEXT, part.as_record())
    file.write_bytes(whole[:-8] + b"\1\2\3\4" * 2)
    with pytest.raises(RunError, match="not the one that was written"):
        read_backbone(tmp_path, Modality.TEXT, part.as_record())
