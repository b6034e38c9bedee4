"""What every newer family must do: be exported and read again, go into ONNX, be tuned."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbone_support import encode_images, encode_text
from library_cases import TEXTS, pictures
from small_families import MADE, save_small
from torch import Tensor

from mvsa_pipe.backbones import TEXT_BACKBONES, load_backbone
from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.export.backbone import RunBackbone, read_backbone, write_backbone
from mvsa_pipe.export.onnx_files import write_onnx
from mvsa_pipe.export.onnx_graphs import Graph
from mvsa_pipe.extraction.forward import padded
from mvsa_pipe.features.batch import Field
from mvsa_pipe.finetune.layer_depths import layers_of, used_parameters
from mvsa_pipe.finetune.lora import adapt, merged_state
from mvsa_pipe.modality import Modality

FAMILIES = pytest.mark.parametrize("family", MADE)


def encoded(backbone: TextBackbone | ImageBackbone) -> tuple[Tensor, Tensor]:
    if isinstance(backbone, TextBackbone):
        return encode_text(backbone, *TEXTS)
    return encode_images(backbone, *pictures())


def inputs(backbone: TextBackbone | ImageBackbone, chosen: list[int]) -> list[Tensor]:
    if isinstance(backbone, TextBackbone):
        rows = [backbone.cut(ids) for ids in backbone.tokenize([TEXTS[n] for n in chosen])]
        return [torch.from_numpy(values) for values in padded(rows, backbone.pad_id)]
    ready = [torch.from_numpy(backbone.prepare(pictures()[n])) for n in chosen]
    return [torch.stack(ready)]


@FAMILIES
def test_an_export_alone_gives_the_same_features(tmp_path: Path, family: str) -> None:
    options = save_small(family, tmp_path / "source")
    backbone = load_backbone(options)
    name = options.name if options.folder is None else f"{family}:source"
    known = replace(options, name=name, weights=None)
    part = RunBackbone(backbone, known, Precision.FLOAT32, StoredDtype.FLOAT16)
    write_backbone(part, tmp_path / "out", options.modality)
    shutil.rmtree(tmp_path / "source")
    back = read_backbone(tmp_path / "out", options.modality, part.as_record())
    for one, two in zip(encoded(back.backbone), encoded(backbone), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("family", [family for family in MADE if family in TEXT_BACKBONES])
def test_each_token_has_a_place_in_the_text(tmp_path: Path, family: str) -> None:
    """Or maps of attention would have more weights than words to put them on."""
    backbone = load_backbone(save_small(family, tmp_path / "source"))
    assert isinstance(backbone, TextBackbone)
    for text in ("@someone: so  good http://t.co/abc day", "rain " * 60, ""):
        spans = backbone.spans(text)
        if spans is not None:
            assert len(spans) == len(backbone.cut(backbone.tokenize([text])[0]))
            assert all(0 <= start <= end <= len(text) for start, end in spans)


class PooledGraph(Graph):
    """Pooled vectors, and the mean of the hidden states, of a backbone."""

    def __init__(self, backbone: TextBackbone | ImageBackbone) -> None:
        super().__init__()
        self.network, self.backbone = backbone.module, backbone
        self.axes = {"pixels": {0: "batch"}}
        if isinstance(backbone, TextBackbone):
            self.axes = {name: {0: "batch", 1: "tokens"} for name in ("ids", "mask")}

    def forward(self, *inputs: Tensor) -> Tensor:
        mask = inputs[1] > 0 if len(inputs) == 2 else None
        hidden, pooled = self.backbone.encode(inputs[0], *([] if mask is None else [mask]))
        if mask is not None:
            hidden = hidden * mask[..., None]
        return torch.cat([pooled, hidden.mean(dim=1)], dim=1)


# one of each kind of graph: tracing takes seconds, and the others differ in their weights alone
@pytest.mark.parametrize(
    "family", ["clip-text", "sentence-transformers", "siglip2-image", "timm", "open-clip-image"]
)
def test_onnx_gives_the_same_features(tmp_path: Path, family: str) -> None:
    backbone = load_backbone(save_small(family, tmp_path / "source"))
    graph = PooledGraph(backbone).eval()
    batches = []
    for chosen in ([0, 1, 3], [2], [3, 0]):
        values = inputs(backbone, chosen)
        values = [v.long() if v.dtype != torch.float32 else v for v in values]
        batches.append(dict(zip(graph.axes, values, strict=True)))
    written = write_onnx(graph, batches, tmp_path / "model.onnx")
    assert written.fault == ""
    assert written.largest_difference < 1e-5


@FAMILIES
def test_layers_are_found_for_tuning(tmp_path: Path, family: str) -> None:
    backbone = load_backbone(save_small(family, tmp_path / "source"))
    both = {
        Modality.TEXT: {Field.TEXT_HIDDEN, Field.TEXT_POOLED},
        Modality.IMAGE: {Field.IMAGE_HIDDEN, Field.IMAGE_POOLED},
    }[backbone.modality]
    used = used_parameters(backbone.module, backbone.encode, inputs(backbone, [0]), both)
    layers = layers_of(backbone.module, used)
    assert len(layers.modules) > 1
    before = {key: value.clone() for key, value in backbone.module.state_dict().items()}
    if family.startswith("open-clip"):
        with pytest.raises(ConfigError, match="queries and values"):
            adapt(backbone.module, family, used, rank=2, seed=0)
        return
    assert adapt(backbone.module, family, used, rank=2, seed=0)
    merged = merged_state(backbone.module)
    assert merged.keys() == before.keys()
    assert all(torch.equal(merged[key], before[key]) for key in before)
