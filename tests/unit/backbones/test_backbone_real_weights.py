"""Real, trained weights: a MiniLM and an ImageNet classifier."""

from pathlib import Path

import pytest
import torch
from backbone_support import SHARED, encode_images, encode_text, load_image, load_text, noise
from safetensors.torch import load_file
from torchvision import models

from mvsa_pipe.backbones.base import weights_digest

MINILM, SQUEEZENET = SHARED / "minilm-l6", SHARED / "squeezenet1_0.safetensors"


def present(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"the real weights are not at {path}")


@present(MINILM)
def test_minilm() -> None:
    backbone = load_text(f"hf-text:{MINILM}")
    hidden, pooled = encode_text(backbone, "What a lovely day", "A nice day", "Stock prices fell")
    assert (hidden.shape[-1], backbone.width) == (384, 384)
    near, far = (torch.cosine_similarity(pooled[0], pooled[k], dim=0) for k in (1, 2))
    assert near > 0.6 > 0.3 > far
    (long,) = backbone.tokenize(["word " * 400])  # its file says: cut at 128
    assert len(long) == 402
    assert len(backbone.cut(long)) == 128
    assert backbone.identity.weights == load_text(f"hf-text:{MINILM}").identity.weights


@present(SQUEEZENET)
def test_squeezenet_still_is_the_classifier() -> None:
    backbone = load_image("torchvision:squeezenet1_0", weights=str(SQUEEZENET))
    before = weights_digest(backbone.module)
    picture = noise(300, 260)
    hidden, pooled = encode_images(backbone, picture)
    assert hidden.shape == (1, 169, 512)
    plain = models.squeezenet1_0(weights=None).eval()
    plain.load_state_dict({k: v.float() for k, v in load_file(SQUEEZENET).items()})
    ready = models.SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()(picture)[None]
    with torch.no_grad():
        wanted = plain(ready)
        logits = plain.classifier(hidden.transpose(1, 2).reshape(1, 512, 13, 13)).flatten(1)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, hidden.mean(1))
    assert before == backbone.identity.weights == weights_digest(backbone.module)
