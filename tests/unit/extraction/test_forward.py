"""Batches that do not fit are halved; weights cast once give the numbers of casting each time."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    T5Config,
    T5EncoderModel,
)

from mvsa_pipe.backbones.base import Encoded
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision, arithmetic
from mvsa_pipe.errors import BackboneError
from mvsa_pipe.extraction.forward import Forward, weights_cast_once

CPU = torch.device("cpu")


def forward(dtype: StoredDtype = StoredDtype.FLOAT32) -> Forward:
    backbone = SimpleNamespace(identity=SimpleNamespace(name="narrow"), width=2)
    return Forward(backbone, CPU, Precision.FLOAT32, dtype)


class Narrow:
    """Fits so many posts at once."""

    def __init__(self, most: int) -> None:
        self.most, self.tried = most, []

    def __call__(self, ids: Tensor, mask: Tensor) -> Encoded:
        self.tried.append(len(ids))
        if len(ids) > self.most:
            raise torch.OutOfMemoryError(f"{len(ids)} do not fit\nand more lines")
        hidden = (ids * mask)[..., None] * torch.tensor([1.0, 2.0])
        return Encoded(hidden, hidden.sum(dim=1))


def batch(count: int) -> tuple[Tensor, Tensor]:
    return torch.arange(count * 3.0).reshape(count, 3), torch.tensor([1.0, 1.0, 0.0]).expand(
        count, 3
    )


@pytest.mark.parametrize("dtype", list(StoredDtype))
@pytest.mark.parametrize(("count", "most"), [(8, 8), (8, 7), (8, 3), (7, 2), (7, 1), (1, 1)])
def test_halves_equal_the_whole(count: int, most: int, dtype: StoredDtype) -> None:
    own, narrow = forward(dtype), Narrow(most)
    wanted = own.collect(own.launch(Narrow(count), *batch(count)))
    found = own.collect(own.launch(narrow, *batch(count)))
    assert narrow.tried[0] == count
    assert sum(n for n in narrow.tried if n <= most) == count  # no post twice, none left out
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == np.dtype(dtype.value)
        np.testing.assert_array_equal(a, b)


def test_a_single_post_that_does_not_fit() -> None:
    with pytest.raises(BackboneError, match=r"single post.*narrow.*1 do not fit\. Next:"):
        forward().launch(Narrow(0), *batch(5))


def test_another_error_is_not_taken_for_one_of_memory() -> None:
    def broken(*_: Tensor) -> Encoded:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        forward().launch(broken, *batch(4))


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def bert() -> nn.Module:
    return BertModel(BertConfig(vocab_size=50, intermediate_size=32, **SMALL))


def t5() -> nn.Module:
    return T5EncoderModel(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2,
                                   num_heads=2))  # fmt: skip


def dinov2() -> nn.Module:
    return Dinov2Model(Dinov2Config(image_size=28, patch_size=14, **SMALL))


def clip() -> nn.Module:
    return CLIPVisionModel(CLIPVisionConfig(image_size=28, patch_size=14, intermediate_size=32,
                                            **SMALL))  # fmt: skip


def resnet() -> nn.Module:
    return models.resnet.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])


def vit() -> nn.Module:
    return models.VisionTransformer(28, 14, 2, 2, 16, 32)


def swin() -> nn.Module:
    return models.SwinTransformer([2, 2], 8, [2, 2], [2, 2], [2, 2])


def convnext() -> nn.Module:
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(8, 16, 1), block(16, None, 1)])


MODELS = [bert, t5, dinov2, clip, resnet, vit, swin, convnext]


def outputs(module: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode(), arithmetic(Precision.BFLOAT16, CPU):
        if isinstance(module, BertModel | T5EncoderModel):
            ids = torch.randint(50, (3, 7), generator=generator)
            mask = torch.arange(7) < torch.tensor([7, 5, 2])[:, None]
            found = module(input_ids=ids, attention_mask=mask.long())
        else:
            found = module(torch.rand(3, 3, 28, 28, generator=generator))
    return [found] if isinstance(found, Tensor) else [found.last_hidden_state]


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
def module(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = request.param()
    return made.eval().requires_grad_(requires_grad=False)


def test_weights_cast_once_give_the_very_same_numbers(module: nn.Module) -> None:
    exact = {name: value.clone() for name, value in module.state_dict().items()}
    places = {name: value.data_ptr() for name, value in module.named_parameters()}
    wanted = outputs(module)
    with weights_cast_once(module, Precision.BFLOAT16):
        assert any(p.dtype is torch.bfloat16 for p in module.parameters())
        found = outputs(module)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    for name, value in module.state_dict().items():
        assert value.dtype == exact[name].dtype
        assert torch.equal(value, exact[name])
    assert {name: p.data_ptr() for name, p in module.named_parameters()} == places


def test_weights_are_as_they_were_after_an_error() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    exact = copy.deepcopy(module.state_dict())

    def broken() -> None:
        with weights_cast_once(module, Precision.BFLOAT16):
            assert module[0].weight.dtype is torch.bfloat16
            assert module[1].weight.dtype is torch.float32
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        broken()
    assert all(torch.equal(value, exact[name]) for name, value in module.state_dict().items())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_nothing_is_cast_in_float32() -> None:
    module = nn.Linear(2, 2)
    with weights_cast_once(module, Precision.FLOAT32):
        assert module.weight.dtype is torch.float32


def test_arrays_are_in_the_order_of_their_axes() -> None:
    def transposed(ids: Tensor) -> Encoded:  # as the cells of a feature map come
        return Encoded(ids.reshape(2, 2, 3).transpose(1, 2), ids.T[:2].T)

    for dtype in StoredDtype:
        own = forward(dtype)
        hidden, pooled = own.collect(own.launch(transposed, torch.arange(12.0).reshape(2, 6)))
        assert hidden.shape == (2, 3, 2)
        assert hidden.flags.c_contiguous
        assert pooled.flags.c_contiguous
