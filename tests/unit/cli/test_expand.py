"""Options are what the dataclasses say: names, defaults, help."""

import inspect
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.cli import bench, data, evaluate, extract, fit, predict, quickstart
from mvsa_pipe.cli.app import app
from mvsa_pipe.cli.expand import Verb, _build, attribute_docs, completion, expand
from mvsa_pipe.cli.verbs import VERBS, load_verb
from mvsa_pipe.extraction.backbone_choice import ExtractChoice
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.heads import HEADS
from mvsa_pipe.options import Option, Options, option
from mvsa_pipe.posts import FORMATS, ReadOptions
from mvsa_pipe.quickstart.options import QuickstartOptions
from mvsa_pipe.runs.options import CacheChoice, DataChoice, InferenceOptions, PostsChoice
from mvsa_pipe.training.options import TrainingOptions

# Each verb with the dataclasses that its options build.
BUILT = {
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
        elif not Option.of(field).hidden:
            yield kind, field


def commands():
    nested = [(name, load_verb(name)) for name in VERBS.names]
    while nested:
        path, command = nested.pop()
        if hasattr(command, "commands"):
            nested += [(f"{path} {name}", below) for name, below in command.commands.items()]
        else:
            yield path, command


@pytest.mark.parametrize("verb", BUILT)
def test_defaults_are_those_of_the_dataclasses(verb):
    function, kinds = BUILT[verb]
    parameters = inspect.signature(function).parameters
    for kind in kinds:
        for owner, field in leaves(kind):
            parameter = parameters[f"{field.name}_of_{owner.__name__.lower()}"]
            if field.default is MISSING:
                assert parameter.default is inspect.Parameter.empty
            else:
                assert parameter.default == field.default, f"{owner.__name__}.{field.name}"


@pytest.mark.parametrize("verb", BUILT)
def test_untouched_options_build_the_default_configuration(verb):
    function, kinds = BUILT[verb]
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
        names = {opt: p for p in command.params for opt in p.opts}
        for name in ("--cache", "--runs"):
            if name in names:
                kept = "caches" if name == "--cache" else "runs"
                assert names[name].help.startswith(f"The folder of all {kept}."), names[name].help


@dataclass(frozen=True)
class Sample(Options):
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


@dataclass(frozen=True)
class Extended(Sample):
    """A sample with another option.

    Attributes:
        plain: What it is here. It is longer, too.
        odd: Seldom used.
    """

    panel = "Oddities"

    odd: int = option(1, "--odd", "--strange", rare=True)
    unseen: int = option(1, hidden=True)


def sample_app(kind, found):
    sample = typer.Typer()

    def verb(options) -> None:
        """A verb
        of two lines.
        """
        found.append(options)

    verb.__annotations__["options"] = kind
    sample.command(cls=Verb)(expand(verb))
    return sample


def test_help_comes_from_the_docstring():
    assert attribute_docs(Sample) == {
        "plain": "What it is.",
        "longer": "What goes on over two lines.",
        "on": "Whether it is on.",
        "off": "Whether it is off.",
        "many": "Several of them.",
    }


def test_options_fill_the_dataclass():
    found = []
    sample = sample_app(Sample, found)

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


def help_screen(app, *words):
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def test_rare_options_stand_on_the_long_screen_alone():
    found = []
    sample = sample_app(Extended, found)
    short, long = help_screen(sample, "--help"), help_screen(sample, "--help-all")
    for screen in (short, long):
        assert "A verb of two lines." in screen
        assert "Oddities" in screen
        assert "--[no-]on" in screen
        assert "What it is here." in screen
        assert "unseen" not in screen
    assert "--odd" in long
    assert "--strange" in long
    assert "--odd" not in short
    assert "It is longer, too." in long
    assert "It is longer, too." not in short
    assert "--help-all" in short.splitlines()[-3]
    result = CliRunner().invoke(sample, ["--strange", "4"])
    assert result.exit_code == 0, result.output
    assert found == [Extended(odd=4)]


def test_without_rare_options_no_other_screen_is_named():
    assert "--help-all" not in help_screen(sample_app(Sample, []), "--help")


def test_what_a_dataclass_inherits_is_described_there():
    assert attribute_docs(Extended)["longer"] == "What goes on over two lines."
    assert attribute_docs(Extended)["plain"] == "What it is here. It is longer, too."


@pytest.mark.parametrize("path", sorted(path for path, _ in commands()))
def test_help_fits_a_screen(path):
    short = help_screen(app, *path.split(), "--help").strip().splitlines()
    assert len(short) <= 55, path
    assert max(map(len, short)) <= 80
    long = help_screen(app, *path.split(), "--help-all").strip().splitlines()
    assert any("--help-all" in line for line in long)
    assert len(long) >= len(short)


@pytest.mark.parametrize("path", ["fit", "extract", "finetune", "bench", "data check"])
def test_every_option_stands_on_the_long_screen_and_completes(path):
    command = dict(commands())[path]
    screen = help_screen(app, *path.split(), "--help-all")
    context = command.make_context(path, [], resilient_parsing=True)
    offered = {item.value for item in command.shell_complete(context, "--")}
    rare = [each for each in command.params if each.name in command.rare]
    assert rare
    for parameter in rare:
        (name, *_) = parameter.opts
        assert name in offered
        assert name in screen.replace("[no-]", "")
