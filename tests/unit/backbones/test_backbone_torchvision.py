"""resnet50 and the torchvision door: named weights, state files, and where the feature map lies."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_support import Bomb, encode_images, load_image, noise
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import BackboneError, ConfigError, UnknownNameError

# The model, D, P, and what lies between its feature map and its classifier's logits.
FAMILIES = {
    "squeezenet1_0": (512, 169, lambda m, x: m.classifier(x).flatten(1)),
    "mobilenet_v3_small": (576, 49, lambda m, x: m.classifier(m.avgpool(x).flatten(1))),
    "regnet_y_400mf": (440, 49, lambda m, x: m.fc(m.avgpool(x).flatten(1))),
    "densenet121": (1024, 49, lambda m, x: m.classifier(x.mean(dim=(2, 3)))),
    "swin_t": (768, 49, lambda m, x: m.head(m.avgpool(x).flatten(1))),
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
        torch.testing.assert_close(classify(plain, feature_map), plain(ready), atol=1e-4, rtol=1e-4)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    state = tmp_path / "state.pth"
    torch.save(network("squeezenet1_0").state_dict(), state)
    published = models.SqueezeNet1_0_Weights.IMAGENET1K_V1.value
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    right, wrong = (tmp_path / f"squeezenet1_0-{d}.pth" for d in (digest[:8], "b66bff10"))
    for path in (wrong, right):
        shutil.copy(state, path)
    monkeypatch.setattr(published, "url", wrong.as_uri())
    with pytest.raises(BackboneError, match=r"cannot be loaded.*invalid hash.*--weights"):
        load_image("torchvision:squeezenet1_0")
    monkeypatch.setattr(published, "url", right.as_uri())
    backbone = load_image("torchvision:squeezenet1_0")
    assert backbone.identity.witnesses == (tmp_path / "home/hub/checkpoints" / right.name,)
    right.unlink()  # from now on it lies on this machine
    assert load_image("torchvision:squeezenet1_0").identity == backbone.identity
    assert capsys.readouterr() == ("", "")


def test_code_in_kept_weights_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    kept.parent.mkdir(parents=True)
    torch.save({"features.0.bias": Bomb(tmp_path / "ran")}, kept)
    with pytest.raises(BackboneError, match="cannot be read safely"):
        load_image("torchvision:squeezenet1_0")
    assert not (tmp_path / "ran").exists()


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(models.ResNet50_Weights.IMAGENET1K_V2.value, "url", "file:///nowhere-1.pth")
    with pytest.raises(BackboneError, match=r"cannot be loaded.*--weights resnet50=PATH"):
        load_image("resnet50", weights="IMAGENET1K_V2")
    with pytest.raises(BackboneError, match=r"IMAGENET1K_V9.*IMAGENET1K_V1, IMAGENET1K_V2"):
        load_image("resnet50", weights="IMAGENET1K_V9")


def _lacking(state: dict[str, torch.Tensor]) -> None:
    del state["features.3.squeeze.weight"]


def _misshapen(state: dict[str, torch.Tensor]) -> None:
    state["features.3.squeeze.weight"] = torch.zeros(1, 96, 1, 1)


def _more(state: dict[str, torch.Tensor]) -> None:
    state["features.99.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lacking, "1 missing: features.3.squeeze.weight"),
        (_misshapen, r"of wrong shape: features.3.squeeze.weight \(1, 96, 1, 1\) for \(16, 96"),
        (_more, "1 unknown: features.99.weight"),
    ],
)
def test_weights_of_another_architecture(tmp_path: Path, damage: object, message: str) -> None:
    state = network("squeezenet1_0").state_dict()
    damage(state)
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(BackboneError, match=message):
        load_image("torchvision:squeezenet1_0", weights=str(tmp_path / "damaged.pth"))


def test_models_that_this_door_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "any.pth").touch()
    with pytest.raises(BackboneError, match=r"feature map of 'torchvision:vit_b_16'.*hf-image"):
        load_image("torchvision:vit_b_16", weights=str(tmp_path / "any.pth"))
    with pytest.raises(UnknownNameError, match="squeezenet1_0"):
        load_image("torchvision:squeezenet")
    with pytest.raises(ConfigError, match=r"takes no argument.*IMAGENET1K_V2"):
        load_image("resnet50:v2")


def test_a_folder_with_the_model_s_name_is_not_mistaken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resnet18").mkdir()
    monkeypatch.chdir(tmp_path)
    assert BackboneOptions("torchvision:resnet18").located().name == "torchvision:resnet18"


def test_numpy_pixels_stay_bytes_until_the_device(resnet50_file: Path) -> None:
    pixels = load_image("resnet50", weights=str(resnet50_file)).prepare(PICTURE)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (224, 224, 3))
