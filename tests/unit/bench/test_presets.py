"""Presets name what exists, and give way to what is named."""

import pytest

from mvsa_pipe.backbones import parse_backbone
from mvsa_pipe.backbones.presets import PRESETS
from mvsa_pipe.benches.backbone_pairs import chosen_pairs, with_preset
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.extraction.backbone_choice import ExtractChoice
from mvsa_pipe.finetune.options import LiveChoice
from mvsa_pipe.heads import HEADS
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.options import CacheChoice


@pytest.mark.parametrize("preset", list(PRESETS), ids=lambda row: row.name)
def test_every_name_exists(preset):
    assert {parse_backbone(name)[0] for name in preset.text} == {Modality.TEXT}
    assert {parse_backbone(name)[0] for name in preset.image} == {Modality.IMAGE}
    assert all(name in HEADS for name in preset.heads)
    pairs = chosen_pairs(with_preset(CacheChoice(), preset.name), preset.heads)
    assert len(pairs) == len(preset.text) * len(preset.image)


def test_extraction_takes_them_beside_those_named():
    choice = ExtractChoice(("tiny-text", "bert"), preset="frozen-2023")
    assert choice.backbones == ("bert", "resnet50", "dinov2", "tiny-text")


def test_a_prompt_goes_to_texts_alone_and_is_never_dropped():
    choice = ExtractChoice(("hf-text:e5", "dinov2"), prompt="query: ")
    assert [one.prompt for one in choice.options_for(choice.backbones)] == ["query: ", None]
    for refusing in (("dinov2",), ("hf-text:e5", "bert")):
        choice = ExtractChoice(refusing, prompt="query: ")
        with pytest.raises(ConfigError, match=f"'{refusing[-1]}' takes no prompt"):
            choice.options_for(choice.backbones)
    with pytest.raises(ConfigError, match=r"--prompt needs a named text backbone"):
        LiveChoice(CacheChoice(image="dinov2"), prompt="query: ")


def test_what_is_named_goes_first():
    caches = with_preset(CacheChoice(text="hf-text:mine"), "frozen-2023")
    assert (caches.text, caches.image) == ("hf-text:mine", "resnet50,dinov2")
    assert BenchOptions(preset="frozen-2026", heads=("svm",)).chosen_heads() == ("svm",)
    assert BenchOptions(preset="frozen-2026").chosen_heads() == PRESETS.row("frozen-2026").heads
    assert with_preset(CacheChoice(), "") == CacheChoice()


def test_a_name_that_is_near():
    with pytest.raises(UnknownNameError, match=r"did you mean frozen-2026"):
        BenchOptions(preset="frozen-2025")
