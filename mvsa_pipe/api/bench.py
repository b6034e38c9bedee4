"""``bench`` and ``compare``: many runs, their table and what can be concluded from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvsa_pipe.analysis.compare import Comparison
from mvsa_pipe.analysis.compare import compare as compare_runs
from mvsa_pipe.analysis.evidence_words import Verdict, judge_bench, judge_runs
from mvsa_pipe.analysis.options import CompareOptions, LeakOptions
from mvsa_pipe.api.data import Data
from mvsa_pipe.api.keywords import as_path, build, names_of, refuse_unknown
from mvsa_pipe.api.run import OpenRun, as_run, named_head, open_run
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.benches.options import BenchOptions, bench_command
from mvsa_pipe.benches.outcomes import FailedRun
from mvsa_pipe.benches.run import run_bench, save_bench
from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads.own import head_origin
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.runs import Run, require_writable
from mvsa_pipe.tabular import Row, Tabular
from mvsa_pipe.tracking.listener import tracking
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.heads.base import FusionHead

_RUNS = Path("runs")


@dataclass(frozen=True, repr=False)
class BenchTable(Tabular):
    """Heads side by side: one row a head, over all its seeds.

    Attributes:
        summary: Everything that the table is made of.
        path: The record that was written.
        judged: Order, ties and references of the heads; ``None`` if they cannot be analysed.
    """

    summary: Bench
    path: Path
    judged: Verdict | None

    @property
    def runs(self) -> list[OpenRun]:
        """Every run with a result, in the order asked for."""
        paths = [run.path for run in self.summary.runs if not isinstance(run, FailedRun)]
        return [open_run(path) for path in paths if path is not None]

    @property
    def failed(self) -> list[FailedRun]:
        """The runs without a result, each with its reason."""
        return self.summary.failed

    @property
    def verdict(self) -> list[str]:
        """Sentences: which head leads, which are tied with it, and what the posts cannot tell."""
        return [] if self.judged is None else self.judged.sentences

    def table_rows(self) -> list[Row]:
        """Mean scores of each head, their spread over seeds and their intervals over posts."""
        return self.summary.table_rows()

    def table_title(self) -> str:
        """What was compared, and on which posts."""
        return self.summary.table_title()

    def table_notes(self) -> list[str]:
        """The references, the runs without a result, and the verdict."""
        return [*self.summary.table_notes(), *self.verdict]

    def _repr_html_(self) -> str:
        from mvsa_pipe.reports.notebook import bench_html

        return bench_html(self.summary, self.verdict)


def bench(
    data: Data,
    heads: "Sequence[str | type[FusionHead]]" = (),
    *,
    seeds: int = BenchOptions.seeds,
    vary: Mapping[str, Sequence[object]] | Sequence[str] = (),
    resplit: bool = BenchOptions.resplit,
    force: bool = BenchOptions.force,
    ray: str = BenchOptions.ray,
    near_cosine: float = LeakOptions.near_cosine,
    seed: int = TrainingOptions.seed,
    runs: str | Path = _RUNS,
    tracker: str | None = TrackerOptions.tracker,
    tracker_project: str = TrackerOptions.tracker_project,
    **training: Any,  # noqa: ANN401
) -> BenchTable:
    """Trains and compares heads with several seeds; every trial is a run folder.

    A stopped bench continues where it stopped. A run that fails is recorded with its reason.

    Args:
        data: What ``load`` returned. Backbones that commas part are compared.
        heads: Heads to train; all but the faithful variants by default.
        seeds: Runs of each head, with seeds counted up from ``seed``.
        vary: Values of options to compare, such as ``{"learning_rate": [1e-4, 1e-3]}``.
        resplit: Whether every seed draws a random split of its own.
        force: Whether runs that are recorded are trained again.
        ray: A Ray cluster to train on.
        near_cosine: Cosine of cached vectors from which a test post counts as leaked.
        seed: The first seed.
        runs: The folder of all runs.
        tracker: ``tensorboard``, ``mlflow``, ``wandb`` or ``trackio`` records the runs, too.
        tracker_project: The tracker's project, or experiment.
        training: Options of training, such as ``epochs``.

    Raises:
        ConfigError: An option cannot be used.
        RunError: The folder of a run is damaged, or contains something else.
        MvsaError: As ``prepare``.
    """
    known = [name for name in names_of(TrainingOptions) if name != "seed"]
    refuse_unknown(training, known, where="bench")
    settings = build(TrainingOptions, {**training, "seed": seed})
    options = build(
        BenchOptions,
        {
            "heads": [named_head(head) for head in heads],
            "seeds": seeds,
            "vary": [*_varied(vary)],
            "resplit": resplit,
            "force": force,
            "ray": ray,
        },
    )
    leaks = build(LeakOptions, {"near_cosine": near_cosine})
    folder = as_path("runs", runs)
    require_writable(folder)
    track = build(TrackerOptions, {"tracker": tracker, "tracker_project": tracker_project})
    with shown_progress() as screen:
        with tracking(track, folder, screen.say) as tracked:
            done = run_bench(data.choice, data.caches, options, settings, screen, folder, tracked)
        judged = judge_bench(done, leaks, screen, DEFAULT_SCORES[0])
    command = _command(folder, options, data, settings, leaks)
    record = {} if judged is None else judged.as_record()
    more = {"command": command, **record} if command else record
    return BenchTable(done, save_bench(done, folder, more), judged)


def _command(
    folder: Path,
    options: BenchOptions,
    data: Data,
    training: TrainingOptions,
    leaks: LeakOptions,
) -> str:
    """The command line of a bench; empty for posts and heads that exist in memory alone."""
    heads = [head_origin(head) for head in options.heads]
    if data.choice.recorded_path is None or any(o and o.module == "__main__" for o in heads):
        return ""
    typed = tuple(
        head if origin is None else origin.reference
        for head, origin in zip(options.heads, heads, strict=True)
    )
    named = replace(options, heads=typed)
    return bench_command(folder, named, data.choice, data.caches, training, leaks)


def _varied(vary: Mapping[str, Sequence[object]] | Sequence[str]) -> list[str]:
    """Values to compare as the command line has them: ``name=value,value``."""
    if not isinstance(vary, Mapping):
        return list(vary)
    return [
        f"{name.replace('_', '-')}={','.join(_typed(value) for value in values)}"
        for name, values in vary.items()
    ]


def _typed(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


@dataclass(frozen=True, repr=False)
class RunComparison(Tabular):
    """Runs side by side on the same posts.

    Attributes:
        summary: Scores, paired tests and costs.
        judged: Order, ties and references of the runs.
    """

    summary: Comparison
    judged: Verdict

    @property
    def verdict(self) -> list[str]:
        """Sentences: each run against the first, then all of them in order."""
        return [*self.summary.table_notes(), *self.judged.sentences]

    def table_rows(self) -> list[Row]:
        """Scores of each run, and its difference from the first."""
        return self.summary.table_rows()

    def table_title(self) -> str:
        """What the runs are compared on."""
        return self.summary.table_title()

    def table_notes(self) -> list[str]:
        """The verdict."""
        return self.verdict


def compare(*runs: Run | str | Path, **options: Any) -> RunComparison:  # noqa: ANN401
    """Compares runs with the first of them on the same posts, from their records.

    Args:
        runs: Runs, or their folders.
        options: Options of ``CompareOptions``: ``shared_posts``, ``resamples``, ``seed``.

    Raises:
        ConfigError: Fewer than two runs, one of them twice, or an option cannot be used.
        RunError: The runs cannot be compared.
    """
    settings = build(CompareOptions, options)
    for run in runs:
        if not isinstance(run, Run | str | Path):
            raise ConfigError(
                "A run cannot be used", expected="a run, or its folder", found=repr(run)[:200]
            )
    opened = [as_run(run) for run in runs]
    done = compare_runs(opened, settings)
    with shown_progress() as screen:
        return RunComparison(done, judge_runs(opened, settings, screen, DEFAULT_SCORES[0]))
