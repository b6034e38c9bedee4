"""The stand-ins, and what holds of every backbone: frozen, and the same wherever it is loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_support import encode_images, encode_text, load_image, load_text, noise

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES, load_backbone, parse_backbone
from mvsa_pipe.backbones.base import Backbone, ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.modality import Modality

DIGESTS = """
from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
for name in ("tiny-text", "tiny-image"):
    print(load_backbone(BackboneOptions(name)).identity.weights)
"""


def test_tiny_weights_are_the_same_in_every_process() -> None:
    torch.manual_seed(99)  # whatever was drawn before
    before = torch.random.get_rng_state()
    here = [load_backbone(BackboneOptions(name)).identity for name in ("tiny-text", "tiny-image")]
    assert torch.equal(torch.random.get_rng_state(), before)
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [identity.weights for identity in here]
    assert [identity.name for identity in here] == ["tiny-text", "tiny-image"]


def test_tiny_words_are_found_in_their_text() -> None:
    backbone, text = load_text("tiny-text", max_tokens=4), "Good, good day"
    spans = backbone.spans(text)
    assert [text[start:end] for start, end in spans] == ["", "Good", ",", ""]
    assert len(spans) == len(backbone.cut(backbone.tokenize([text])[0]))


def test_tiny_shapes() -> None:
    text, image = load_text("tiny-text"), load_image("tiny-image")
    assert encode_text(text, "Good, good day").hidden.shape == (1, 6, 384)
    assert encode_text(text, "").pooled.shape == (1, 384)
    assert encode_images(image, noise(90, 70)).hidden.shape == (1, 4, 512)
    (long,) = text.tokenize(["word " * 300])
    assert len(text.cut(long)) == 128
    assert text.cut(long)[-1] == long[-1]


def test_tiny_backbones_take_no_weights_and_no_pooler(tmp_path: Path) -> None:
    for name in ("tiny-text", "tiny-image"):
        with pytest.raises(ConfigError, match="drawn from a seed"):
            load_backbone(BackboneOptions(name, weights=str(tmp_path)))
        with pytest.raises(ConfigError, match="drawn from a seed"):
            load_backbone(BackboneOptions(f"{name}:large"))
    with pytest.raises(ConfigError, match="no pooling 'pooler'"):
        load_text("tiny-text", pooling=Pooling.POOLER)


@pytest.fixture(params=["tiny-text", "tiny-image", "bert", "dinov2", "resnet50"])
def backbone(
    request: pytest.FixtureRequest, bert_folder: Path, dinov2_folder: Path, resnet50_file: Path
) -> Backbone:
    name = request.param
    weights = {"bert": bert_folder, "dinov2": dinov2_folder, "resnet50": resnet50_file}.get(name)
    return load_backbone(BackboneOptions(name, weights and str(weights), max_tokens=32))


def _tensors(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers, those that no state dict has included."""
    module = backbone.module
    named = [*module.state_dict().items(), *module.named_buffers()]
    return {name: tensor.clone() for name, tensor in named}


def test_frozen_means_frozen(backbone: Backbone) -> None:
    assert not backbone.module.training
    assert not any(module.training for module in backbone.module.modules())
    assert not any(p.requires_grad for p in backbone.module.parameters())
    before = _tensors(backbone)
    if isinstance(backbone, TextBackbone):
        first, again = (encode_text(backbone, "a good day", "b") for _ in range(2))
    else:
        assert isinstance(backbone, ImageBackbone)
        first, again = (encode_images(backbone, noise(99, 88), noise(70, 80, 1)) for _ in range(2))
    after = _tensors(backbone)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert torch.equal(first.hidden, again.hidden)
    assert not first.hidden.requires_grad
    assert first.hidden.dtype is first.pooled.dtype is torch.float32
    assert first.hidden.shape[-1] == backbone.width


def test_padding_changes_nothing() -> None:
    text = load_text("tiny-text")
    alone, padded = encode_text(text, "a good day"), encode_text(text, "a good day", width=100)
    length = alone.hidden.shape[1]
    np.testing.assert_allclose(padded.hidden[:, :length], alone.hidden, atol=1e-5, rtol=0)
    np.testing.assert_allclose(padded.pooled, alone.pooled, atol=1e-5, rtol=0)


def test_names() -> None:
    assert parse_backbone("hf-text:a/b:c") == (Modality.TEXT, "hf-text", "a/b:c")
    assert parse_backbone("dinov2:small") == (Modality.IMAGE, "dinov2", "small")
    with pytest.raises(UnknownNameError, match=r"'dinov'.*did you mean dinov3 or dinov2"):
        BackboneOptions("dinov")
    for family in ("hf-text", "hf-image", "torchvision"):
        with pytest.raises(ConfigError, match=rf"{family}:ARGUMENT"):
            BackboneOptions(family)
    with pytest.raises(ConfigError, match="3 to 65,536"):
        BackboneOptions("bert", max_tokens=2)


@pytest.mark.parametrize("row", [*TEXT_BACKBONES, *IMAGE_BACKBONES], ids=lambda row: row.name)
def test_every_row_leads_to_its_class(row: object) -> None:
    if row.name in TEXT_BACKBONES:
        assert issubclass(TEXT_BACKBONES.load(row.name), TextBackbone)
    else:
        assert issubclass(IMAGE_BACKBONES.load(row.name), ImageBackbone)
