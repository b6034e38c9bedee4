"""Labels that are probably wrong, what annotators agree on, and whether heads keep their ranks.

Source:
    Northcutt, Jiang and Chuang 2021, Confident Learning, JAIR 70; its package cleanlab.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.annotators import (
    Agreement,
    Target,
    agreement,
    agreement_table,
    modality_plot,
)
from mvsa_pipe.analysis.contest import Contest, contest_of_runs, reduced
from mvsa_pipe.analysis.finding import (
    Cell,
    Finding,
    FindingTable,
    ForestPlot,
    ForestRow,
    Plot,
    estimate,
)
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import LabelsOptions
from mvsa_pipe.analysis.out_of_fold import out_of_fold
from mvsa_pipe.analysis.suspects import (
    Suspects,
    class_table,
    find_suspects,
    kind_table,
    require_packages,
    suspect_table,
)
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import Entrant, Standing, standings
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run

_OUT_OF_FOLD = (
    "Probabilities are out of fold: each post is judged by a head that was trained without it and "
    "without its duplicates; another fold selects its strength or epoch, by log-loss."
)
_SUSPECTS = (
    "Suspects: cleanlab's find_label_issues, pruned by noise rate (Northcutt et al. 2021, section "
    "3.2). Quality is the probability of the given label, 1 the best."
)
_DOUBT = (
    "A suspect is a doubt, not a known error: a post that the judge cannot learn looks like one "
    "with a wrong label. Scores without suspects rise for every head, and most for heads like the "
    "judge. Heads were trained with suspects in either case."
)
_CEILING = (
    "Ceiling: share of one annotator's labels that equal the majority of the others, where these "
    "have one. An annotator who calls the text positive and the picture negative, or the reverse, "
    "gives the post no label, which equals none of the others'. Kappa: Fleiss 1971, by "
    "statsmodels. Posts without a majority count too."
)
_ONE_ANNOTATOR = (
    "These posts have one annotator each: how far people agree cannot be computed from them. "
    "MVSA-Multiple has three annotators a post."
)
_NO_PAIRS = "These posts have no separate labels of text and picture; posts of MVSA have."


def labels(runs: Sequence[Run], options: LabelsOptions, progress: Progress) -> Finding:
    """Finds doubtful labels of a data set, and ranks heads with and without these posts.

    Args:
        runs: Runs over one data set: their caches are read, and their test scores compared.
        options: The judging head, and what is listed.
        progress: Receives progress.

    Raises:
        ConfigError: cleanlab is not installed, or an option cannot be used.
        RunError: The runs are not over the same posts, or have no cached features.
        MvsaError: Posts or caches cannot be read.
    """
    require_packages()
    contest = contest_of_runs(runs, at_least=1)
    suspects = find_suspects(out_of_fold(runs, options, progress))
    posts = suspects.judged.posts
    ranking = _ranking(contest, suspects, options)
    annotated = [p.annotations for p in posts.posts if p.annotations]
    annotated += list(posts.dropped_annotations.values())
    several = [each for each in annotated if len(each) > 1]
    agreements = [
        agreement(several, target, options.resamples, options.seed)
        for target in (Target if several else ())
    ]
    tables = [class_table(suspects), kind_table(suspects, options), ranking.table]
    tables += [agreement_table(agreements)] if agreements else []
    plots: list[Plot] = [ranking.plot, *([modality_plot(annotated)] if annotated else [])]
    method = [_OUT_OF_FOLD, _SUSPECTS, _DOUBT]
    if annotated:
        method.append(_CEILING if several else _ONE_ANNOTATOR)
    else:
        method.append(_NO_PAIRS)
    return finding_of(
        "labels",
        runs,
        options,
        question="Which labels are probably wrong, and what does their noise cost?",
        verdict=[
            _of_suspects(suspects),
            ranking.words,
            *_of_annotators(agreements),
            *_of_modalities(suspects),
        ],
        tables=[*tables, suspect_table(suspects, options)],
        plots=plots,
        method=method,
        posts=len(suspects.judged.ids),
        values={
            "suspects": [suspects.record(place) for place in suspects.places],
            "rank_correlation": ranking.correlation,
        },
    )


def _of_suspects(suspects: Suspects) -> str:
    judged, count = suspects.judged, len(suspects.places)
    agreed = _percent(float((suspects.predicted == judged.labels).mean()))
    words = (
        f"{count:,} of {len(judged.ids):,} labels are suspects "
        f"({_percent(count / len(judged.ids))}), by a judge that agrees with {agreed} of all labels"
    )
    if not count:
        return f"{words}."
    worst = int(suspects.noise.argmax())
    return (
        f"{words}: its own errors are among them. The label with most noise is "
        f"{judged.posts.classes[worst]}, of which an estimated {_percent(suspects.noise[worst])} "
        "are wrong."
    )


def _of_annotators(agreements: Sequence[Agreement]) -> list[str]:
    post = next((each for each in agreements if each.target is Target.POST), None)
    if post is None or post.ceiling is None:
        return []
    ceiling = post.ceiling
    words = (
        f"One annotator reaches {_percent(ceiling.value)} [{_percent(ceiling.low)}, "
        f"{_percent(ceiling.high)}] of the others' majority for the post, over {post.posts:,} "
        "posts: people do not agree on more."
    )
    return [words]


def _of_modalities(suspects: Suspects) -> list[str]:
    found = [suspects.record(place) for place in range(len(suspects.posts))]
    known = [each for each in found if each["text_label"] is not None]
    if not known:
        return []
    text, image, both = (
        _percent(sum(each[a] == each[b] for each in known) / len(known))
        for a, b in (
            ("text_label", "given"),
            ("image_label", "given"),
            ("text_label", "image_label"),
        )
    )
    words = (
        f"Text and picture have the same label in {both} of these posts. The text's label is the "
        f"post's in {text}, the picture's in {image}: a head that read one modality without any "
        "error would score that."
    )
    return [words]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


@dataclass(frozen=True)
class Ranking:
    """Heads with and without suspects.

    Attributes:
        table: Ranks and scores.
        plot: The scores.
        words: Whether the ranking survives, as a sentence.
        correlation: Spearman's correlation of the scores; ``None`` for fewer than three heads, or
            where all have one score.
    """

    table: FindingTable
    plot: ForestPlot
    words: str
    correlation: float | None


def _ranking(contest: Contest, suspects: Suspects, options: LabelsOptions) -> Ranking:
    ids, doubtful = contest.folds[0].ids, suspects.ids
    kept = np.array([place for place, i in enumerate(ids) if i not in doubtful], np.int64)
    every = [entry.folds for entry in contest.entries]
    fewer = [[[reduced(seed, kept) for seed in fold] for fold in own] for own in every]
    names = [entry.name for entry in contest.entries]
    before = _standing(every, options)
    after = _standing(fewer, options) if len(kept) else {}
    rows: list[list[Cell]] = []
    plotted: list[ForestRow] = []
    for place in before:
        row: list[Cell] = [names[place]]
        for found, title in ((before, "all posts"), (after, "without suspects")):
            own = found.get(place)
            if own is None:
                row += [None, None]
                continue
            score = estimate(own.mean, own.interval)
            row += [own.rank, score]
            plotted.append(ForestRow(f"{names[place]}, {title}", score, title))
        rows.append(row)
    gone = len(ids) - len(kept)
    table = FindingTable(
        f"heads on {len(ids):,} {contest.part} posts, then without {gone:,} suspects",
        ["head", "rank", "accuracy", "rank then", "accuracy then"],
        rows,
        percent=["accuracy", "accuracy then"],
    )
    correlation = _correlation(
        [row.mean for row in before.values()], [after[p].mean for p in before if p in after]
    )
    return Ranking(
        table,
        ForestPlot("accuracy with and without suspects", "accuracy", plotted),
        _survival(before, after, gone, correlation),
        correlation,
    )


def _standing(entrants: Sequence[Entrant], options: LabelsOptions) -> dict[int, Standing]:
    """Standings by the place of each head, best first."""
    found = standings(entrants, Score.ACCURACY, resamples=options.resamples, seed=options.seed)
    return {row.place: row for row in found.rows}


def _correlation(before: Sequence[float], after: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(before) != len(after) or len(before) < 3 or 1 in (len(set(before)), len(set(after))):
        return None
    return float(spearmanr(before, after).statistic)


def _survival(
    before: dict[int, Standing],
    after: dict[int, Standing],
    gone: int,
    correlation: float | None,
) -> str:
    if len(before) < 2:
        return "One head has no ranking; name runs of several heads to see whether it survives."
    if not after:
        return "Every test post is a suspect: no ranking is left."
    order = list(before)
    swapped = sum(
        after[one].mean < after[other].mean
        for at, one in enumerate(order)
        for other in order[at + 1 :]
    )
    pairs = len(order) * (len(order) - 1) // 2
    known = "" if correlation is None else f" (Spearman's correlation {correlation:.2f})"
    told = [max(row.group for row in found.values()) for found in (before, after)]
    groups = [f"{count} group{'s' * (count > 1)}" for count in told]
    return (
        f"Without the {gone:,} suspects among the test posts, the order changes in "
        f"{swapped or 'none'} of {pairs:,} pair{'s' * (pairs > 1)} of heads{known}. Tests with "
        f"Holm's correction find {groups[0]} of heads with suspects, and {groups[1]} without."
    )
