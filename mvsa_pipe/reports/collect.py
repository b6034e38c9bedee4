"""Collects a report from runs: everything that the page shows, without drawing or writing it."""

from collections.abc import Sequence

from mvsa_pipe.analysis.contest import Contest, contest_of_runs, contest_of_splits
from mvsa_pipe.analysis.evidence import Evidence, evidence
from mvsa_pipe.analysis.evidence_words import verdict_of
from mvsa_pipe.analysis.finding_store import findings_about
from mvsa_pipe.analysis.seen_picture import seen_pictures
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import now
from mvsa_pipe.reports.claims_section import claim_tables
from mvsa_pipe.reports.content import KeyFigure, Leaderboard, ReportContent
from mvsa_pipe.reports.costs import costs
from mvsa_pipe.reports.data_section import data_section
from mvsa_pipe.reports.given_runs import GivenRuns
from mvsa_pipe.reports.hard_posts import hard_posts
from mvsa_pipe.reports.head_details import head_details
from mvsa_pipe.reports.leaderboard import (
    all_scores,
    differences,
    forest,
    leaderboard,
    pair_tables,
    reference_of,
)
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.repeat import repeat_section
from mvsa_pipe.runs import Run


def collect(
    given: GivenRuns,
    options: ReportOptions,
    scores: Sequence[Score],
    progress: Progress,
) -> ReportContent:
    """Everything in a report about some runs.

    Args:
        given: The runs; those that differ in their seed alone are one head.
        options: What it contains.
        scores: The scores of the leaderboard; the first one orders the heads.
        progress: Receives progress.

    Raises:
        ConfigError: The reference is none of the heads, or a run does not define the first score.
        RunError: The runs are not over the same posts, or a record is missing or damaged.
        MvsaError: Texts and pictures are wanted, and cannot be read.
    """
    runs = given.runs
    findings = findings_about(runs)  # first: a damaged record is refused before the work
    contest = _contest(runs, options)
    found = evidence(
        contest,
        progress,
        scores[0],
        resamples=options.resamples,
        seed=options.seed,
        near_cosine=options.near_cosine,
    )
    board = leaderboard(contest, found, scores, options)
    reference = reference_of(found, options.reference)
    overview = [forest(board), differences(board, found, reference)]
    cost_plots, cost_table = costs(contest, board)
    protocol = str(runs[0].metrics["protocol"])
    return ReportContent(
        title=_title(found, str(runs[0].config["data"]["name"])),
        written=now(),
        verdict=verdict_of(found),
        figures=_figures(board, found),
        data=data_section(contest, runs, options, progress),
        leaderboard=board,
        overview=[plot for plot in overview if plot is not None],
        pairs=[*pair_tables(found, reference), all_scores(contest, found)],
        heads=head_details(contest, board, options, progress),
        cost_plots=cost_plots,
        costs=cost_table,
        hard=hard_posts(contest, options),
        claims=claim_tables(protocol, board),
        findings=findings,
        repeat=repeat_section(given),
        failed=given.failed,
        pictures=seen_pictures(findings, runs) if options.with_posts else {},
    )


def _contest(runs: Sequence[Run], options: ReportOptions) -> Contest:
    """The heads: over several splits if the runs are of several, unless posts are to be shared."""
    if options.shared_posts or len({str(run.metrics["protocol"]) for run in runs}) == 1:
        return contest_of_runs(runs, shared_only=options.shared_posts, at_least=1)
    return contest_of_splits(runs)


def _title(found: Evidence, data: str) -> str:
    heads, folds = len(found.rows), f" in {found.folds} splits" * (found.folds > 1)
    return f"{data}: {heads} head{'s' * (heads != 1)} on {found.posts:,} {found.part} posts{folds}"


def _figures(board: Leaderboard, found: Evidence) -> list[KeyFigure]:
    """The numbers that a reader sees first."""
    score, first = found.score, found.rows[0]
    unit = " %" if score.row.percent else ""
    low, high = (score.shown(bound) for bound in first.interval)
    figures = [
        KeyFigure(
            f"{score.shown(first.mean)}{unit}",
            f"{score.row.title} of {first.name}",
            f"95 % interval {low} to {high}",
        )
    ]
    if len(found.rows) > 1:
        tied = sum(row.group == 1 for row in found.rows)
        figures.append(
            KeyFigure(
                f"{tied} of {len(found.rows)}",
                "heads in the first group",
                "cannot be told apart from the first" if tied > 1 else "ahead of all others",
            )
        )
    known = found.resolution
    if known is not None and known.smallest_difference is not None:
        figures.append(
            KeyFigure(
                f"{100 * known.smallest_difference:.1f} points",
                "smallest visible difference",
                f"of two runs on {known.posts:,} posts, {100 * known.power:.0f} % power",
            )
        )
    figures.append(
        KeyFigure(
            f"{found.leaked:,}",
            f"{found.part} posts also in train",
            f"{score.row.title} without them: "
            + ("unknown" if first.leak_free is None else f"{score.shown(first.leak_free)}{unit}"),
        )
    )
    majority = next((row for row in board.rows if row.name == "majority"), None)
    if majority is not None and isinstance(majority.scores[0], float):
        figures.append(
            KeyFigure(f"{score.shown(majority.scores[0])}{unit}", "always the most frequent class")
        )
    return figures
