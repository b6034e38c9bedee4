"""What each modality contributes to a head, and whether fusion gains over one modality."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.ablation import IMAGE, OTHER, SHUFFLE, TEXT, WAYS, Ablation, ablated
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
from mvsa_pipe.analysis.modality_labels import OPPOSING, LabelGroups, label_groups
from mvsa_pipe.analysis.options import ContributionOptions
from mvsa_pipe.analysis.resampling import Resampler, estimated, in_points
from mvsa_pipe.analysis.rescoring import RescoredEntry, rescored_entries
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import LEVEL, PairTest, compared
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run

# A modality whose exchange changes the class of fewer posts than this is not read.
_UNREAD = 0.01
# A modality whose loss costs less than this of accuracy, with certainty, carries nothing.
_NOTHING = 0.01
# A head whose gain over one modality is less than this, with certainty, stalls there.
_STALLED = 0.02

_ACCURACY = Score.ACCURACY


@dataclass(frozen=True)
class Gain:
    """What a head gains over one modality.

    Attributes:
        over: The head of one modality, or this head's own ablation.
        modality: The modality.
        trained: Whether a head was trained for that modality alone.
        test: The paired test of accuracy; its difference is the gain.
    """

    over: str
    modality: Modality
    trained: bool
    test: PairTest


def contribution(runs: Sequence[Run], options: ContributionOptions, progress: Progress) -> Finding:
    """Removes each modality from heads that read both, and compares them with heads of one.

    Args:
        runs: Runs; at least one reads both modalities. Runs of one modality are what the others
            are compared with.
        options: How modalities are removed, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: No run reads both modalities, or runs are not over the same posts.
        CacheError: Features of a run are not cached.
        DataError: Labels of text and picture are required, and there are none.
    """
    contest = contest_of_runs(runs, shared_only=options.shared_posts, at_least=1)
    entries = rescored_entries(contest, options, progress)
    fused = [entry for entry in entries if len(entry.runs[0].modalities) > 1]
    single = [entry for entry in entries if len(entry.runs[0].modalities) == 1]
    if not fused:
        raise RunError(
            "None of these runs reads both text and pictures",
            where=", ".join(str(run.path) for run in runs),
            expected="a head of both; heads of one modality may be given along with it",
            found=", ".join(f"{e.name} reads {e.runs[0].modalities[0]}" for e in single),
            hint="mvsa fit --head native-cat makes one; mvsa compare compares single modalities",
        )
    posts = len(contest.folds[0].ids)
    resampler = Resampler(posts, options)
    progress.start("modalities removed", len(fused), "heads")
    ablations = []
    for entry in fused:
        ablations.append(ablated(entry, resampler, options))
        progress.advance(1)
    gains = _gains(ablations, single, contest, options)
    groups = label_groups(runs[0], contest.folds[0].ids, required=options.by_labels)
    grouped = _group_table(ablations, gains, single, groups, options)
    return finding_of(
        "contribution",
        runs,
        options,
        question="What does each modality contribute, and does fusion help?",
        verdict=_verdict(ablations, gains),
        tables=[
            _gain_table(ablations, gains),
            *_shapley_tables(ablations, options),
            _ablation_table(ablations),
            *([grouped] if grouped else []),
        ],
        plots=_plots(ablations, gains, options),
        method=_method(options, single, groups),
        posts=posts,
        values={
            ablation.name: _figures(ablation, gain, options)
            for ablation, gain in zip(ablations, gains, strict=True)
        },
    )


def _gains(
    ablations: Sequence[Ablation],
    single: Sequence[RescoredEntry],
    contest: Contest,
    options: ContributionOptions,
) -> list[Gain]:
    """The gain of each head over the best head of one modality, or its own best ablation."""
    folds = {entry.name: entry.folds[0] for entry in contest.entries}
    entrants = [[ablation.answers] for ablation in ablations]
    named: list[tuple[str, Modality]] = []
    pairs = []
    best = max(single, key=_validated, default=None)
    for place, ablation in enumerate(ablations):
        if best is None:
            modality = max((TEXT, IMAGE), key=lambda m: _accuracy(ablation.alone[m]))
            own, name = ablation.alone[modality], f"own {modality}"
        else:
            (modality,) = best.runs[0].modalities
            own, name = list(folds[best.name]), best.name
        pairs.append((place, len(entrants)))
        entrants.append([own])
        named.append((name, modality))
    _, _, tests = compared(
        entrants,
        pairs,
        _ACCURACY,
        contest.held_out,
        resamples=options.resamples,
        seed=options.seed,
    )
    return [
        Gain(name, modality, best is not None, test)
        for (name, modality), test in zip(named, tests, strict=True)
    ]


def _validated(entry: RescoredEntry) -> float:
    """Accuracy on validation posts, by which the best head of one modality is chosen."""
    found = []
    for each in entry.runs:
        scores = each.run.metrics["scores"]
        part = scores.get("val") or next(iter(scores.values()))
        found.append(float(part["values"]["accuracy"]))
    return float(np.mean(found))


def _accuracy(seeds: Sequence[Answers]) -> float:
    return float(np.mean([(each.predicted == each.labels).mean() for each in seeds]))


def _gain_table(ablations: Sequence[Ablation], gains: Sequence[Gain]) -> FindingTable:
    rows: list[list[Cell]] = [
        [
            ablation.name,
            estimated(ablation.whole[_ACCURACY]),
            gain.over,
            estimate(gain.test.difference, gain.test.interval),
            f"{gain.test.p_holm:.2g}",
        ]
        for ablation, gain in zip(ablations, gains, strict=True)
    ]
    trained = gains[0].trained
    return FindingTable(
        "gain of fusion over one modality",
        ["head", "accuracy", "over", "gain", "p"],
        rows,
        (
            "over: the head of one modality that is best on validation"
            if trained
            else "over: the same head with one modality replaced, for which it was not trained; "
            "give a run of head text and one of head image to compare with trained ones"
        )
        + ("; p: adjusted for all heads (Holm)" if len(rows) > 1 else ""),
        ["accuracy", "gain"],
    )


def _shapley_tables(
    ablations: Sequence[Ablation], options: ContributionOptions
) -> list[FindingTable]:
    tables = []
    for score, unit in (
        (Score.ACCURACY, True),
        (Score.F1_MACRO, True),
        (Score.LOG_LOSS, False),
    ):
        rows: list[list[Cell]] = []
        for ablation in ablations:
            found = ablation.shapley(score, options.replacement)
            parts = found.text, found.image, found.interaction
            rows.append([ablation.name, *map(estimated, parts)])
        what = score.row.title if unit else f"{score.row.title} saved, in nats"
        columns = ["text", "image", "interaction"]
        tables.append(
            FindingTable(
                f"Shapley values of {what}",
                ["head", *columns],
                rows,
                percent=columns if unit else [],
            )
        )
    return tables


def _ablation_table(ablations: Sequence[Ablation]) -> FindingTable:
    rows: list[list[Cell]] = [
        [
            ablation.name,
            f"{modality}, {way}",
            estimated(ablation.change(modality, way, Score.ACCURACY)),
            estimated(ablation.change(modality, way, Score.F1_MACRO)),
        ]
        for ablation in ablations
        for modality in (TEXT, IMAGE)
        for way in WAYS
    ]
    changes = ["accuracy", "macro-F1"]
    return FindingTable(
        "change without a modality",
        ["head", "without", *changes],
        rows,
        "mean: of the training posts; zero: all zeros; shuffle: of another post",
        changes,
    )


def _group_table(
    ablations: Sequence[Ablation],
    gains: Sequence[Gain],
    single: Sequence[RescoredEntry],
    groups: LabelGroups,
    options: ContributionOptions,
) -> FindingTable | None:
    if groups.missing:
        return None
    trained = {entry.name: [run.answers() for run in entry.runs] for entry in single}
    rows: list[list[Cell]] = []
    for ablation, gain in zip(ablations, gains, strict=True):
        others = trained[gain.over] if gain.trained else ablation.alone[gain.modality]
        for name, places in groups.places.items():
            resampler = Resampler(len(places), options)
            own, theirs = (
                resampler.scores([reduced(a, places) for a in seeds], [_ACCURACY])[_ACCURACY]
                for seeds in (ablation.answers, others)
            )
            rows.append([ablation.name, name, len(places), estimated(own), estimated(own - theirs)])
    note = "labels: those of text and picture; gain: over the modality of the first table"
    if OPPOSING not in groups.places:
        note += "; no tested post has opposing labels, as the usual rule drops such posts"
    return FindingTable(
        "by the labels of text and picture",
        ["head", "labels", "posts", "accuracy", "gain"],
        rows,
        note,
        ["accuracy", "gain"],
    )


def _plots(
    ablations: Sequence[Ablation], gains: Sequence[Gain], options: ContributionOptions
) -> list[Plot]:
    shares = []
    for ablation in ablations:
        found = ablation.shapley(_ACCURACY, options.replacement)
        for name, values in (("text", found.text), ("image", found.image)):
            shares.append(ForestRow(f"{ablation.name}, {name}", estimated(values), name))
    return [
        ForestPlot(
            "accuracy that each modality contributes (Shapley values)",
            "accuracy",
            shares,
            {"nothing": 0.0},
        ),
        ForestPlot(
            "accuracy gained over one modality",
            "accuracy",
            [
                ForestRow(
                    f"{a.name} over {g.over}", estimate(g.test.difference, g.test.interval), a.name
                )
                for a, g in zip(ablations, gains, strict=True)
            ],
            {"no gain": 0.0},
        ),
        ForestPlot(
            "change of accuracy without a modality (shuffle)",
            "accuracy",
            [
                ForestRow(
                    f"{a.name} without {m}", estimated(a.change(m, SHUFFLE, _ACCURACY)), m.value
                )
                for a in ablations
                for m in (TEXT, IMAGE)
            ],
            {"no change": 0.0},
        ),
    ]


def _verdict(ablations: Sequence[Ablation], gains: Sequence[Gain]) -> list[str]:
    lines = []
    for ablation, gain in zip(ablations, gains, strict=True):
        lines.append(_fusion_sentence(ablation, gain))
        lines += signatures(ablation, gain).values()
    return lines


def _fusion_sentence(ablation: Ablation, gain: Gain) -> str:
    test = gain.test
    found = in_points(estimate(test.difference, test.interval))
    figures = f"{found} of accuracy over %s (p = {test.p_holm:.2g})"
    if test.p_holm >= LEVEL:
        call = "whether fusion helps cannot be told"
    else:
        call = "fusion helps" if test.difference > 0 else "fusion does not help, it costs"
    if gain.trained:
        return f"{ablation.name}: {call}; {figures % gain.over}."
    itself = figures % f"itself with {gain.modality} alone"
    return (
        f"{ablation.name}, against its own ablation: {call}; {itself}. A head that is trained for "
        "one modality may score higher than the ablation: give its run along."
    )


def signatures(ablation: Ablation, gain: Gain) -> dict[str, str]:
    """Known failures of fusion, by name, each as a sentence."""
    found = {}
    for modality in (TEXT, IMAGE):
        other, flips = OTHER[modality], estimated(ablation.flips[modality])
        loss = estimated(-ablation.change(modality, SHUFFLE, _ACCURACY))
        if flips.value < _UNREAD:
            found["reads_one_modality"] = (
                f"{ablation.name} reads the {other} alone: with the {modality} of another post it "
                f"predicts another class for {100 * flips.value:.1f} % of the posts."
            )
        elif loss.high < _NOTHING or loss.low <= 0:
            certain = "no more than 1 point" if loss.high < _NOTHING else "nothing that can be told"
            found["one_modality_carries_all"] = (
                f"In {ablation.name} the {other} carries all: the {modality} of another post costs "
                f"{certain}, {in_points(loss)} of accuracy, and changes the class of "
                f"{100 * flips.value:.0f} % of the posts."
            )
    unproven = gain.test.p_holm >= LEVEL
    if gain.trained and ((found and unproven) or gain.test.interval[1] < _STALLED):
        found["stalls_at_one_modality"] = (
            f"The score of {ablation.name} stalls at that of {gain.over}: it gains no more than "
            f"{100 * max(gain.test.interval[1], 0):.1f} points."
        )
    return found


def _method(
    options: ContributionOptions, single: Sequence[RescoredEntry], groups: LabelGroups
) -> list[str]:
    replaced = {
        "mean": "replaced by the mean of the training posts",
        "zero": "replaced by zeros",
    }[options.replacement.value]
    lines = [
        (
            "Shapley values: φ_T = ½[v(T) − v(∅)] + ½[v(TI) − v(I)], φ_I alike; the interaction is "
            "v(TI) − v(T) − v(I) + v(∅) (Shapley 1953; of modalities: Hu et al. 2022, SHAPE). v is "
            f"the score of the trained head where the other modality is {replaced}; v(∅) replaces "
            "both. Log-loss counts with a minus, so that a gain is positive."
        ),
        (
            "mean: pooled vectors, image tokens by their place, and every text token at the "
            "training posts' mean, in texts of their median length. shuffle: the part's posts "
            f"exchange a modality, {options.draws} draws or one a seed (Gat et al. 2021)."
        ),
        (
            "A head never saw replaced features in training: what it loses without a modality is "
            "what it relies on, not what the modality could give to a head of its own."
        ),
        (
            "Intervals: bootstrap over posts and seeds, 95 %, paired. p: t-test with the "
            "bootstrap's variance."
        ),
    ]
    if single:
        lines.append(
            "The head of one modality is chosen on validation, so that its test score is "
            "not selected."
        )
    if groups.missing:
        lines.append(f"Left out: accuracy by the labels of text and picture, as {groups.missing}.")
    return lines


def _figures(ablation: Ablation, gain: Gain, options: ContributionOptions) -> dict[str, object]:
    shares = {}
    for score in (Score.ACCURACY, Score.F1_MACRO, Score.LOG_LOSS):
        found = ablation.shapley(score, options.replacement)
        shares[score.value] = {
            "text": float(found.text[0]),
            "image": float(found.image[0]),
            "interaction": float(found.interaction[0]),
        }
    return {
        "gain": gain.test.difference,
        "gain_interval": list(gain.test.interval),
        "p": gain.test.p_holm,
        "over": gain.over,
        "shapley": shares,
        "flips": {m.value: float(ablation.flips[m][0]) for m in (TEXT, IMAGE)},
        "signatures": sorted(signatures(ablation, gain)),
    }
