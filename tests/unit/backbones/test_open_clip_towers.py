"""open_clip's towers, compared with its own tokenizer, transform and model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_support import encode_images, encode_text, load_image, load_text
from library_cases import TEXTS, alone_and_together, largest, pictures
from safetensors.torch import save_file

from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import BackboneError, ConfigError, UnknownNameError
from mvsa_pipe.export.backbone import RunBackbone, read_backbone, write_backbone

open_clip = pytest.importorskip("open_clip")
transform_module = pytest.importorskip("open_clip.transform")

CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module", params=["same-width", "other-width"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small model under a name that open_clip knows, and the file of its weights."""
    folder = tmp_path_factory.mktemp("open_clip")
    width = 64 if request.param == "same-width" else 128
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": width, "patch_size": 16},
        "text_cfg": {
            "context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
        },
    }  # fmt: skip
    name = f"small-{request.param}"
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    plain = open_clip.create_model(name).eval()
    save_file(plain.state_dict(), folder / "model.safetensors")
    return name, plain, str(folder / "model.safetensors")


@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN])
def test_text(model: Any, pooling: Pooling) -> None:
    name, plain, file = model
    backbone = load_text(f"open-clip-text:{name}", weights=file, pooling=pooling)
    assert backbone.max_tokens == 24
    ids = open_clip.get_tokenizer(name)(list(TEXTS))
    with torch.no_grad():
        x = plain.token_embedding(ids) + plain.positional_embedding
        states = plain.ln_final(plain.transformer(x, attn_mask=plain.attn_mask))
        projected = plain.encode_text(ids)
    hidden, pooled = encode_text(backbone, *TEXTS)
    ends = ids.argmax(dim=1)
    for k, end in enumerate(ends.tolist()):
        torch.testing.assert_close(hidden[k, : end + 1], states[k, : end + 1], **CLOSE)
        wanted = {
            Pooling.PROJECTED: projected[k],
            Pooling.POOLER: states[k, end],
            Pooling.MEAN: states[k, : end + 1].mean(0),
        }[pooling]
        torch.testing.assert_close(pooled[k], wanted, **CLOSE)
    assert largest(alone_and_together(backbone, list(TEXTS))) < 1e-5


@pytest.mark.parametrize("pooling", [Pooling.PROJECTED, Pooling.POOLER, Pooling.MEAN])
def test_image(model: Any, pooling: Pooling) -> None:
    name, plain, file = model
    backbone = load_image(f"open-clip-image:{name}", weights=file, pooling=pooling)
    transform = transform_module.image_transform_v2(
        transform_module.PreprocessCfg(**plain.visual.preprocess_cfg), is_train=False
    )
    with torch.no_grad():
        pixels = torch.stack([transform(p) for p in pictures()])
        projected = plain.encode_image(pixels)
        found = plain.visual.forward_intermediates(
            pixels, indices=1, output_fmt="NLC", output_extra_tokens=True
        )
    states = torch.cat(
        [found["image_intermediates_prefix"][-1], found["image_intermediates"][-1]], dim=1
    )
    hidden, pooled = encode_images(backbone, *pictures())
    with torch.no_grad():
        before = plain.visual.ln_post(states[:, 0])
    wanted = {
        Pooling.PROJECTED: projected,
        Pooling.POOLER: before,
        Pooling.MEAN: states.mean(1),
    }[pooling]
    torch.testing.assert_close(pooled, wanted, **CLOSE)
    if pooling is Pooling.PROJECTED and name == "small-other-width":
        assert torch.equal(hidden[:, 0], pooled)
    else:
        torch.testing.assert_close(hidden, states, **CLOSE)
    assert (backbone.tokens, backbone.width) == tuple(hidden.shape[1:])
    assert largest(alone_and_together(backbone, pictures())) < 1e-5


@pytest.mark.parametrize("kind", ["text", "image"])
def test_an_export_is_read_again(model: Any, tmp_path: Path, kind: str) -> None:
    name, _, file = model
    options = BackboneOptions(f"open-clip-{kind}:{name}", weights=file)
    load, encode, items = {
        "text": (load_text, encode_text, list(TEXTS)),
        "image": (load_image, encode_images, pictures()),
    }[kind]
    backbone = load(options.name, weights=file)
    part = RunBackbone(backbone, options, Precision.FLOAT32, StoredDtype.FLOAT16)
    write_backbone(part, tmp_path, options.modality)
    back = read_backbone(tmp_path, options.modality, part.as_record()).backbone
    for one, two in zip(encode(back, *items), encode(backbone, *items), strict=True):
        assert torch.equal(one, two)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnknownNameError, match=r"did you mean.*ViT-B-32"):
        load_image("open-clip-image:ViT-B-33/openai")
    for place in ("local-dir:/models/clip", "hf-hub:someone/model"):
        with pytest.raises(ConfigError, match=r"no folder or address.*hf-image:FOLDER"):
            load_image(f"open-clip-image:{place}")
    with pytest.raises(ConfigError, match=r"names no weights.*laion2b_s34b_b79k"):
        load_text("open-clip-text:ViT-B-32")
    with pytest.raises(BackboneError, match="not of CLIP's kind"):
        load_text("open-clip-text:ViT-B-16-SigLIP", weights="none.pth")
