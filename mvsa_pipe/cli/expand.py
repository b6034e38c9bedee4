"""Converts the fields of option dataclasses to options of a verb, with two help screens.

Name, type, default, panel and help text of an option all come from the dataclass and its
docstring. ``--help`` shows the options that most people need first, ``--help-all`` every option.
"""

import copy
import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.heads import HEADS
from mvsa_pipe.options import Option
from mvsa_pipe.posts.formats import FORMATS
from mvsa_pipe.registry import Registry
from mvsa_pipe.tracking.trackers import TRACKERS

VerbT = TypeVar("VerbT", bound=Callable[..., Any])

# The second help option of every verb, and its parameter.
_ALL_FLAG, _ALL_NAME = "--help-all", "help_all"
# Longer lists of choices are part of the help text, which can be wrapped.
_MOST_CHOICE_COLUMNS = 24


def completion(*tables: Registry[Any]) -> Callable[[str], list[str]]:
    """Completes the names of one or several tables."""
    return lambda incomplete: [
        name for table in tables for name in table.names if name.startswith(incomplete)
    ]


_COMPLETIONS = {
    "--backbone": completion(TEXT_BACKBONES, IMAGE_BACKBONES),
    "--partner": completion(TEXT_BACKBONES, IMAGE_BACKBONES),
    "--format": completion(FORMATS),
    "--text": completion(TEXT_BACKBONES),
    "--image": completion(IMAGE_BACKBONES),
    "--head": completion(HEADS),
    "--tracker": completion(TRACKERS),
}


class Verb(TyperCommand):
    """A command with two help screens.

    Hidden options are rare ones: only ``--help-all`` shows them; shells complete them like all
    others.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # as typer's
        super().__init__(*args, **options)
        # unwraps paragraphs: typer would keep the line breaks
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", self.help or "")
        self.rare = {each.name for each in self.params if getattr(each, "hidden", False)}
        for each in self.params:
            if isinstance(each, TyperOption):
                each.hidden = False

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as typer's
        """Writes the help screen; the long one for ``--help-all``."""
        screen = copy.copy(self)
        screen.params = [_one_column(each) for each in self.params]
        if not ctx.meta.get(_ALL_NAME):
            rare = {*self.rare, _ALL_NAME}
            screen.params = [_shortened(each) for each in screen.params if each.name not in rare]
            if self.rare:
                screen.epilog = f"More options: {ctx.command_path} {_ALL_FLAG}"
        TyperCommand.format_help(screen, ctx, formatter)


def _one_column(parameter: Any) -> Any:  # noqa: ANN401  # typer's, of any kind
    """The same parameter with a name and its negation written as one: ``--[no-]name``."""
    shown = copy.copy(parameter)
    if parameter.secondary_opts:
        shown.opts = [f"--[no-]{name.removeprefix('--')}" for name in parameter.opts]
        shown.secondary_opts = []
    return shown


def _shortened(parameter: Any) -> Any:  # noqa: ANN401
    """The same parameter with its first name and the first sentence of its help text."""
    short = copy.copy(parameter)
    short.opts = parameter.opts[:1]
    short.help = re.split(r"(?<=\.) ", parameter.help or "", maxsplit=1)[0]
    return short


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[_ALL_NAME] = True
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit


_ALL = inspect.Parameter(
    _ALL_NAME,
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[
        bool,
        typer.Option(
            _ALL_FLAG, help="Show every option and exit.", callback=_show_all, is_eager=True
        ),
    ],
    default=False,
)


def expand(verb: VerbT) -> VerbT:
    """Replaces every parameter of a verb that is a dataclass by options, and adds --help-all."""
    signature = inspect.signature(verb)
    hints = get_type_hints(verb, include_extras=True)
    groups = {k: v for k, v in hints.items() if isinstance(v, type) and is_dataclass(v)}
    every: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            every += _leaves(groups[name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            every.append(parameter.replace(annotation=hints[name], kind=kind))
    every.append(_ALL)

    @functools.wraps(verb)
    def expanded(**values: Any) -> Any:  # noqa: ANN401  # the verb's own types
        arguments = {
            name: _build(groups[name], values) if name in groups else values[name]
            for name in signature.parameters
        }
        return verb(**arguments)

    expanded.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    del expanded.__wrapped__  # typer would follow it to the unexpanded verb
    return expanded  # type: ignore[return-value]


def _leaves(kind: type[Any], without: tuple[str, ...] = ()) -> list[inspect.Parameter]:
    """The options of a dataclass and of its nested dataclasses."""
    hints, help_texts = get_type_hints(kind), attribute_docs(kind)
    found: list[inspect.Parameter] = []
    for field in fields(kind):
        declared, hint = Option.of(field), hints[field.name]
        if declared.hidden or field.name in without:
            continue
        if isinstance(hint, type) and is_dataclass(hint):
            found += _leaves(hint, (*without, *declared.without))
            continue
        found.append(_parameter(kind, field, hint, help_texts.get(field.name, "")))
    return found


def _parameter(kind: type[Any], field: Field[Any], hint: Any, text: str) -> inspect.Parameter:  # noqa: ANN401
    declared = Option.of(field)
    names = declared.names(field.name)
    metavar = _metavar(field.name, hint)
    if metavar is not None:
        text = f"{text} One of {', '.join(map(str, _choices(hint)))}."
    # an option that is on by default or undecided can also be switched off
    either = field.default is True or hint == bool | None
    option = typer.Option(
        *(_with_negation(name) if either else name for name in names),
        help=text,
        metavar=metavar,
        autocompletion=_COMPLETIONS.get(names[0]),
        rich_help_panel=getattr(kind, "panel", None),
        hidden=declared.rare,
    )
    return inspect.Parameter(
        parameter_name(kind, field.name),
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[list[str] if hint == tuple[str, ...] else hint, option],
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
    )


def _with_negation(name: str) -> str:
    return f"{name}/--no-{name.removeprefix('--')}"


def _choices(hint: Any) -> list[str]:  # noqa: ANN401  # a type
    """The values of an enumeration; empty for other types."""
    kinds = [each for each in get_args(hint) or (hint,) if isinstance(each, type)]
    return [member.value for each in kinds if issubclass(each, Enum) for member in each]


def _metavar(name: str, hint: Any) -> str | None:  # noqa: ANN401  # a type
    """Placeholder of a value that has too many choices for a column."""
    wide = len("|".join(_choices(hint))) > _MOST_CHOICE_COLUMNS
    return f"<{name.replace('_', '-')}>" if wide else None


def parameter_name(kind: type[Any], field: str) -> str:
    """The verb's parameter for a field, distinct where two dataclasses share a field's name."""
    return f"{field}_of_{kind.__name__.lower()}"


def _build(kind: type[Any], values: dict[str, Any]) -> Any:  # noqa: ANN401
    """The dataclass from the values of its options."""
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in fields(kind):
        hint, key = hints[field.name], parameter_name(kind, field.name)
        if isinstance(hint, type) and is_dataclass(hint):
            arguments[field.name] = _build(hint, values)
        elif key in values:
            value = values[key]
            arguments[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """The description of each attribute in a dataclass's docstrings, as one line of plain text."""
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        section = re.split(r"\n\S", section, maxsplit=1)[0]
        texts |= re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, flags=re.MULTILINE)
    return {
        field.name: re.sub(r"\s+", " ", texts[field.name]).replace("``", "")
        for field in fields(kind)
        if field.name in texts
    }
