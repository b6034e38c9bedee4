"""What every epoch of a training reports, and how reports become progress.

A listener is any function of an ``EpochReport``: the progress bar is one, an experiment tracker is
another. Listeners see a training and cannot change it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.heads import HEADS
from mvsa_pipe.progress import Progress
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.options import RunSpec

# Steps within an epoch are shown this often.
_SHOWN_SECONDS = 0.2


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one run, or one strength of a baseline.

    Attributes:
        spec: The run: its head, options and seed.
        done: How many epochs or strengths the run has behind it, this one included.
        most: How many it can have.
        entry: The line of this epoch in ``history.jsonl``: ``epoch`` and ``train_loss``, or
            ``strength``; the loss and scores on validation.
        best: The line of the best one so far.
        learning_rate: Of the head, at the last step of the epoch; ``None`` for baselines.
        seconds: Wall time of training and validation; of runs trained together, its share.
        ended: Whether no other follows.
    """

    spec: RunSpec
    done: int
    most: int
    entry: Mapping[str, Any]
    best: Mapping[str, Any]
    learning_rate: float | None
    seconds: float
    ended: bool

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.spec.training.seed

    @property
    def score_name(self) -> str:
        """Name of the validation score that selects, such as ``macro-F1``."""
        name, _, mean = self.spec.training.select.value.partition("_")
        return "-".join(filter(None, (mean, name.replace("f1", "F1"))))

    @property
    def score(self) -> float:
        """The validation score that selects."""
        return float(self.entry[self._selecting])

    @property
    def best_score(self) -> float:
        """The best one so far."""
        return float(self.best[self._selecting])

    @property
    def _selecting(self) -> str:
        return f"val_{self.spec.training.select.value}"


# Callback after each epoch of each run, or each strength of a baseline; in the training's thread.
OnEpoch = Callable[[EpochReport], None]


def ignore_epoch(report: EpochReport) -> None:
    """Does nothing after an epoch."""


def both(one: OnEpoch, other: OnEpoch) -> OnEpoch:
    """A callback that calls two, in order."""

    def on_epoch(report: EpochReport) -> None:
        one(report)
        other(report)

    return on_epoch


class FitProgress:
    """Shows the training of some runs of one head as one step of epochs, or of strengths.

    Args:
        progress: Where it is shown.
        planned: The runs, each with its posts.
        resumed: Epochs of one run that were trained before.
    """

    def __init__(
        self,
        progress: Progress,
        planned: Sequence[tuple[TrainingData, RunSpec]],
        resumed: int = 0,
    ) -> None:
        data, spec = planned[0]
        kind = HEADS.load(spec.head)
        if issubclass(kind, Baseline):
            self._unit, self._steps_an_epoch = "strengths", 0
            runs = (
                len(planned) if kind.seeded else len({id(own) for own, _ in planned})
            )  # no copies
            self._most = runs * len(kind.strengths)
        else:
            self._unit = "epochs"
            self._steps_an_epoch = data.steps_an_epoch(spec.training.batch_size)
            self._most = sum(spec.training.epochs for _, spec in planned)
        self._progress, self._alone = progress, len(planned) == 1
        self._runs: dict[int, EpochReport] = {}  # the last report of each run
        self._together: dict[int, EpochReport] = {}  # those of the epoch that ended last
        self._steps, self._shown, self._due = 0, float(resumed), 0.0
        self._resumed = resumed
        left = self._most - resumed
        progress.start(spec.head, left, self._unit, may_end_early=self._unit == "epochs")

    def on_step(self) -> None:
        """Counts a step within an epoch."""
        self._steps += 1
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _SHOWN_SECONDS
            self._show()

    def on_epoch(self, report: EpochReport) -> None:
        """Shows an epoch's loss, its score, and the best one."""
        if self._steps:
            self._steps, self._together = 0, {}
        # by run, as runs without room to be trained together begin anew one by one
        self._runs[id(report.spec)] = self._together[id(report.spec)] = report
        spared = sum(run.most - run.done for run in self._runs.values() if run.ended)
        self._progress.expect(self._most - self._resumed - spared)
        self._progress.note(self._described())
        self._show()

    def _show(self) -> None:
        done = float(sum(run.done for run in self._runs.values()))
        if self._steps and self._steps_an_epoch:
            # runs that ended an epoch together are taken to be in the next one together
            under_way = max(1, sum(not run.ended for run in self._together.values()))
            done += under_way * min(0.99, self._steps / self._steps_an_epoch)
        if done > self._shown:
            self._progress.advance(done - self._shown)
            self._shown = done

    def _described(self) -> str:
        """Loss, score and best score; means, where several runs ended an epoch together."""
        reports = list(self._together.values())
        last, best = reports[-1], max(reports, key=lambda report: report.best_score)
        which, of_run = [], ""
        if not self._alone:
            several = len(reports) > 1
            which = [f"means of {len(reports)} runs" if several else f"seed {last.seed}"]
            of_run = f"seed {best.seed}, " if several else ""
        if "train_loss" in last.entry:
            which.append(f"loss {fmean(r.entry['train_loss'] for r in reports):.4f}")
        score = f"validation {last.score_name} {100 * fmean(r.score for r in reports):.1f} %"
        where = "epoch" if "epoch" in best.best else "strength"
        found = f"best {100 * best.best_score:.1f} % ({of_run}{where} {best.best[where]:g})"
        return ", ".join([*which, score, found])
