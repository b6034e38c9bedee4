"""dinov2, from every place that its weights may lie in, against plain transformers."""

import json
from pathlib import Path

import pytest
import torch
from backbone_support import as_hub, encode_images, load_image, noise, tiny_dinov2_config
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, BaseImageProcessor, Dinov2Model

from mvsa_pipe.backbones import dinov2
from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.errors import BackboneError, ConfigError

# facebook/dinov2-base's own preprocessor_config.json.
PUBLISHED = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}


def published_processor(folder: Path) -> BaseImageProcessor:
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    return AutoImageProcessor.from_pretrained(folder, backend="pil")


PICTURES = (noise(300, 200), noise(180, 331, 1))


def test_as_typed_from_the_hub_it_equals_plain_transformers(
    dinov2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    as_hub(dinov2_folder, "facebook/dinov2-base", tmp_path)
    backbone = load_image("dinov2")
    hidden, pooled = encode_images(backbone, *PICTURES)
    processor = published_processor(tmp_path)
    plain = Dinov2Model.from_pretrained(dinov2_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = plain(**processor(images=list(PICTURES), return_tensors="pt")).last_hidden_state
    assert hidden.shape == (2, 257, 32)
    assert (backbone.tokens, backbone.width) == (257, 32)
    torch.testing.assert_close(hidden, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(pooled, hidden[:, 0])


def _published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names in facebook/dinov2-base's file, whatever this transformers calls its layers."""
    older = {
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
    }
    renamed = {}
    for name, tensor in state.items():
        for new, old in older.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("prefix", ["", "dinov2."])
def test_a_state_file_with_the_published_names(
    dinov2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setitem(dinov2._SIZES, "base", (32, 1, 2, False))
    state = _published_names(load_file(dinov2_folder / "model.safetensors"))
    state = {f"{prefix}{k}": v for k, v in state.items()}
    assert any("attention.attention.query" in name for name in state)
    if prefix:
        state["classifier.weight"] = torch.zeros(3, 64)
    save_file(state, tmp_path / "dinov2.safetensors")
    from_file = load_image("dinov2", weights=str(tmp_path / "dinov2.safetensors"))
    from_folder = load_image("dinov2", weights=str(dinov2_folder))
    assert from_file.identity == from_folder.identity
    assert_same(from_file, from_folder)


def assert_same(one: ImageBackbone, two: ImageBackbone) -> None:
    a, b = encode_images(one, PICTURES[0]), encode_images(two, PICTURES[0])
    assert torch.equal(a.hidden, b.hidden)
    assert torch.equal(a.pooled, b.pooled)


def test_weights_of_another_size(
    dinov2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dinov2._SIZES, "small", (48, 1, 2, False))
    state = load_file(dinov2_folder / "model.safetensors")
    save_file(state, tmp_path / "base.safetensors")
    with pytest.raises(BackboneError, match=r"another architecture.*of wrong shape"):
        load_image("dinov2:small", weights=str(tmp_path / "base.safetensors"))


def test_the_sizes_are_the_published_ones() -> None:
    config = tiny_dinov2_config()
    assert config.patch_size == 14
    assert list(dinov2._SIZES) == ["small", "base", "large", "giant"]
    with pytest.raises(ConfigError, match=r"no size 'huge'.*small, base, large, giant"):
        load_image("dinov2:huge")


def test_weights_that_cannot_be_had(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"cannot be loaded.*--weights dinov2=PATH"):
        load_image("dinov2")
    with pytest.raises(BackboneError, match="not a dinov2 model"):
        load_image("dinov2", weights=str(bert_folder))
