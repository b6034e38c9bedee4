"""``mvsa heads``: the table of heads, and the contract that each satisfies."""

from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.cli.console import line, out, remark, show_json
from mvsa_pipe.cli.expand import Verb, completion, expand
from mvsa_pipe.cli.tables import titled
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS, named_head

if TYPE_CHECKING:
    from mvsa_pipe.heads.contract import CheckResult

app = typer.Typer(
    help="List the fusion heads, one line each.",
    invoke_without_command=True,
    add_completion=False,
)


@app.callback()
def heads(context: typer.Context) -> None:
    """List the fusion heads, one line each."""
    if context.invoked_subcommand is not None:
        return
    table = titled("", "head", "method", "source")
    for row in HEADS:
        table.add_row(row.name, row.summary, row.source)
    out.print(table)
    for fault in HEADS.faults:
        remark(("left out: ", "yellow"), fault)


@app.command(cls=Verb)
@expand
def check(
    head: Annotated[
        str,
        typer.Argument(
            help="A fusion head: its name, FILE.py:CLASS, or package.module:CLASS.",
            autocompletion=completion(HEADS),
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the head, as name=value. Repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Check a head against the contract of heads, over random features.

    A post's logits must not depend on its batch or its padding, the seed alone must decide, every
    parameter must learn, and what is saved must be what was trained. The exit code is 1 if a check
    fails.
    """
    from mvsa_pipe.cli.fit import head_pairs  # another verb

    name, pairs = named_head(head), head_pairs(options or [])
    from mvsa_pipe.heads.base import FusionHead
    from mvsa_pipe.heads.contract import check_head
    from mvsa_pipe.heads.options import parse_options

    kind = HEADS.load(name)
    if not issubclass(kind, FusionHead):
        raise ConfigError(
            f"Head {name!r} is a baseline of scikit-learn, which these checks are not for",
            hint="mvsa heads lists the others",
        )
    results = check_head(kind, parse_options(name, kind.Options, pairs), name)
    passed = all(result.passed for result in results)
    if json:
        checks = [vars(result) | {"passed": result.passed} for result in results]
        show_json({"head": name, "passed": passed, "checks": checks})
    else:
        _show(HEADS.row(name).target, results)
    if not passed:
        raise typer.Exit(1)


def _show(head: str, results: "list[CheckResult]") -> None:
    table = titled(head, "check", "what it asks", "result")
    for result in results:
        table.add_row(result.check, result.asks, "passed" if result.passed else "FAILED")
    out.print(table)
    for result in results:
        if result.fault or result.note:
            style = "red" if result.fault else "yellow"
            line((f"{result.check}: ", style), result.fault or result.note)
