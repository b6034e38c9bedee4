"""The data set of runs: what it is, its classes, and what ``mvsa data check`` finds."""

from collections.abc import Sequence

from mvsa_pipe.analysis.contest import Contest
from mvsa_pipe.analysis.finding import FindingTable
from mvsa_pipe.errors import MvsaError, name_some
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.posts.check import check_posts
from mvsa_pipe.posts.splits.split import PARTS, Split
from mvsa_pipe.progress import Progress
from mvsa_pipe.reports.content import DataSection
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.runs import Member, Run
from mvsa_pipe.runs.own_posts import own_posts


def data_section(
    contest: Contest, runs: Sequence[Run], options: ReportOptions, progress: Progress
) -> DataSection:
    """The data set of some runs; it is read again where it still is.

    Raises:
        RunError: A run's list of posts is missing or damaged.
    """
    run = contest.folds[0].run
    data = run.config["data"]
    members = run.members()
    protocols = dict.fromkeys(str(each.metrics["protocol"]) for each in runs)
    left_out = run.metrics.get("left_out", ())
    facts = [
        ("data set", str(data["name"])),
        ("path", str(data["path"] or "built in memory")),
        ("compared part", contest.part),
        ("compared posts", f"{len({i for fold in contest.folds for i in fold.ids}):,}"),
        ("classes", ", ".join(data["classes"])),
        ("epochs selected by", _selection(runs)),
    ]
    if left_out:
        facts.append(("left out, as they could not be read", f"{len(left_out):,} posts"))
    faults, unchecked = _checked(run, members, options, progress)
    return DataSection(
        name_some(protocols, 3),
        [(name, value) for name, value in facts if value],
        _classes(members, data["classes"]),
        faults,
        unchecked,
    )


def _selection(runs: Sequence[Run]) -> str:
    """The scores by which epochs were selected, in words."""
    names = dict.fromkeys(
        str(run.metrics.get("selected_by", "")).removeprefix("val_") for run in runs
    )
    titles = [Score(name).row.title if name in set(Score) else name for name in names]
    return f"{', '.join(titles)} of validation posts" if any(titles) else ""


def _classes(members: Sequence[Member], classes: Sequence[str]) -> FindingTable:
    parts = [part for part in PARTS if any(member.split == part for member in members)]
    counts = {(part, name): 0 for part in parts for name in classes}
    for member in members:
        if (member.split, member.label) in counts:
            counts[member.split, member.label] += 1
    return FindingTable(
        "posts by part and class",
        ["part", *classes, "all"],
        [
            [part, *(counts[part, name] for name in classes), sum(counts[part, n] for n in classes)]
            for part in parts
        ],
    )


def _checked(
    run: Run, members: Sequence[Member], options: ReportOptions, progress: Progress
) -> tuple[list[str], str]:
    """Faults of the data set, and why they are not known."""
    if not options.check:
        return [], "--no-check left it out."
    try:
        posts = own_posts(run)
        tag = run.config["protocol"].removeprefix(f"{posts.protocol}/")
        split = Split({member.post_id: member.split for member in members}, tag)
        return list(check_posts(posts, split, progress).spoilers), ""
    except MvsaError as error:
        return [], error.paragraph()
