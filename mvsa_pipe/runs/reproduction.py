"""A run compared with the run that was trained again from its record.

*Same*: no probability differs by more than the last decimal of ``predictions.csv``, no prediction
differs, and the same epoch is selected.

*Within noise*, of the tested part (validation, if there is no test part):

- equivalence: the 90 % intervals (paired bootstrap over posts) of the differences of accuracy and
  macro-F1 lie within half the width of the recorded score's own 95 % interval over posts. This is
  the two one-sided tests procedure at 5 %; the margin is what another draw of posts would change;
- no difference is shown: McNemar's exact test has p >= 0.05.

*Different*: anything else. A large share of changed predictions widens the intervals of the
differences, so that equivalence is not shown, even if the scores are equal.

Source:
    Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15 (two one-sided tests).
    Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks, MLSys (the
    draw of the test posts as the largest source of variance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.metrics.paired import PAIRED_SCORES, Paired, compare_paired
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import PROBABILITY_DECIMALS
from mvsa_pipe.posts.splits.split import TEST, VAL
from mvsa_pipe.runs.predictions import Prediction
from mvsa_pipe.runs.reading import Run
from mvsa_pipe.runs.writing import RunContents
from mvsa_pipe.tabular import Row, Tabular

LEVEL = 0.05
_ROUNDING = 10.0**-PROBABILITY_DECIMALS
# Entries of a history that say when, not what.
_NOT_COMPARED = ("seconds", "seed")


class Answer(StrEnum):
    """Whether a run could be reproduced."""

    SAME = "same"
    NOISE = "within noise"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Equivalence:
    """The difference of one score, and what counts as none.

    Attributes:
        difference: New minus recorded.
        interval: Its 90 % interval, paired bootstrap over posts.
        margin: Half the width of the recorded score's own 95 % interval over posts.
    """

    difference: float
    interval: tuple[float, float]
    margin: float

    @property
    def shown(self) -> bool:
        """Whether the interval lies within the margin."""
        return -self.margin <= self.interval[0] and self.interval[1] <= self.margin

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "equivalent": self.shown}


@dataclass(frozen=True, repr=False)
class Reproduction(Tabular):
    """A run and the run that was trained again from its record.

    Attributes:
        run: The folder of the run.
        title: Its head.
        protocol: Its protocol tag.
        answer: Same, within noise, or different.
        part: The part that decides between the last two.
        posts: Posts of all scored parts.
        largest_difference: The largest difference of a probability.
        other_predictions: Posts with another predicted class.
        scores: Recorded and new value of every score, by part.
        equivalence: Differences of accuracy and macro-F1, by score.
        mcnemar_p: P-value of McNemar's exact test.
        selected: What was selected on validation, then and now, of each member of an ensemble.
        unit: What these are: epochs or strengths.
        epochs: Entries of the history, then and now.
        history_difference: The largest difference of each number of the history, over the entries
            that both have.
        conditions: What differs in versions, device, threads, data or features: then and now.
        remarks: Further remarks.
        kept: The folder of the new run; ``None`` if it was not kept.
    """

    run: Path
    title: str
    protocol: str
    answer: Answer
    part: str
    posts: int
    largest_difference: float
    other_predictions: int
    scores: dict[str, dict[str, tuple[float, float]]]
    equivalence: dict[str, Equivalence]
    mcnemar_p: float
    selected: tuple[list[float], list[float]]
    unit: str
    epochs: tuple[int, int]
    history_difference: dict[str, float]
    conditions: dict[str, tuple[str, str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    kept: Path | None = None

    @property
    def reproduced(self) -> bool:
        """Whether the run is the same, or within noise."""
        return self.answer is not Answer.DIFFERENT

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        record = {name: value for name, value in vars(self).items() if name != "title"}
        return record | {
            "run": str(self.run),
            "answer": self.answer.value,
            "equivalence": {name: each.as_record() for name, each in self.equivalence.items()},
            "kept": None if self.kept is None else str(self.kept),
        }

    def table_rows(self) -> list[Row]:
        """Accuracy and macro-F1 of each part: recorded, trained again, difference."""
        return [
            {
                "part": part,
                "score": Score(name).value,
                "recorded": values[name][0],
                "again": values[name][1],
                "difference": values[name][1] - values[name][0],
            }
            for part, values in self.scores.items()
            for name in PAIRED_SCORES
        ]

    def table_title(self) -> str:
        """The answer, and about which run."""
        return f"{self.answer}: {self.title} on {self.protocol}"

    def table_notes(self) -> list[str]:
        """What differs, what was tested, and under which conditions, in sentences."""
        lines = [
            self._predictions(),
            self._selection(),
        ]
        if self.answer is not Answer.SAME:
            lines += [self._tested(), *self._conditions()]
        elif self.conditions:
            lines += self._conditions()
        return [*lines, *self.remarks, *([f"run: {self.kept}"] if self.kept else [])]

    def _predictions(self) -> str:
        return (
            f"Largest difference of a probability: {self.largest_difference:.6f}; "
            f"{self.other_predictions:,} of {self.posts:,} posts have another prediction."
        )

    def _selection(self) -> str:
        then, now = (", ".join(f"{value:g}" for value in values) for values in self.selected)
        same = then == now
        figures = f"{then}, as recorded" if same else f"recorded {then}, now {now}"
        largest = max(self.history_difference.values(), default=0.0)
        name = max(self.history_difference, key=self.history_difference.__getitem__, default="")
        of = f" ({name})" if largest > 0 else ""
        return (
            f"Selected {self.unit}: {figures}; history of {self.epochs[0]:,} and "
            f"{self.epochs[1]:,} entries, largest difference {largest:.2g}{of}."
        )

    def _tested(self) -> str:
        parts = []
        for name, each in self.equivalence.items():
            low, high = (100 * bound for bound in each.interval)
            word = "within" if each.shown else "not within"
            parts.append(
                f"{Score(name).row.title} {100 * each.difference:+.2f} points, 90 % interval "
                f"[{low:+.2f}, {high:+.2f}], {word} ±{100 * each.margin:.2f}"
            )
        return f"On {self.part}: {'; '.join(parts)}; McNemar p = {self.mcnemar_p:.3g}."

    def _conditions(self) -> list[str]:
        if not self.conditions:
            return ["Versions, device, threads, data and features are as recorded."]
        return [
            f"Differs: {k}, {then} then, {now} now." for k, (then, now) in self.conditions.items()
        ]


def compare_with(run: Run, contents: RunContents) -> Reproduction:
    """Compares a run with the files of the run that was trained again from its record.

    Raises:
        RunError: A record of the run is missing or damaged, or the predictions are for other posts.
    """
    then = run.predictions()
    now = _in_order_of(then, contents.predictions, run)
    old, new = _probabilities(then), _probabilities(now)
    largest = float(np.abs(old - new).max())
    changed = sum(a.prediction != b.prediction for a, b in zip(then, now, strict=True))
    part = TEST if any(row.split == TEST for row in then) else VAL
    tested = [pair for pair in zip(then, now, strict=True) if pair[0].split == part]
    paired = _paired(tested, run.config["data"]["classes"])
    equivalence = _equivalence(paired, run.metrics["scores"][part]["intervals"])
    selected = _selected(run.metrics), _selected(contents.metrics)
    history = run.read_history(), list(contents.history)
    same = largest <= 1.5 * _ROUNDING and not changed and selected[0] == selected[1]
    close = all(each.shown for each in equivalence.values()) and paired.mcnemar.p_value >= LEVEL
    return Reproduction(
        run=run.path,
        title=run.title,
        protocol=run.config["protocol"],
        answer=Answer.SAME if same else Answer.NOISE if close else Answer.DIFFERENT,
        part=part,
        posts=len(then),
        largest_difference=largest,
        other_predictions=changed,
        scores=_scores(run.metrics["scores"], contents.metrics["scores"]),
        equivalence=equivalence,
        mcnemar_p=paired.mcnemar.p_value,
        selected=selected,
        unit=_unit(run.metrics),
        epochs=(len(history[0]), len(history[1])),
        history_difference=_history_difference(*history),
    )


def _in_order_of(
    then: Sequence[Prediction], now: Sequence[Prediction], run: Run
) -> list[Prediction]:
    """The new predictions in the order of the recorded ones.

    Raises:
        RunError: They are for other posts.
    """
    found = {(row.post_id, row.split, row.label): row for row in now}
    keys = [(row.post_id, row.split, row.label) for row in then]
    others = found.keys() ^ set(keys)
    if others:
        raise RunError(
            "This run's predictions are not for the posts of its split",
            where=run.path,
            found=name_some(sorted({repr(post_id) for post_id, _, _ in others})),
            hint="its split.csv or predictions.csv was changed; restore the folder",
        )
    return [found[key] for key in keys]


def _probabilities(rows: Sequence[Prediction]) -> np.ndarray:
    """Probabilities ``[N, C]`` with the decimals of ``predictions.csv``."""
    return np.array([[round(p, PROBABILITY_DECIMALS) for p in row.probabilities] for row in rows])


def _paired(tested: Sequence[tuple[Prediction, Prediction]], classes: Sequence[str]) -> Paired:
    places = {name: place for place, name in enumerate(classes)}
    labels, first, second = (
        np.array([places[name] for name in names], np.int64)
        for names in (
            [then.label for then, _ in tested],
            [then.prediction for then, _ in tested],
            [now.prediction for _, now in tested],
        )
    )
    generator = np.random.default_rng(0)
    confidence = 1 - 2 * LEVEL  # two one-sided tests, each at the level
    return compare_paired(labels, first, second, len(classes), generator, confidence=confidence)


def _equivalence(
    paired: Paired, intervals: Mapping[str, Sequence[float]]
) -> dict[str, Equivalence]:
    return {
        name: Equivalence(each.value, each.interval, (intervals[name][1] - intervals[name][0]) / 2)
        for name, each in paired.differences.items()
    }


def _scores(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        part: {
            name: (float(value), float(now[part]["values"][name]))
            for name, value in then[part]["values"].items()
            if name in now[part]["values"]
        }
        for part in then
        if part in now
    }


def _selected(metrics: Mapping[str, Any]) -> list[float]:
    """The selected epoch or strength, of each member of an ensemble."""
    unit = _unit(metrics)
    return [float(entry.get(unit, -1)) for entry in _entries(metrics)]


def _unit(metrics: Mapping[str, Any]) -> str:
    return "strength" if any("strength" in entry for entry in _entries(metrics)) else "epoch"


def _entries(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = metrics.get("selected", [])
    return found if isinstance(found, list) else [found]


def _history_difference(
    then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    largest: dict[str, float] = {}
    for one, other in zip(then, now, strict=False):
        for name in one.keys() & other.keys() - set(_NOT_COMPARED):
            a, b = one[name], other[name]
            if isinstance(a, int | float) and isinstance(b, int | float):
                largest[name] = max(largest.get(name, 0.0), abs(a - b))
    return dict(sorted(largest.items()))
