"""Published results beside those of the runs."""

from collections.abc import Sequence

from mvsa_pipe.analysis.claims import Claim, claims_beside
from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.reports.content import Leaderboard

_COLUMNS = ["method", "year", "accuracy", "F1", "source", "selected on", "audit"]


def claim_tables(protocol: str, board: Leaderboard) -> list[FindingTable]:
    """Claims that are comparable, below the first head; and the others, with the reason.

    Args:
        protocol: The protocol tag of the runs.
        board: The heads.
    """
    beside = claims_beside(protocol)
    tables = []
    if beside.comparable:
        rows = [_own(board), *(_row(claim) for claim in beside.comparable)]
        tables.append(
            FindingTable(
                "published under the same protocol",
                _COLUMNS,
                rows,
                "Published scores come without intervals unless they are stated.",
                ["accuracy"],
            )
        )
    if beside.others:
        tables.append(
            FindingTable(
                "not comparable",
                ["method", "why not", *_COLUMNS[1:]],
                [[claim.method, why, *_row(claim)[1:]] for claim, why in beside.others],
                "Same data set; other posts, another split, or not known which.",
                ["accuracy"],
            )
        )
    return tables


def _row(claim: Claim) -> list[Cell]:
    second_hand = "quoted elsewhere, check the original" if claim.second_hand else ""
    f1 = "" if claim.f1 is None else f"{claim.f1:.1f} ({claim.f1_mean})"
    accuracy = None if claim.accuracy is None else claim.accuracy / 100
    audit = "; ".join(filter(None, (claim.audit, second_hand)))
    return [
        claim.method,
        None if claim.year is None else str(claim.year),
        accuracy,
        f1 or None,
        claim.source,
        claim.selection or None,
        audit or None,
    ]


def _own(board: Leaderboard) -> list[Cell]:
    first = board.rows[0]
    values = dict(zip(board.scores, first.scores, strict=True))
    f1: Sequence[str] = [
        f"{score.shown(found.value if isinstance(found, Estimate) else found)} ({mean})"
        for score, mean in ((Score.F1_WEIGHTED, "weighted"), (Score.F1_MACRO, "macro"))
        if (found := values.get(score)) is not None
    ]
    return [
        f"{first.name} (here)",
        None,
        values.get(Score.ACCURACY),
        ", ".join(f1) or None,
        "these runs",
        "validation",
        None,
    ]
