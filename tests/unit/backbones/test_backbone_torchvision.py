"""resnet50 and the torchvision door: named weights, state files, and where the feature map lies."""

import shutil
from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, load_image, noise
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from mvsa_pipe.backbones import torchvision as door
from mvsa_pipe.errors import BackboneError, ConfigError, UnknownNameError

# The model, D, P, and what lies between its feature map and its classifier's logits.
FAMILIES = {
    "squeezenet1_0": (512, 169, lambda m, x: m.classifier(x).flatten(1)),
    "mobilenet_v3_small": (576, 49, lambda m, x: m.classifier(m.avgpool(x).flatten(1))),
    "regnet_y_400mf": (440, 49, lambda m, x: m.fc(m.avgpool(x).flatten(1))),
    "densenet121": (1024, 49, lambda m, x: m.classifier(x.mean(dim=(2, 3)))),
    "swin_t": (768, 49, lambda m, x: m.head(m.avgpool(x).flatten(1))),
    "alexnet": (256, 36, lambda m, x: m.classifier(m.avgpool(x).flatten(1))),
}
PICTURE = noise(260, 240)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return models.get_model(name, weights=None).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_feature_map_is_what_the_classifier_reads(name: str, tmp_path: Path) -> None:
    width, tokens, classify = FAMILIES[name]
    plain = network(name)
    path = tmp_path / "state.safetensors"
    save_file({k: v.contiguous() for k, v in plain.state_dict().items()}, path)
    backbone = load_image(f"torchvision:{name}", weights=str(path))
    hidden, pooled = encode_images(backbone, PICTURE)
    assert hidden.shape == (1, tokens, width)
    assert (backbone.tokens, backbone.width) == (tokens, width)
    torch.testing.assert_close(pooled, hidden.mean(dim=1))
    side = int(tokens**0.5)
    feature_map = hidden.transpose(1, 2).reshape(1, width, side, side)
    ready = models.get_model_weights(name).IMAGENET1K_V1.transforms()(PICTURE)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            classify(plain, feature_map), plain(ready), atol=1e-4, rtol=1e-4
        )


def test_densenet_as_published_names_its_layers_otherwise(tmp_path: Path) -> None:
    plain = network("densenet121")
    state = {}
    for name, tensor in plain.state_dict().items():
        older = name
        for part in ("norm", "conv"):
            for number in "12":
                if "denselayer" in name:
                    older = older.replace(f".{part}{number}.", f".{part}.{number}.")
        state[older] = tensor
    torch.save(state, tmp_path / "densenet121.pth")
    assert any(".norm.1." in name for name in state)
    backbone = load_image("torchvision:densenet121", weights=str(tmp_path / "densenet121.pth"))
    own = plain.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in backbone.module.state_dict().items())


def test_resnet50_from_a_state_file(resnet50_file: Path) -> None:
    backbone = load_image("resnet50", weights=str(resnet50_file))
    hidden, pooled = encode_images(backbone, PICTURE)
    assert hidden.shape == (1, 49, 2048)
    torch.testing.assert_close(pooled, hidden.mean(dim=1))
    plain = models.resnet50(weights=None).eval()
    plain.load_state_dict(torch.load(resnet50_file, weights_only=True))
    ready = models.ResNet50_Weights.IMAGENET1K_V1.transforms()(PICTURE)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain.fc(pooled), plain(ready), atol=1e-3, rtol=1e-3)


def test_named_weights_are_found_where_torch_keeps_them(
    resnet50_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    kept.parent.mkdir(parents=True)
    shutil.copy(resnet50_file, kept)
    as_typed = load_image("resnet50")
    by_path = load_image("resnet50", weights=str(resnet50_file))
    assert as_typed.identity.witnesses == (kept,)
    assert as_typed.identity == by_path.identity
    assert by_path.identity.preprocessing["resize_px"] == 256


def test_named_weights_are_fetched_and_their_digest_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    published = tmp_path / "published"
    published.mkdir()
    torch.save(network("squeezenet1_0").state_dict(), published / "squeezenet1_0-b66bff10.pth")
    weights = models.SqueezeNet1_0_Weights.IMAGENET1K_V1
    monkeypatch.setattr(
        weights.value, "url", (published / "squeezenet1_0-b66bff10.pth").as_uri(), raising=True
    ) if False else object.__setattr__(
        weights.value, "url", (published / "squeezenet1_0-b66bff10.pth").as_uri()
    )
    with pytest.raises(BackboneError, match="cannot be had.*hash"):
        load_image("torchvision:squeezenet1_0")
