"""Tables and plots of the attention of heads.

Axes beyond the common legend: ``h`` attention heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.attention_measures import LayerMeasures
from mvsa_pipe.analysis.finding import (
    Cell,
    Estimate,
    FindingTable,
    ForestPlot,
    ForestRow,
    LinePlot,
    MatrixPlot,
    Series,
)
from mvsa_pipe.analysis.resampling import Resampler, estimated
from mvsa_pipe.analysis.rescoring import RescoredEntry
from mvsa_pipe.metrics.weighted import Floats
from mvsa_pipe.modality import Modality
from mvsa_pipe.training.attention_entry import ATTENTION_ENTROPY


@dataclass(frozen=True)
class AttendedHead:
    """One head with all of its seeds.

    Attributes:
        entry: The head.
        parameters: Of one run.
        layers: Each layer, by seed.
        entropies: Normalised entropy of each layer.
        accuracy: Accuracy as it is.
        change: Change of accuracy with equal weights.
        same: Share of predictions that stay without each modality.
    """

    entry: RescoredEntry
    parameters: int | None
    layers: list[list[LayerMeasures]]
    entropies: list[Estimate]
    accuracy: Estimate
    change: Estimate
    same: dict[Modality, float]


def known_means(resampler: Resampler, seeds: Sequence[Floats]) -> Floats:
    """Means over posts and seeds ``[1 + R]`` of numbers that some posts do not have."""
    known = [np.isfinite(values) for values in seeds]
    values = [np.where(k, v, 0.0) for k, v in zip(known, seeds, strict=True)]
    counts = resampler.means([k.astype(np.float64) for k in known])
    return resampler.means(values) / np.where(counts > 0, counts, np.nan)


def head_table(heads: Sequence[AttendedHead]) -> FindingTable:
    """Parameters, accuracy, and what equal weights or a missing modality change."""
    shares = ["accuracy", "change if equal", "same without text", "same without picture"]
    rows: list[list[Cell]] = [
        [
            head.entry.name,
            head.parameters,
            head.accuracy,
            head.change,
            head.same.get(Modality.TEXT),
            head.same.get(Modality.IMAGE),
        ]
        for head in heads
    ]
    return FindingTable(
        "heads side by side",
        ["head", "parameters", *shares],
        rows,
        "mvsa bench --match-parameters trains heads with like parameter counts",
        shares,
    )


def layer_table(heads: Sequence[AttendedHead]) -> FindingTable:
    """Entropy of each layer."""
    rows: list[list[Cell]] = []
    for head in heads:
        for own, found in zip(head.layers, head.entropies, strict=True):
            each = by_attention_head(own)
            rows.append([head.entry.name, own[0].name, found, float(each.min()), float(each.max())])
    return FindingTable(
        "entropy of attention, as a share of that of equal weights",
        ["head", "layer", "entropy", "least", "most"],
        rows,
        "least and most: of the attention heads and seeds",
    )


def by_attention_head(seeds: Sequence[LayerMeasures]) -> Floats:
    """Mean entropy of each attention head of each seed ``[S, h]``."""
    found: Floats = np.stack([np.nanmean(each.entropy, axis=0) for each in seeds])
    return found


def mass_tables(heads: Sequence[AttendedHead], resampler: Resampler) -> list[FindingTable]:
    """Shares of the weights on each kind of key; no table where every layer has one kind."""
    rows: list[list[Cell]] = []
    for head in heads:
        for own in head.layers:
            if len(own[0].mass) < 2:
                continue
            for kind in own[0].mass:
                share = estimated(known_means(resampler, [each.mass[kind] for each in own]))
                equal = float(np.mean([np.nanmean(each.equal_mass[kind]) for each in own]))
                rows.append([head.entry.name, own[0].name, kind.value, share, equal])
    if not rows:
        return []
    return [
        FindingTable(
            "where attention goes, in layers over several kinds of keys",
            ["head", "layer", "keys", "share", "if equal"],
            rows,
            "vector: the pooled vector of the modality; shared: tokens of both modalities",
            ["share", "if equal"],
        )
    ]


def entropy_plot(heads: Sequence[AttendedHead]) -> ForestPlot:
    """Entropy of each layer."""
    rows = [
        ForestRow(f"{head.entry.name}, {own[0].name}", found, head.entry.name)
        for head in heads
        for own, found in zip(head.layers, head.entropies, strict=True)
    ]
    return ForestPlot(
        "entropy of attention", "share of the entropy of equal weights", rows, {"equal": 1.0}
    )


def epoch_plots(heads: Sequence[AttendedHead]) -> list[LinePlot]:
    """Entropy by epoch, of heads whose training recorded it; means over seeds."""
    series = []
    for head in heads:
        histories = [run.run.read_history() for run in head.entry.runs]
        for key in sorted({key for entries in histories for entry in entries for key in entry}):
            if not key.startswith(ATTENTION_ENTROPY):
                continue
            seeds = [[float(e[key]) for e in entries if key in e] for entries in histories]
            epochs = range(max(map(len, seeds)))
            means = [float(np.mean([own[k] for own in seeds if k < len(own)])) for k in epochs]
            name = f"{head.entry.name}, {key.removeprefix(ATTENTION_ENTROPY)}"
            series.append(Series(name, [float(epoch) for epoch in epochs], means))
    label = "share of the entropy of equal weights"
    return [LinePlot("entropy of attention by epoch", "epoch", label, series)] if series else []


def attention_head_plot(heads: Sequence[AttendedHead]) -> MatrixPlot:
    """Entropy of each attention head of each layer."""
    found = {
        f"{head.entry.name}, {own[0].name}": by_attention_head(own).mean(axis=0).tolist()
        for head in heads
        for own in head.layers
    }
    most = max(map(len, found.values()))
    return MatrixPlot(
        "entropy of each attention head",
        "layer",
        "attention head",
        list(found),
        [str(number) for number in range(1, most + 1)],
        [[*row, *[None] * (most - len(row))] for row in found.values()],
    )
