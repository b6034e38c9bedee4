"""``mvsa claims``: published results and what is known of each."""

from typing import Annotated

import typer
from rich.text import Text

from mvsa_pipe.cli.console import line, out, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import NOT_RECORDED, add_numbers, titled


@expand
def claims(
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="A protocol tag, such as mvsa-single/4511/clmlf: the claims that are comparable "
            "under it, and why the others of the data set are not.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """List published results with protocol, selection, source and audit notes."""
    from mvsa_pipe.analysis.claims import claims as every_claim
    from mvsa_pipe.analysis.claims import claims_beside

    if protocol is None:
        rows = [(claim, "") for claim in every_claim()]
    else:
        beside = claims_beside(protocol)
        rows = [(claim, "comparable") for claim in beside.comparable]
        rows += [(claim, f"not comparable: {reason}") for claim, reason in beside.others]
    if json:
        show_json(
            [
                claim.as_record() | ({"comparability": verdict} if verdict else {})
                for claim, verdict in rows
            ]
        )
        return
    table = titled(
        "published results, in percent" + (f" · {protocol}" if protocol else ""), "method"
    )
    add_numbers(table, "accuracy", "F1")
    table.add_column(Text("protocol, source, audit"))
    for claim, verdict in rows:
        f1 = NOT_RECORDED if claim.f1 is None else f"{claim.f1:g}"
        known = claim.protocol or f"{claim.data}, {claim.split}"
        details = Text(known)
        details.append(f"\n{claim.source}" + (", second-hand" if claim.second_hand else ""), "dim")
        for more in filter(
            None, (claim.audit, claim.selection and f"selection: {claim.selection}")
        ):
            details.append(f"\n{more}", "yellow")
        if verdict:
            details.append(f"\n{verdict}", "green" if verdict == "comparable" else "dim")
        table.add_row(
            claim.method + (f" ({claim.year})" if claim.year else ""),
            NOT_RECORDED if claim.accuracy is None else f"{claim.accuracy:g}",
            f1 + (" m" if claim.f1_mean == "macro" else ""),
            details,
        )
    out.print(table)
    line(
        ("F1 is weighted, m: macro; second-hand: quoted elsewhere, check before citing", "dim"),
    )
