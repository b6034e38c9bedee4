"""Curves of one head: precision and recall, reliability, and its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mvsa_pipe.analysis.finding import LinePlot, Plot, Series
from mvsa_pipe.metrics.score_table import ECE_BINS, Score
from mvsa_pipe.metrics.weighted import Answers, Floats
from mvsa_pipe.runs import Run

# Points of a curve: more cannot be seen.
_MOST_POINTS = 60
# A mark for each seed; of more seeds, the median alone.
_MOST_MARKS = 5


def curves(seeds: Sequence[Answers], runs: Sequence[Run], classes: Sequence[str]) -> list[Plot]:
    """The curves of a head; those that its posts or records do not define are left out.

    Args:
        seeds: Its predictions; curves are of all of them together.
        runs: Its runs.
        classes: Names of the classes.
    """
    found = [_precision_recall(seeds, classes), _reliability(seeds), *training_curves(runs)]
    return [plot for plot in found if plot is not None]


def _together(seeds: Sequence[Answers]) -> tuple[np.ndarray, Floats, np.ndarray]:
    labels = np.concatenate([answers.labels for answers in seeds])
    shares = np.concatenate([answers.shares for answers in seeds])
    return labels, shares, np.concatenate([answers.predicted for answers in seeds])


def _precision_recall(seeds: Sequence[Answers], classes: Sequence[str]) -> LinePlot | None:
    from sklearn.metrics import precision_recall_curve

    labels, shares, _ = _together(seeds)
    series = []
    for place, name in enumerate(classes):
        true = labels == place
        if true.any() and not true.all():
            precision, recall, _ = precision_recall_curve(
                true, shares[:, place], drop_intermediate=True
            )
            kept = _some(len(recall))
            series.append(Series(name, recall[kept].tolist(), precision[kept].tolist()))
    if not series:
        return None
    return LinePlot("precision by recall, each class", "recall", "precision", series)


def _some(points: int) -> np.ndarray:
    """Places of at most so many points, the first and the last among them."""
    return np.unique(np.linspace(0, points - 1, min(points, _MOST_POINTS)).astype(np.int64))


def _reliability(seeds: Sequence[Answers]) -> LinePlot:
    """Accuracy of posts by the probability of their predicted class, in the bins of the ECE."""
    labels, shares, predicted = _together(seeds)
    surest = shares.max(axis=1)
    bins = np.clip(np.ceil(surest * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    posts = np.bincount(bins, minlength=ECE_BINS)
    filled = posts > 0
    right = np.bincount(bins, weights=predicted == labels, minlength=ECE_BINS)[filled]
    sure = np.bincount(bins, weights=surest, minlength=ECE_BINS)[filled]
    return LinePlot(
        "accuracy by confidence",
        "probability of the predicted class",
        "share of posts that are right",
        [Series("head", (sure / posts[filled]).tolist(), (right / posts[filled]).tolist())],
        diagonal=True,
    )


def training_curves(runs: Sequence[Run]) -> list[LinePlot]:
    """Loss, and the score that epochs are selected by, over epochs or strengths of a baseline."""
    histories = [_entries(run.read_history()) for run in runs if "seeds" not in run.config]
    histories = [entries for entries in histories if entries]
    if not histories:
        return []
    axis = "epoch" if "epoch" in histories[0][0] else "strength"
    if any(axis not in entry for entries in histories for entry in entries):
        return []  # runs that were trained in different ways
    select = str(runs[0].metrics.get("selected_by", ""))
    name = select.removeprefix("val_")
    title = Score(name).row.title if name in set(Score) else name
    label = "epoch" if axis == "epoch" else "inverse strength of the penalty (log10)"
    wanted = {
        "loss": {"train_loss": "training", "val_loss": "validation"},
        f"{title} of validation posts": {select: "validation"},
    }
    plots = []
    for what, keys in wanted.items():
        series = [
            _over_epochs(line, key, axis, histories)
            for key, line in keys.items()
            if all(key in entry for entries in histories for entry in entries)
        ]
        if series:
            plots.append(LinePlot(f"{what} by {axis}", label, what, series, _marks(runs, axis)))
    return plots


def _entries(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [e for e in history if "val_loss" in e and ("epoch" in e or "strength" in e)]


def _over_epochs(
    title: str, key: str, axis: str, histories: Sequence[Sequence[Mapping[str, Any]]]
) -> Series:
    values: dict[float, list[float]] = {}
    for entries in histories:
        for entry in entries:
            values.setdefault(_place(axis, entry[axis]), []).append(float(entry[key]))
    x = sorted(values)
    several = len(histories) > 1
    return Series(
        title,
        x,
        [float(np.mean(values[place])) for place in x],
        [min(values[place]) for place in x] if several else [],
        [max(values[place]) for place in x] if several else [],
    )


def _place(axis: str, value: float) -> float:
    return float(value) if axis == "epoch" else float(np.log10(value))


def _marks(runs: Sequence[Run], axis: str) -> dict[str, float]:
    """The selected epoch of each seed; runs of one seed that agree share a mark."""
    places: dict[float, list[str]] = {}
    for run in runs:
        selected = run.metrics.get("selected")
        if isinstance(selected, Mapping) and axis in selected:
            seed = str(run.config["training"]["seed"])
            places.setdefault(_place(axis, selected[axis]), []).append(seed)
    if len(places) > _MOST_MARKS:
        every = [place for place, seeds in places.items() for _ in seeds]
        return {"selected (median)": float(np.median(every))}
    if len(places) == 1:
        return {"selected": next(iter(places))}
    return {f"selected, seed {' '.join(seeds)}": place for place, seeds in places.items()}
