"""Posts that share a text or a picture: how many, in which parts, and what they cost."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.alike import Alike, alike
from mvsa_pipe.analysis.contest import Contest, contest_of_runs
from mvsa_pipe.analysis.finding import (
    Cell,
    Estimate,
    Finding,
    FindingTable,
    MatrixPlot,
    estimate,
)
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.leaks import EXACT, NEAR_PICTURE, NEAR_VECTOR, SAME_TEXT, LeakFinder
from mvsa_pipe.analysis.options import DuplicatesOptions
from mvsa_pipe.analysis.resampling import Resampler, estimated, in_points
from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.picture_hashes import MOST_BITS
from mvsa_pipe.posts.splits.split import PARTS, TRAIN
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Member, Run


def duplicates(runs: Sequence[Run], options: DuplicatesOptions, progress: Progress) -> Finding:
    """Finds posts that are alike, in the data set of some runs.

    Args:
        runs: Runs over the same posts; the first names the data set.
        options: From which cosine vectors are near, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: Nothing of the posts can be compared, or runs are not over the same posts.
    """
    contest = contest_of_runs(runs, shared_only=options.shared_posts, at_least=1)
    run = contest.folds[0].run
    posts = run.members()
    found = alike(LeakFinder(run, progress, options.near_cosine), [post.post_id for post in posts])
    if not found.pairs:
        raise RunError(
            "Nothing of this run's posts can be compared",
            where=run.path,
            expected="its posts where the run found them, or recorded contents",
            found="; ".join(found.unchecked.values()),
            hint="mvsa data check finds exact duplicates of posts at any path",
        )
    groups = found.groups(len(posts))
    given_away = _given_away(contest, posts, groups)
    costs = _costs(contest, given_away, options)
    return finding_of(
        "duplicates",
        runs,
        options,
        question="Which posts share a text or a picture, and what do they change?",
        verdict=_verdict(contest, posts, groups, given_away, costs),
        tables=[
            _way_table(found, posts),
            _part_table(posts, groups),
            *([_cost_table(costs)] if costs else []),
            *([_group_table(found, posts, groups, options)] if options.listed and groups else []),
        ],
        plots=[_matrix(posts, groups)],
        method=_method(found, options),
        posts=len(posts),
        values={"groups": [[posts[at].post_id for at in group] for group in groups]},
    )


def _across(group: Sequence[int], posts: Sequence[Member]) -> bool:
    return len({posts[at].split for at in group}) > 1


def _conflicting(group: Sequence[int], posts: Sequence[Member]) -> bool:
    return len({posts[at].label for at in group}) > 1


def _way_table(found: Alike, posts: Sequence[Member]) -> FindingTable:
    rows: list[list[Cell]] = []
    for way in (*found.pairs, ""):
        groups = found.groups(len(posts), [way] if way else None)
        rows.append(
            [
                way or "any of these",
                len(groups),
                sum(map(len, groups)),
                sum(_across(group, posts) for group in groups),
                sum(_conflicting(group, posts) for group in groups),
            ]
        )
    return FindingTable(
        "posts that are alike",
        ["way", "groups", "posts", "across parts", "other labels"],
        rows,
        "across parts, other labels: groups whose posts are in several parts, or labelled apart",
    )


def _with_twin(
    posts: Sequence[Member], groups: Sequence[Sequence[int]]
) -> Counter[tuple[str, str]]:
    """Posts of a part with a like post in another place of each part."""
    counts: Counter[tuple[str, str]] = Counter()
    for group in groups:
        parts = Counter(posts[at].split for at in group)
        for at in group:
            own = posts[at].split
            counts.update((own, part) for part, n in parts.items() if n > (part == own))
    return counts


def _part_table(posts: Sequence[Member], groups: Sequence[Sequence[int]]) -> FindingTable:
    counts, sizes = _with_twin(posts, groups), Counter(post.split for post in posts)
    present = [part for part in PARTS if sizes[part]]
    columns = [f"in {part}" for part in present]
    rows: list[list[Cell]] = [
        [part, sizes[part], *(_share(counts[part, other], sizes[part]) for other in present)]
        for part in present
    ]
    return FindingTable(
        "posts of a part with a like post in each part",
        ["part", "posts", *columns],
        rows,
        "intervals of shares: Wilson, 95 %",
        columns,
    )


def _share(count: int, of: int) -> Estimate:
    """A share with Wilson's interval."""
    from scipy.stats import binomtest

    interval = binomtest(count, of).proportion_ci(0.95, method="wilson")
    return estimate(count / of, (interval.low, interval.high))


def _matrix(posts: Sequence[Member], groups: Sequence[Sequence[int]]) -> MatrixPlot:
    counts, sizes = _with_twin(posts, groups), Counter(post.split for post in posts)
    present = [part for part in PARTS if sizes[part]]
    return MatrixPlot(
        "posts with a like post, by its part, in percent",
        "part",
        "like post in",
        present,
        present,
        [[counts[part, other] / sizes[part] for other in present] for part in present],
        percent=True,
    )


def _given_away(
    contest: Contest, posts: Sequence[Member], groups: Sequence[Sequence[int]]
) -> set[str]:
    """Scored posts of which a training post is alike."""
    scored = set(contest.folds[0].ids)
    return {
        posts[at].post_id
        for group in groups
        if any(posts[at].split == TRAIN for at in group)
        for at in group
        if posts[at].post_id in scored
    }


def _costs(
    contest: Contest, given_away: set[str], options: DuplicatesOptions
) -> list[tuple[str, Estimate, Estimate, Estimate]]:
    """Accuracy of every head on all posts, on those unlike all training posts, and the change."""
    ids = contest.folds[0].ids
    kept = np.array([post_id not in given_away for post_id in ids], np.float32)
    if not given_away or not kept.any():
        return []
    resampler = Resampler(len(ids), options)
    found = []
    for entry in contest.entries:
        whole = resampler.scores(entry.folds[0], [Score.ACCURACY])[Score.ACCURACY]
        rest = resampler.scores(entry.folds[0], [Score.ACCURACY], kept)[Score.ACCURACY]
        found.append((entry.name, estimated(whole), estimated(rest), estimated(rest - whole)))
    return found


def _cost_table(costs: Sequence[tuple[str, Estimate, Estimate, Estimate]]) -> FindingTable:
    columns = ["all", "without them", "change"]
    return FindingTable(
        "accuracy with and without posts that have a like one in train",
        ["head", *columns],
        [list(row) for row in costs],
        percent=columns,
    )


def _group_table(
    found: Alike,
    posts: Sequence[Member],
    groups: Sequence[Sequence[int]],
    options: DuplicatesOptions,
) -> FindingTable:
    first = sorted(
        groups,
        key=lambda g: (not _conflicting(g, posts), not _across(g, posts), -len(g)),
    )
    rows: list[list[Cell]] = []
    for group in first[: options.listed]:
        labels = Counter(posts[at].label for at in group)
        parts = Counter(posts[at].split for at in group)
        rows.append(
            [
                name_some((posts[at].post_id for at in group), most=4),
                _counted(parts),
                _counted(labels),
                _shared(found, group),
            ]
        )
    return FindingTable(
        f"groups, those labelled apart first ({len(rows):,} of {len(groups):,})",
        ["posts", "parts", "labels", "alike in"],
        rows,
    )


def _shared(found: Alike, group: Sequence[int]) -> str:
    """What the posts of a group share: of each modality the closest way."""
    inside = np.array(group, np.int64)
    ways = {way for way, pairs in found.pairs.items() if np.isin(pairs[:, 0], inside).any()}
    texts, pictures = ways & {EXACT[Modality.TEXT], SAME_TEXT}, ways & {EXACT[Modality.IMAGE]}
    named = {
        "text": texts,
        "picture": pictures,
        "near text": not texts and ways & {NEAR_VECTOR[Modality.TEXT]},
        "near picture": not pictures and ways & {NEAR_PICTURE, NEAR_VECTOR[Modality.IMAGE]},
    }
    return ", ".join(name for name, hit in named.items() if hit)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _method(found: Alike, options: DuplicatesOptions) -> list[str]:
    lines = [
        (
            f"Pictures are near where at most {MOST_BITS} of the 64 bits of their perceptual "
            "hashes differ (Zauner 2010); cached vectors from a cosine of "
            f"{options.near_cosine:g}. Chains of like posts are one group. Empty texts, and "
            "pictures in place of missing ones, are left out."
        ),
        "Intervals of accuracy: bootstrap over posts and seeds, 95 %, paired.",
    ]
    return lines + [f"Not compared: {way}, as {why}." for way, why in found.unchecked.items()]


def _verdict(
    contest: Contest,
    posts: Sequence[Member],
    groups: Sequence[Sequence[int]],
    given_away: set[str],
    costs: Sequence[tuple[str, Estimate, Estimate, Estimate]],
) -> list[str]:
    inside = sum(map(len, groups))
    if not groups:
        return [f"No two of the {len(posts):,} posts are alike."]
    share = _share(inside, len(posts))
    across = sum(_across(group, posts) for group in groups)
    lines = [
        (
            f"{inside:,} of {len(posts):,} posts ({100 * share.value:.1f} %) are in "
            f"{len(groups):,} groups of like posts; {across:,} groups lie in several parts."
        )
    ]
    apart = sum(_conflicting(group, posts) for group in groups)
    labelled = _share(apart, len(groups))
    lines.append(
        f"The posts of {apart:,} groups ({100 * labelled.value:.1f} % "
        f"[{100 * labelled.low:.1f}, {100 * labelled.high:.1f}]) are labelled apart: no head that "
        "reads only what they share can be right for all of them."
    )
    scored = len(contest.folds[0].ids)
    leaked = _share(len(given_away), scored)
    lines.append(
        f"{len(given_away):,} of {scored:,} {contest.part} posts ({100 * leaked.value:.1f} % "
        f"[{100 * leaked.low:.1f}, {100 * leaked.high:.1f}]) have a like post in train."
    )
    lines += [
        f"Without them {name} changes by {in_points(change)}." for name, _, _, change in costs
    ]
    return lines
