"""What heads attend to: flat or focused, on which modality, and whether it matters.

The entropy of attention is taken over real tokens alone, divided by that of equal weights. That
weights differ does not say that they matter: each head is therefore also scored with equal weights
in their place.

Source:
    Entropy of attention, and whether it explains predictions: Jain and Wallace 2019, Attention is
    not Explanation, arXiv:1902.10186; Wiegreffe and Pinter 2019, arXiv:1908.04626, section 3.2,
    which freezes weights to uniform.
"""

from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.attended_post import attended_post, require_scored
from mvsa_pipe.analysis.attention_measures import (
    equal_answers,
    layers_of,
    measured,
)
from mvsa_pipe.analysis.attention_tables import (
    AttendedHead,
    attention_head_plot,
    by_attention_head,
    entropy_plot,
    epoch_plots,
    head_table,
    known_means,
    layer_table,
    mass_tables,
)
from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.analysis.finding import (
    Estimate,
    Finding,
    Plot,
)
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import AttentionMapOptions
from mvsa_pipe.analysis.resampling import Resampler, estimated, in_points
from mvsa_pipe.analysis.rescoring import RescoredEntry, rescored_entries
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.check_batches import SIZES
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run

# A modality without which fewer predictions than this change is not read.
_UNREAD = 0.01
# A change of accuracy that is certainly less than this is none.
_NOTHING = 0.01

_METHOD = (
    (
        "Entropy: mean over posts and real queries of -Σ a log a / log K over the K real keys: 1 "
        "for equal weights, 0 for one key that takes all. Padding is left out, and posts with "
        "fewer than two real keys."
    ),
    (
        "Change if equal: the heads are scored again with equal weights on all real keys in every "
        "layer, without training (Wiegreffe and Pinter 2019, section 3.2)."
    ),
    (
        "Same without: share of posts whose predicted class stays when the features of a modality "
        "are replaced by their mean over the training posts."
    ),
    "Intervals: bootstrap over posts and seeds, 95 %.",
)


def attention(runs: Sequence[Run], options: AttentionMapOptions, progress: Progress) -> Finding:
    """Measures the attention of heads over tokens, and scores them with equal weights.

    Args:
        runs: The runs.
        options: What is called flat, the post to show, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: No run has attention over tokens; or the runs are not over the same posts.
        CacheError: Features of a run are not cached.
    """
    contest = contest_of_runs(runs, at_least=1)
    if options.post:
        require_scored(options.post, contest.folds[0].ids)
    entries = rescored_entries(contest, options, progress)
    chosen = [entry for entry in entries if layers_of(entry.runs[0].model)]
    if not chosen:
        raise _no_attention(entries)
    posts = len(contest.folds[0].ids)
    resampler = Resampler(posts, options)
    progress.start("attention", len(chosen), "heads")
    heads = []
    for entry in chosen:
        heads.append(_attended(entry, resampler))
        progress.advance(1)
    tables = [head_table(heads), layer_table(heads), *mass_tables(heads, resampler)]
    by_epoch = epoch_plots(heads)
    plots: list[Plot] = [entropy_plot(heads), attention_head_plot(heads), *by_epoch]
    method = [*_METHOD]
    if not by_epoch:
        method.append("Entropy by epoch: of runs with --track-attention alone.")
    if len(chosen) < len(entries):
        names = ", ".join(entry.name for entry in entries if entry not in chosen)
        method.append(f"Without attention over tokens, and left out: {names}.")
    if options.post:
        shown = attended_post(
            [(head.entry.name, head.entry.runs[0]) for head in heads], options.post
        )
        tables.append(shown.table)
        plots += shown.plots
        method += shown.remarks
    return finding_of(
        "attention",
        runs,
        options,
        question="What do the heads attend to, and does it matter?",
        verdict=[_verdict(head, options.flat) for head in heads],
        tables=tables,
        plots=plots,
        method=method,
        posts=posts,
        values={head.entry.name: _figures(head) for head in heads},
    )


def _no_attention(entries: Sequence[RescoredEntry]) -> RunError:
    able = [
        row.name
        for row in HEADS.built_in
        if not is_faithful(row)
        and issubclass(HEADS.load(row.name), FusionHead)
        and layers_of(build_head(row.name, SIZES, 0))
    ]
    return RunError(
        "None of these heads has attention over tokens that can be read",
        where=", ".join(str(run.run.path) for entry in entries for run in entry.runs),
        expected=f"a run of {', '.join(able)}; of a head of your own with attention_layers(); each "
        "seed by itself, no ensemble",
        found=", ".join(f"{entry.name} ({entry.head})" for entry in entries),
        hint=f"mvsa fit --head {able[0]}",
    )


def _attended(entry: RescoredEntry, resampler: Resampler) -> AttendedHead:
    by_seed = [measured(run) for run in entry.runs]
    layers = [list(own) for own in zip(*by_seed, strict=True)]
    plain, equal = entry.answers(), [equal_answers(run) for run in entry.runs]
    accuracy = resampler.scores(plain, [Score.ACCURACY])[Score.ACCURACY]
    changed = resampler.scores(equal, [Score.ACCURACY])[Score.ACCURACY]
    same = {
        modality: float(
            np.mean(
                [
                    _same(run.without(modality), own)
                    for run, own in zip(entry.runs, plain, strict=True)
                ]
            )
        )
        for modality in entry.runs[0].modalities
    }
    return AttendedHead(
        entry,
        entry.runs[0].run.metrics.get("parameters"),
        layers,
        [
            estimated(known_means(resampler, [each.entropy.mean(axis=1) for each in own]))
            for own in layers
        ],
        estimated(accuracy),
        estimated(changed - accuracy),
        same,
    )


def _same(one: Answers, other: Answers) -> float:
    return float((one.predicted == other.predicted).mean())


def _verdict(head: AttendedHead, flat: float) -> str:
    name = head.entry.name
    flat_layers = [
        own[0].name
        for own, found in zip(head.layers, head.entropies, strict=True)
        if found.value >= flat
    ]
    values = [found.value for found in head.entropies]
    between = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
    figures = f"entropy {between} of that of equal weights"
    if len(flat_layers) == len(head.layers):
        words = f"{name}: attention is flat ({figures})"
    elif flat_layers:
        words = f"{name}: attention is flat in {', '.join(flat_layers)} ({figures})"
    else:
        words = f"{name}: attention is not flat ({figures})"
    told = _told(head.change)
    words += f"; with equal weights accuracy changes by {in_points(head.change)}: {told}."
    unread = [m for m, same in head.same.items() if same > 1 - _UNREAD]
    if len(unread) == 1 and len(head.same) > 1:
        (other,) = [modality for modality in head.same if modality not in unread]
        words += f" One modality carries all: {other}."
    return words


def _told(change: Estimate) -> str:
    if change.low > -_NOTHING and change.high < _NOTHING:
        return "its weights do not matter"
    if change.low <= 0 <= change.high:
        return "whether its weights matter cannot be told"
    return "its weights matter"


def _figures(head: AttendedHead) -> dict[str, object]:
    return {
        "parameters": head.parameters,
        "entropy": {
            own[0].name: found.value for own, found in zip(head.layers, head.entropies, strict=True)
        },
        "entropy_by_attention_head": {
            own[0].name: by_attention_head(own).mean(axis=0).tolist() for own in head.layers
        },
        "accuracy": head.accuracy.value,
        "change_if_equal": head.change.value,
        "same_without": {modality.value: same for modality, same in head.same.items()},
    }
