"""Turns the fields of configuration dataclasses into options of a verb.

Name, type, default and help text of an option all come from the dataclass and its docstring, so
that the command line cannot say anything else than the configuration does.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.heads import HEADS
from mvsa_pipe.posts.formats import FORMATS
from mvsa_pipe.registry import Registry

VerbT = TypeVar("VerbT", bound=Callable[..., Any])

# Options whose names are not those of their fields: class and field → names.
_NAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("PostsChoice", "path"): ("--data",),
    ("DataChoice", "path"): ("--data",),
    ("ReadOptions", "name"): ("--data-name",),
    ("CacheChoice", "folder"): ("--cache",),
    ("ExtractChoice", "backbones"): ("--backbone",),
    ("ExtractOptions", "on_bad_post"): ("--on-bad-image", "--on-bad-post"),
    ("TrainingOptions", "compiled"): ("--compile",),
    ("InferenceOptions", "on_bad_post"): ("--on-bad-image", "--on-bad-post"),
    ("LiveChoice", "on_bad_post"): ("--on-bad-image", "--on-bad-post"),
    ("PlaceOptions", "start"): ("--from",),
    ("InferenceOptions", "part"): ("--split",),
    ("BenchOptions", "heads"): ("--head",),
}

# Under which heading the help shows a dataclass's options; the verb's own come first.
_PANELS = {
    "PostsChoice": "Posts",
    "DataChoice": "Posts",
    "ReadOptions": "Posts",
    "CacheChoice": "Caches",
    "LiveChoice": "Backbones",
    "TrainingOptions": "Training",
    "SeedChoice": "Training",
    "TuningOptions": "Fine-tuning",
    "ExtractOptions": "Computing",
}

# Fields that the verbs set themselves, or that say nothing where a dataclass holds another.
_HIDDEN = {
    ("ReadOptions", "require_labels"),
    ("ReadOptions", "require_ids"),
    ("ReadOptions", "read_text"),
    ("ReadOptions", "read_image"),
    ("LiveChoice", "memory_gib"),
    ("LiveChoice", "layer_mix"),
}


def completion(*tables: Registry[Any]) -> Callable[[str], list[str]]:
    """Completes the names of one or several tables."""
    names = [name for table in tables for name in table.names]
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


_COMPLETIONS = {
    "--backbone": completion(TEXT_BACKBONES, IMAGE_BACKBONES),
    "--partner": completion(TEXT_BACKBONES, IMAGE_BACKBONES),
    "--format": completion(FORMATS),
    "--text": completion(TEXT_BACKBONES),
    "--image": completion(IMAGE_BACKBONES),
    "--head": completion(HEADS),
}


def expand(verb: VerbT) -> VerbT:
    """Replaces every parameter of a verb that is a dataclass by that dataclass's fields."""
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

    @functools.wraps(verb)
    def expanded(**values: Any) -> Any:  # noqa: ANN401  # whatever the verb takes and returns
        arguments = {
            name: _build(groups[name], values) if name in groups else values[name]
            for name in signature.parameters
        }
        return verb(**arguments)

    expanded.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    del expanded.__wrapped__  # typer would look through it at the unexpanded verb
    return expanded  # type: ignore[return-value]


def _leaves(kind: type[Any], holder: str = "") -> list[inspect.Parameter]:
    """The options of a dataclass, those of nested ones included."""
    hints, help_texts = get_type_hints(kind), attribute_docs(kind)
    found: list[inspect.Parameter] = []
    for field in fields(kind):
        if {(kind.__name__, field.name), (holder, field.name)} & _HIDDEN:
            continue
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            found += _leaves(hint, kind.__name__)
            continue
        found.append(_parameter(kind.__name__, field, hint, help_texts.get(field.name, "")))
    return found


def _parameter(owner: str, field: Field[Any], hint: Any, help_text: str) -> inspect.Parameter:  # noqa: ANN401
    names = _NAMES.get((owner, field.name), (f"--{field.name.replace('_', '-')}",))
    if field.default is True:
        names = tuple(f"{name}/--no-{name.removeprefix('--')}" for name in names)
    option = typer.Option(
        *names,
        help=help_text,
        autocompletion=_COMPLETIONS.get(names[0]),
        rich_help_panel=_PANELS.get(owner),
    )
    return inspect.Parameter(
        _key(owner, field.name),
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[list[str] if hint == tuple[str, ...] else hint, option],
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
    )


def _key(owner: str, field: str) -> str:
    """A parameter's name, told apart where two dataclasses share a field's name."""
    return f"{field}_of_{owner.lower()}"


def _build(kind: type[Any], values: dict[str, Any]) -> Any:  # noqa: ANN401
    """The dataclass from the values of its options."""
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in fields(kind):
        hint, key = hints[field.name], _key(kind.__name__, field.name)
        if isinstance(hint, type) and is_dataclass(hint):
            arguments[field.name] = _build(hint, values)
        elif key in values:
            value = values[key]
            arguments[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """What a dataclass's docstring says of each attribute, as one line of plain text."""
    text = inspect.getdoc(kind) or ""
    _, _, section = text.partition("Attributes:\n")
    section = re.split(r"\n\S", section, maxsplit=1)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", body).replace("``", "") for name, body in entries}
