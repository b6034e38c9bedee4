"""``tune``: settings searched on validation, replayed with fresh seeds, scored on test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvsa_pipe.analysis.evidence_words import judge_bench
from mvsa_pipe.analysis.options import LeakOptions
from mvsa_pipe.api.bench import BenchTable
from mvsa_pipe.api.data import Data
from mvsa_pipe.api.keywords import as_path, build, names_of, refuse_unknown
from mvsa_pipe.api.run import named_head
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.benches.run import save_bench
from mvsa_pipe.benches.tune_options import TuneOptions
from mvsa_pipe.benches.tuning import TunedHead, luck_sentence
from mvsa_pipe.benches.tuning import tune as tune_heads
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.runs import require_writable
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.heads.base import FusionHead

_RUNS = Path("runs")


@dataclass(frozen=True, repr=False)
class TuneTable(BenchTable):
    """The chosen settings beside the defaults, over fresh seeds.

    Attributes:
        heads: The trials, the chosen setting and its luck, for each head.
    """

    heads: tuple[TunedHead, ...] = ()

    def table_notes(self) -> list[str]:
        """The notes of the bench, and how much of each best score was luck."""
        return [*super().table_notes(), *map(luck_sentence, self.heads)]


def tune(
    data: Data,
    heads: "str | type[FusionHead] | Sequence[str | type[FusionHead]]",
    *,
    trials: int = TuneOptions.trials,
    replay: int = TuneOptions.replay,
    search: Sequence[str] = (),
    sampler: str = TuneOptions.sampler,
    prune: bool = TuneOptions.prune,
    seed: int = TrainingOptions.seed,
    runs: str | Path = _RUNS,
    **training: Any,  # noqa: ANN401
) -> TuneTable:
    """Tunes heads on validation with equal budgets, and replays them with fresh seeds.

    The search never sees the test part. A stopped search continues where it stopped.

    Args:
        data: What ``load`` returned.
        heads: One head or several.
        trials: Settings that are tried for each head.
        replay: Fresh seeds of the chosen setting and of the defaults.
        search: Options and the values to try, such as ``["dropout=0..0.5", "width=64,128"]``.
        sampler: ``tpe`` or ``random``.
        prune: Whether trials below the median of the others end early.
        seed: The seed of all trials.
        runs: The folder of all runs.
        training: Options of training that are not varied.

    Raises:
        ConfigError: An option cannot be used, or Optuna is not installed.
        MvsaError: As ``prepare``; or all trials of a head failed.
    """
    known = [name for name in names_of(TrainingOptions) if name != "seed"]
    refuse_unknown(training, known, where="tune")
    several = [heads] if isinstance(heads, str | type) else heads
    options = build(
        TuneOptions,
        {
            "heads": [named_head(head) for head in several],
            "trials": trials,
            "replay": replay,
            "search": [*search],
            "sampler": sampler,
            "prune": prune,
        },
    )
    folder = as_path("runs", runs)
    require_writable(folder)
    settings = build(TrainingOptions, {**training, "seed": seed})
    with shown_progress() as screen:
        done = tune_heads(data.choice, data.caches, options, settings, screen, folder)
        judged = judge_bench(done.bench, LeakOptions(), screen, DEFAULT_SCORES[0])
    record = done.as_record() | ({} if judged is None else judged.as_record())
    path = save_bench(done.bench, folder, record)
    return TuneTable(done.bench, path, judged, tuple(done.heads))
