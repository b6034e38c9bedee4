"""Options as typed by users, and heads built from them."""

import json
from dataclasses import FrozenInstanceError, asdict, dataclass

import pytest
import torch

from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.features.batch import ENCODED, FeatureSizes, Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.faithful_blocks import PublishedEncoderOptions
from mvsa_pipe.heads.latent import Level, LevelOptions
from mvsa_pipe.heads.options import AttentionOptions, HeadOptions, parse_options

SIZES = FeatureSizes(text_width=6, image_width=5, image_tokens=4, classes=3)


@dataclass(frozen=True)
class Switched(HeadOptions):
    """Options with a switch, which no head has yet."""

    on: bool = False


def test_strings_are_parsed():
    options = parse_options(
        "dual-attention", LevelOptions, {"width": "64", "dropout": "0", "level": "pooled"}
    )
    assert options == LevelOptions(width=64, dropout=0.0, level=Level.POOLED)
    assert isinstance(options.dropout, float)


@pytest.mark.parametrize(("given", "meant"), [("yes", True), ("False", False), (True, True)])
def test_switches_are_parsed(given, meant: bool):
    assert parse_options("x", Switched, {"on": given}) == Switched(on=meant)


@pytest.mark.parametrize("name", HEADS.names)
def test_options_survive_a_config_file(name: str):
    head = build_head(name, SIZES, seed=0)
    stored = json.loads(json.dumps(asdict(head.options)))
    again = build_head(name, SIZES, seed=0, options=stored)
    assert again.options == head.options
    assert type(again.options) is HEADS.load(name).Options


def test_unknown_option_names_the_near_ones():
    with pytest.raises(ConfigError) as caught:
        build_head("cmac", SIZES, 0, {"widht": 3})
    message = str(caught.value)
    assert "'cmac' has no option 'widht'" in message
    assert "did you mean width?" in message
    assert "n_attn" in message


def test_head_without_options_says_so():
    with pytest.raises(ConfigError, match="it has no options"):
        parse_options("text", HeadOptions, {"width": 3})


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("width", "wide", "a whole number"),
        ("width", 2.5, "a whole number"),
        ("width", "2.5", "a whole number"),
        ("width", True, "a whole number"),
        ("width", 0, "a whole number from 1 to 16,384"),
        ("width", 30, "a multiple of n_attn = 4"),
        ("dropout", "much", "a number"),
        ("dropout", "nan", "a number"),
        ("dropout", 1.0, "at least 0 and less than 1"),
        ("dropout", -0.1, "at least 0 and less than 1"),
        ("level", "word", "one of pooled, token"),
    ],
)
def test_bad_value_names_option_expectation_and_value(option: str, value, expected: str):
    with pytest.raises(ConfigError) as caught:
        build_head("dual-attention", SIZES, 0, {option: value})
    message = str(caught.value)
    assert repr(option) in message
    assert expected in message
    assert str(value) in message
    assert "head 'dual-attention'" in message


def test_bad_switch_is_refused():
    with pytest.raises(ConfigError, match="true or false"):
        parse_options("x", Switched, {"on": "perhaps"})


def test_options_are_checked_on_construction_too():
    with pytest.raises(ConfigError, match="n_attn"):
        AttentionOptions(width=10, n_attn=3)


def test_options_are_frozen():
    with pytest.raises(FrozenInstanceError):
        AttentionOptions().width = 3


def test_faithful_figures_are_the_published_ones():
    options = PublishedEncoderOptions()
    assert (options.width, options.hidden, options.n_attn) == (64, 128, 8)
    assert (options.dropout, options.input_dropout, options.attention_dropout) == (0.5, 0.2, 0.4)


def test_unknown_head_names_the_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean dual-attention"):
        build_head("dual-atention", SIZES, 0)


def test_pooled_level_needs_no_hidden_states():
    token, pooled = (
        build_head("dual-attention", SIZES, 0, {"level": level}) for level in ("token", "pooled")
    )
    assert token.needs == set(ENCODED)
    assert pooled.needs == {Field.TEXT_POOLED, Field.IMAGE_POOLED}
    assert type(pooled).needs == set(ENCODED)


def test_dropout_replays_neither_the_weights_nor_another_seed():
    generators = [build_head("basic", SIZES, seed).text.dropout.generator for seed in (0, 1)]
    assert generators[0].initial_seed() != generators[1].initial_seed()
    assert generators[0].initial_seed() != 0


def test_all_dropouts_of_a_head_share_one_generator():
    head = build_head("hstec", SIZES, 0)
    assert head.text.dropout.generator is head.encoder.dropout.generator
    assert head.text.dropout.generator.device == torch.device("cpu")
