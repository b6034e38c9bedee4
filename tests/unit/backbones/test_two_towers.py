"""CLIP and SigLIP 2, compared with their own processors and models."""

import shutil
from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, encode_text, load_image, load_text
from library_cases import TEXTS, alone_and_together, largest, pictures, save_clip, save_siglip
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel

from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.errors import BackboneError, ConfigError
from mvsa_pipe.layers import Layers

CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    save_siglip(folder)
    return folder


def padded_by_library(folder: Path, padding: str | bool) -> dict[str, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer(
        list(TEXTS), padding=padding, truncation=True, max_length=24, return_tensors="pt"
    )


def pixels_by_library(folder: Path) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(images=pictures(), return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN])
def test_clip_text(clip: Path, pooling: Pooling) -> None:
    backbone = load_text(f"clip-text:{clip}", pooling=pooling)
    assert backbone.max_tokens == 24  # its own limit, as the default is larger
    plain = CLIPModel.from_pretrained(clip).eval()
    inputs = padded_by_library(clip, padding=True)
    with torch.no_grad():
        states = plain.text_model(**inputs)
        projected = plain.get_text_features(**inputs).pooler_output
    hidden, pooled = encode_text(backbone, *TEXTS)
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(hidden[mask], states.last_hidden_state[mask], **CLOSE)
    real = mask[..., None]
    wanted = {
        Pooling.PROJECTED: projected,
        Pooling.POOLER: states.pooler_output,
        Pooling.MEAN: (states.last_hidden_state * real).sum(1) / real.sum(1),
    }[pooling]
    torch.testing.assert_close(pooled, wanted, **CLOSE)
    assert largest(alone_and_together(backbone, list(TEXTS))) < 1e-5


@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN])
def test_clip_image(clip: Path, pooling: Pooling) -> None:
    backbone = load_image(f"clip-image:{clip}", pooling=pooling)
    plain = CLIPModel.from_pretrained(clip).eval()
    pixels = pixels_by_library(clip)
    with torch.no_grad():
        states = plain.vision_model(pixels)
        projected = plain.get_image_features(pixels).pooler_output
    hidden, pooled = encode_images(backbone, *pictures())
    torch.testing.assert_close(hidden, states.last_hidden_state, **CLOSE)
    wanted = {
        Pooling.PROJECTED: projected,
        Pooling.POOLER: states.pooler_output,
        Pooling.MEAN: states.last_hidden_state.mean(1),
    }[pooling]
    torch.testing.assert_close(pooled, wanted, **CLOSE)
    assert largest(alone_and_together(backbone, pictures())) < 1e-5
    assert (backbone.tokens, backbone.width) == (5, 32)


def test_a_projection_to_another_width_projects_every_patch(tmp_path: Path) -> None:
    save_clip(tmp_path, projection=16)
    backbone = load_image(f"clip-image:{tmp_path}")
    with torch.no_grad():
        wanted = (
            CLIPModel.from_pretrained(tmp_path)
            .eval()
            .get_image_features(pixels_by_library(tmp_path))
        )
    hidden, pooled = encode_images(backbone, *pictures())
    assert backbone.width == 16
    torch.testing.assert_close(pooled, wanted.pooler_output, **CLOSE)
    assert torch.equal(hidden[:, 0], pooled)
    before = load_image(f"clip-image:{tmp_path}", pooling=Pooling.POOLER, layers=Layers.ALL)
    assert encode_images(before, pictures()[0]).hidden.shape == (1, 5, 2, 32)
    with pytest.raises(ConfigError, match=r"Only the last layer.*--pooling pooler"):
        load_image(f"clip-image:{tmp_path}", layers=Layers.ALL)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN])
def test_siglip_text_is_padded_to_its_length(tmp_path: Path, side: str, pooling: Pooling) -> None:
    save_siglip(tmp_path, padding_side=side)
    backbone = load_text(f"siglip2-text:{tmp_path}", pooling=pooling)
    inputs = padded_by_library(tmp_path, padding="max_length")
    with torch.no_grad():
        plain = SiglipModel.from_pretrained(tmp_path).eval()
        states = plain.get_text_features(inputs["input_ids"])
    hidden, pooled = encode_text(backbone, *TEXTS)
    lengths = [max(1, int(n)) for n in inputs["attention_mask"].sum(1)]
    real = inputs["attention_mask"].bool()
    for k, length in enumerate(lengths):
        own = states.last_hidden_state[k][real[k]]
        torch.testing.assert_close(hidden[k, :length], own, **CLOSE)
        if pooling is Pooling.MEAN:
            torch.testing.assert_close(pooled[k], own.mean(0), **CLOSE)
    if pooling is Pooling.PROJECTED:
        torch.testing.assert_close(pooled, states.pooler_output, **CLOSE)
    if pooling is Pooling.POOLER:
        torch.testing.assert_close(pooled, states.last_hidden_state[:, -1], **CLOSE)
    assert largest(alone_and_together(backbone, list(TEXTS))) < 1e-5


@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.MEAN])
def test_siglip_image(siglip: Path, pooling: Pooling) -> None:
    backbone = load_image(f"siglip2-image:{siglip}", pooling=pooling)
    with torch.no_grad():
        plain = SiglipModel.from_pretrained(siglip).eval()
        states = plain.get_image_features(pixels_by_library(siglip))
    hidden, pooled = encode_images(backbone, *pictures())
    torch.testing.assert_close(hidden, states.last_hidden_state, **CLOSE)
    means = states.last_hidden_state.mean(1)
    wanted = states.pooler_output if pooling is Pooling.PROJECTED else means
    torch.testing.assert_close(pooled, wanted, **CLOSE)
    assert largest(alone_and_together(backbone, pictures())) < 1e-5


@pytest.mark.parametrize("name", ["clip-text", "siglip2-text", "clip-image", "siglip2-image"])
def test_layers_and_identity(clip: Path, siglip: Path, name: str) -> None:
    folder = clip if name.startswith("clip") else siglip
    load = load_text if name.endswith("text") else load_image
    last, every = (load(f"{name}:{folder}", layers=layers) for layers in (Layers.LAST, Layers.ALL))
    items = [*TEXTS] if load is load_text else pictures()
    encode = encode_text if load is load_text else encode_images
    assert torch.equal(encode(every, *items).hidden[:, :, -1], encode(last, *items).hidden)
    assert every.layers == 2
    assert last.identity.pooling == "projected"
    assert last.identity.name == f"{name}:{folder.name}"
    assert load(name, weights=str(folder)).identity.weights == last.identity.weights
    before = load(f"{name}:{folder}", pooling=Pooling.MEAN).identity
    assert (before.weights, before.pooling) == (last.identity.weights, "mean")


def test_what_is_refused(clip: Path, siglip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pooling 'cls'.*projected, pooler, mean"):
        BackboneOptions("clip-text", pooling=Pooling.CLS)
    with pytest.raises(BackboneError, match="not a clip model"):
        load_text(f"clip-text:{siglip}")
    with pytest.raises(ConfigError, match="at most 24"):
        load_text(f"clip-text:{clip}", max_tokens=25)
    shutil.copytree(clip, tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "config.json").read_text()
    own = config.replace("{", '{"auto_map": {"AutoModel": "mine.Mine"},', 1)
    (tmp_path / "config.json").write_text(own)
    for load, name in ((load_text, "clip-text"), (load_image, "clip-image")):
        with pytest.raises(BackboneError, match="never runs"):
            load(f"{name}:{tmp_path}")
