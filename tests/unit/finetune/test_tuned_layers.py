"""What of a backbone is trained, how fast, and what adapters leave behind."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50
from transformers import Dinov2Config, Dinov2Model

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import Field
from mvsa_pipe.finetune.inputs import ImageInputs, TextInputs
from mvsa_pipe.finetune.layer_depths import layers_of, used_parameters
from mvsa_pipe.finetune.lora import adapt, merged_state
from mvsa_pipe.finetune.options import TuningOptions
from mvsa_pipe.finetune.tunable_backbone import TunableBackbone

BOTH = {Field.TEXT_HIDDEN, Field.TEXT_POOLED}


def text_tower(**options) -> TunableBackbone:
    backbone = load_backbone(BackboneOptions("tiny-text"))
    rows = [backbone.cut(row) for row in backbone.tokenize(["one two", "three four five"])]
    inputs = TextInputs(rows, backbone.pad_id)
    tunable = TunableBackbone(
        BackboneOptions("tiny-text"),
        backbone,
        inputs,
        torch.device("cpu"),
        TuningOptions(**options),
    )
    tunable.thaw(BOTH, seed=0)
    return tunable


def image_layers():
    backbone = load_backbone(BackboneOptions("tiny-image"))
    grey = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
    used = used_parameters(backbone.module, backbone.encode, [grey], {Field.IMAGE_POOLED})
    return layers_of(backbone.module, used), used


def test_what_nobody_reads_is_not_trained():
    layers, used = image_layers()
    assert not any(name.startswith("fc.") for name in used)
    assert layers.above(1) == {name for name in used if name.startswith("layer4.")}
    assert layers.above(None) == used


def test_the_last_layers_of_a_transformer_and_their_pace():
    tunable = text_tower(unfreeze="last-1")
    assert tunable.trained
    assert all(name.startswith("encoder.layer.1.") for name in tunable.trained)
    tunable = text_tower(layer_decay=0.5)
    paces = {name.split(".")[0]: pace for name, pace in tunable.trained.items()}
    assert paces["embeddings"] == 0.25
    assert {tunable.trained[n] for n in tunable.trained if "layer.1." in n} == {1.0}
    assert [group["lr"] for group in tunable.groups()] == [3e-5 * p for p in (0.25, 0.5, 1.0)]


@pytest.mark.parametrize("options", [{"unfreeze": "none"}, {"text_learning_rate": 0.0}])
def test_a_frozen_backbone_stays_in_eval_mode(options):
    tunable = text_tower(**options)
    first = tunable.encode(tunable.read([0, 1]))
    assert not first.pooled.requires_grad
    assert torch.equal(first.pooled, tunable.encode(tunable.read([0, 1])).pooled)


def test_batch_norms_keep_their_statistics():
    backbone = load_backbone(BackboneOptions("tiny-image"))
    grey = torch.randint(0, 255, (4, 64, 64, 3), dtype=torch.uint8)
    tunable = TunableBackbone(
        BackboneOptions("tiny-image"), backbone, None, torch.device("cpu"), TuningOptions()
    )
    tunable.trained = {"conv1.weight": 1.0}
    before = backbone.module.bn1.running_mean.clone()
    tunable.encode([grey])
    assert torch.equal(before, backbone.module.bn1.running_mean)


def test_layers_computed_twice_give_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        tunable = text_tower(checkpointing=checkpointing, backbone_dropout=0.1)
        torch.manual_seed(0)
        tunable.encode(tunable.read([0, 1])).pooled.square().sum().backward()
        gradients.append(
            {n: p.grad for n, p in tunable.network.named_parameters() if n in tunable.trained}
        )
    once, twice = gradients
    assert once.keys() == twice.keys()
    for name, gradient in once.items():
        torch.testing.assert_close(gradient, twice[name])


def test_adapters_start_as_nothing_and_merge_into_the_weights():
    pytest.importorskip("peft")
    plain = text_tower(unfreeze="none")
    tunable = text_tower(lora=True, lora_rank=2, backbone_dropout=0.0)
    assert tunable.trained
    assert all(".lora_" in name for name in tunable.trained)
    inputs = tunable.read([0, 1])
    with torch.no_grad():
        assert torch.equal(tunable.encode(inputs).pooled, plain.encode(inputs).pooled)
        for name, parameter in tunable.network.named_parameters():
            if name in tunable.trained:
                parameter.add_(0.05)
        adapted = tunable.encode(inputs).pooled
        assert not torch.allclose(adapted, plain.encode(inputs).pooled, atol=1e-2)
        plain.network.load_state_dict(merged_state(tunable.network), strict=True)
        torch.testing.assert_close(plain.encode(inputs).pooled, adapted, atol=1e-5, rtol=1e-5)


def test_adapters_of_a_vision_transformer(tmp_path: Path):
    pytest.importorskip("peft")
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(tmp_path)
    options = BackboneOptions("dinov2", weights=str(tmp_path))
    noise = torch.randint(0, 255, (2, 28, 28, 3), dtype=torch.uint8)
    backbone, plain = load_backbone(options), load_backbone(options)
    tuning = TuningOptions(lora=True, lora_rank=2, unfreeze="last-1")
    tunable = TunableBackbone(
        options, backbone, ImageInputs(backbone, [], 0), torch.device("cpu"), tuning
    )
    tunable.read = lambda _posts, **_: [noise]  # a picture, whatever post is asked for
    tunable.thaw({Field.IMAGE_HIDDEN, Field.IMAGE_POOLED}, seed=0)
    maps = {name.partition(".lora_")[0] for name in tunable.trained}
    assert len(maps) == 2  # queries and values, whatever transformers calls them
    assert all(name.startswith("encoder.layer.1.") for name in maps)
    tunable.encode([noise]).hidden.square().sum().backward()
    named = dict(tunable.network.named_parameters())
    assert {name for name, p in named.items() if p.grad is not None} == set(tunable.trained)
    with torch.no_grad():
        for name in tunable.trained:
            named[name].add_(0.05)
        adapted = tunable.encode([noise])
        assert not torch.allclose(plain.encode(noise)[0], adapted.hidden, atol=1e-2)
        plain.module.load_state_dict(tunable.state(), strict=True)
        torch.testing.assert_close(plain.encode(noise)[0], adapted.hidden, atol=1e-5, rtol=1e-5)


def test_a_convolutional_network_takes_no_adapters():
    pytest.importorskip("peft")
    network = resnet50(weights=None)
    with pytest.raises(ConfigError, match=r"--lora cannot train backbone 'resnet50'.*no attention"):
        adapt(network, "resnet50", {n for n, _ in network.named_parameters()}, rank=8, seed=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unfreeze", "some"),
        ("unfreeze", "last-0"),
        ("lora_rank", 0),
        ("text_learning_rate", -1.0),
        ("layer_decay", 0.0),
        ("backbone_dropout", 1.0),
        ("micro_batch", -1),
    ],
)
def test_what_cannot_be_used_is_refused(field, value):
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')} cannot be used"):
        TuningOptions(**{field: value})
