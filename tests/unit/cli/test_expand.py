"""Options are what the dataclasses say: names, defaults, help."""

import inspect
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import get_type_hints

import pytest
import typer

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.bench.options import BenchOptions
from mvsa_pipe.cli import bench, data, evaluate, extract, fit, predict, quickstart
from mvsa_pipe.cli.app import app
from mvsa_pipe.cli.expand import _build, attribute_docs, completion, expand
from mvsa_pipe.extraction.choice import ExtractChoice
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.heads import HEADS
from mvsa_pipe.posts import FORMATS, ReadOptions
from mvsa_pipe.quickstart.options import QuickstartOptions
from mvsa_pipe.runs.options import CacheChoice, DataChoice, InferenceOptions, PostsChoice
from mvsa_pipe.training.options import TrainingOptions

# Each verb with the dataclasses that its options build.
VERBS = {
    "bench": (bench.bench, (BenchOptions, DataChoice, CacheChoice, TrainingOptions)),
    "check": (data.check, (ReadOptions,)),
    "evaluate": (evaluate.evaluate, (InferenceOptions, ReadOptions)),
    "extract": (extract.extract, (ExtractChoice, PostsChoice, ExtractOptions)),
    "fit": (fit.fit, (DataChoice, CacheChoice, TrainingOptions)),
    "predict": (predict.predict, (ReadOptions,)),
    "quickstart": (quickstart.quickstart, (QuickstartOptions,)),
}


def leaves(kind):
    hints = get_type_hints(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from leaves(hints[field.name])
        elif field.name != "require_labels":
            yield kind, field


def commands():
    group = typer.main.get_command(app)
    nested = [(name, group.commands[name]) for name in group.commands]
    while nested:
        path, command = nested.pop()
        if hasattr(command, "commands"):
            nested += [(f"{path} {name}", below) for name, below in command.commands.items()]
        else:
            yield path, command


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_those_of_the_dataclasses(verb):
    function, kinds = VERBS[verb]
    parameters = inspect.signature(function).parameters
    for kind in kinds:
        for owner, field in leaves(kind):
            parameter = parameters[f"{field.name}_of_{owner.__name__.lower()}"]
            if field.default is MISSING:
                assert parameter.default is inspect.Parameter.empty
            else:
                assert parameter.default == field.default, f"{owner.__name__}.{field.name}"


@pytest.mark.parametrize("verb", VERBS)
def test_untouched_options_build_the_default_configuration(verb):
    function, kinds = VERBS[verb]
    parameters = inspect.signature(function).parameters.items()
    untouched = {name: parameter.default for name, parameter in parameters}
    untouched["backbones_of_extractchoice"] = ["tiny-text"]
    for kind in kinds:
        expected = kind(("tiny-text",)) if kind is ExtractChoice else kind()
        assert _build(kind, untouched) == expected


@pytest.mark.parametrize(("path", "command"), sorted(commands(), key=lambda pair: pair[0]))
def test_every_option_says_what_it_does_in_plain_words(path, command):
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        assert text, f"mvsa {path}: {parameter.name} has no help"
        jargon = re.search(r"\bNone\b|FORMATS|``|\bTrue\b|\bFalse\b", text)
        assert not jargon, f"mvsa {path}: {parameter.name}: {text}"
        assert text[0].isupper() or text.startswith(("none", "auto", "random", "train")), text


def test_two_verbs_never_mean_two_things_by_one_option():
    """--data is posts, --cache is a folder of caches, wherever they stand."""
    for _, command in commands():
        names = {name: p for p in command.params for name in p.opts}
        for option in ("--cache", "--runs"):
            if option in names:
                assert names[option].help == f"The folder of all {option[2:].rstrip('s')}s."


@dataclass(frozen=True)
class Sample:
    """A sample.

    Attributes:
        plain: What it is.
        longer: What goes on
            over two ``lines``.
        on: Whether it is on.
        off: Whether it is off.
        many: Several of them.

    Raises:
        ConfigError: Never.
    """

    plain: int = 3
    longer: str = "x"
    on: bool = True
    off: bool = False
    many: tuple[str, ...] = ()


def test_help_comes_from_the_docstring():
    assert attribute_docs(Sample) == {
        "plain": "What it is.",
        "longer": "What goes on over two lines.",
        "on": "Whether it is on.",
        "off": "Whether it is off.",
        "many": "Several of them.",
    }


def test_options_fill_the_dataclass():
    from typer.testing import CliRunner

    found = []
    sample = typer.Typer()

    @sample.command()
    @expand
    def verb(options: Sample) -> None:
        """A verb."""
        found.append(options)

    for words, expected in [
        ([], Sample()),
        (["--plain", "4", "--no-on", "--off"], Sample(4, "x", on=False, off=True)),
        (["--many", "a", "--many", "b"], Sample(many=("a", "b"))),
    ]:
        result = CliRunner().invoke(sample, words)
        assert result.exit_code == 0, result.output
        assert found[-1] == expected


@pytest.mark.parametrize(
    ("verb", "option", "tables"),
    [
        ("fit", "--head", [HEADS]),
        ("bench", "--head", [HEADS]),
        ("fit", "--text", [TEXT_BACKBONES]),
        ("fit", "--image", [IMAGE_BACKBONES]),
        ("extract", "--backbone", [TEXT_BACKBONES, IMAGE_BACKBONES]),
        ("extract", "--partner", [TEXT_BACKBONES, IMAGE_BACKBONES]),
        ("extract", "--format", [FORMATS]),
    ],
)
def test_shells_complete_from_the_tables(verb, option, tables):
    command = dict(commands())[verb]
    parameter = next(p for p in command.params if option in p.opts)
    names = [name for table in tables for name in table.names]
    context = command.make_context(verb, [], resilient_parsing=True)
    assert [item.value for item in parameter.shell_complete(context, "")] == names
    assert completion(*tables)(names[0][:2])[0] == names[0]


def test_what_says_nothing_of_live_backbones_is_no_option():
    options = {
        parameter.name.partition("_of_")[0]
        for path, command in commands()
        if path == "finetune"
        for parameter in command.params
    }
    assert {"folder", "image_grid"} <= options
    assert not {"memory_gib", "layer_mix"} & options
