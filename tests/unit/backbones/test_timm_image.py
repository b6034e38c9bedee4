"""timm's models, compared with timm's own transforms and models."""

from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, load_image
from library_cases import alone_and_together, largest, pictures
from safetensors.torch import save_file

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import BackboneError, ConfigError, UnknownNameError
from mvsa_pipe.export.backbone import RunBackbone, read_backbone, write_backbone
from mvsa_pipe.layers import Layers
from mvsa_pipe.modality import Modality

timm = pytest.importorskip("timm")

CLOSE = {"atol": 1e-5, "rtol": 0}
# Prefix tokens that are left out, and whether the first token is CLS.
MODELS = {
    "test_vit.r160_in1k": (0, True),
    "test_vit2.r160_in1k": (1, False),  # a register and no CLS
    "test_resnet.r160_in1k": (0, False),
    "test_convnext.r160_in1k": (0, False),
    "test_mambaout": (0, False),  # cells come last-channel, and timm's vector is wider
}


def save(name: str, file: Path, **options: object) -> object:
    """Random weights as timm publishes them, classifier included; returns timm's model."""
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    for key, value in model.named_buffers():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    save_file(model.state_dict(), file)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_timm(tmp_path: Path, name: str) -> None:
    plain = save(name, tmp_path / "model.safetensors")
    backbone = load_image(f"timm:{name}", weights=str(tmp_path / "model.safetensors"))
    rule = timm.data.resolve_data_config(pretrained_cfg=plain.pretrained_cfg, model=plain)
    transform = timm.data.create_transform(**rule, is_training=False)
    with torch.no_grad():
        features = plain.forward_features(torch.stack([transform(p) for p in pictures()]))
        own = plain.forward_head(features, pre_logits=True)
    left_out, has_cls = MODELS[name]
    if features.dim() == 4:
        last = name == "test_mambaout"
        states = features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
    else:
        states = features[:, left_out:]
    hidden, pooled = encode_images(backbone, *pictures())
    torch.testing.assert_close(hidden, states, **CLOSE)
    same_width = own.shape[1] == states.shape[2]
    torch.testing.assert_close(pooled, own if same_width else states.mean(1), **CLOSE)
    assert backbone.identity.pooling == ("own" if same_width else "mean")
    assert (backbone.tokens, backbone.width) == tuple(states.shape[1:])
    assert largest(alone_and_together(backbone, pictures())) < 1e-5
    if has_cls:
        assert backbone.tokens == 101


def test_an_export_is_read_again(tmp_path: Path) -> None:
    save("test_vit.r160_in1k", tmp_path / "model.safetensors")
    options = BackboneOptions(
        "timm:test_vit.r160_in1k", weights=str(tmp_path / "model.safetensors")
    )
    backbone = load_image(options.name, weights=options.weights)
    part = RunBackbone(backbone, options, Precision.FLOAT32, StoredDtype.FLOAT16)
    write_backbone(part, tmp_path / "out", Modality.IMAGE)
    (tmp_path / "model.safetensors").unlink()
    back = read_backbone(tmp_path / "out", Modality.IMAGE, part.as_record()).backbone
    for one, two in zip(
        encode_images(back, *pictures()), encode_images(backbone, *pictures()), strict=True
    ):
        assert torch.equal(one, two)


def test_dinov3_by_its_name_in_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the published width, as names in timm fix the architecture."""
    name = "vit_small_patch16_dinov3.lvd1689m"
    whole, small = timm.create_model, {"embed_dim": 24, "depth": 1, "num_heads": 2}
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: whole(*a, **(small | k)))
    plain = save(name, tmp_path / "model.safetensors", num_classes=0)
    weights = str(tmp_path / "model.safetensors")
    backbone = load_image(f"dinov3:{name}", weights=weights)
    same = load_image(f"timm:{name}", weights=weights)
    pixels = torch.stack([torch.from_numpy(backbone.prepare(p)) for p in pictures()])
    with torch.no_grad():
        states = plain.forward_features(pixels)
    hidden, pooled = encode_images(backbone, *pictures())
    wanted = torch.cat([states[:, :1], states[:, 5:]], dim=1)  # without four registers
    torch.testing.assert_close(hidden, wanted, **CLOSE)
    torch.testing.assert_close(pooled, plain.forward_head(states, pre_logits=True), **CLOSE)
    assert backbone.identity.weights == same.identity.weights
    with pytest.raises(ConfigError, match="dinov3 has no model 'huge'"):
        load_image("dinov3:huge")


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnknownNameError, match=r"did you mean.*test_vit"):
        load_image("timm:test_vitt")
    with pytest.raises(UnknownNameError, match=r"weights of timm's test_vit"):
        load_image("timm:test_vit.in9k")
    for place in (tmp_path, f"local-dir:{tmp_path}", "hf-hub:someone/model"):
        with pytest.raises(ConfigError, match=r"no folder or address.*--weights timm:NAME=FILE"):
            load_image(f"timm:{place}")
    file = tmp_path / "model.safetensors"
    save("test_vit.r160_in1k", file)
    with pytest.raises(BackboneError, match=r"Found a folder.*model\.safetensors"):
        load_image("timm:test_vit", weights=str(tmp_path))
    with pytest.raises(BackboneError, match="belong to another architecture"):
        load_image("timm:test_resnet.r160_in1k", weights=str(file))
    with pytest.raises(ConfigError, match="--layers last"):
        BackboneOptions("timm:test_vit", layers=Layers.ALL)
